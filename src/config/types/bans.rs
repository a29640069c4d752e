//! `[bans]`: who is never served, and what gets one there.
//!
//! Guarantees: nothing here can lock out those whom `exempt` names but `deny`.

use super::Rate;
use ipnet::IpNet;
use std::time::Duration;

/// `[bans]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bans {
    /// The only networks served; empty: all.
    pub allow: Vec<IpNet>,
    /// Networks that are not served.
    pub deny: Vec<IpNet>,
    /// Networks that are never banned automatically.
    pub exempt: Vec<IpNet>,
    /// Refused credentials of one address, above which it is banned; `None`: never.
    pub failures: Option<Rate>,
    /// Unknown routes that one address asks for, above which it is banned; `None`: never.
    pub unknown_routes: Option<Rate>,
    /// For how long.
    pub time: Duration,
}
