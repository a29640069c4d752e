//! Bans on the path: who is refused whatever is sent, and who gets there by what was sent.
//!
//! Guarantees: the configuration's lists and the ban list are asked before anything of the request is acted upon; each
//! ban is told to the log with its reason. Answers `threats.md` §5 item 20.

use super::inspect::is_within;
use super::record::Record;
use crate::config::types::Bans;
use crate::gateway::{Gateway, Policy};
use crate::limits::{BanList, Misdeed};
use crate::rejection::Rejection;
use crate::store::timestamp::Timestamp;
use crate::store::{Ban, Banned};
use crate::telemetry::clock;
use crate::telemetry::event::SecurityEvent;
use ipnet::IpNet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

/// The bans, at a moment.
#[derive(Debug, Clone, Copy)]
pub struct BansAt<'a> {
    /// The list.
    pub list: &'a BanList,
    /// When.
    pub now: SystemTime,
}

impl BansAt<'_> {
    /// Whether this address is served.
    ///
    /// # Errors
    /// [`Rejection::Banned`]
    pub fn admit(&self, address: IpAddr, config: &Bans) -> Result<(), Rejection> {
        let outside = !config.allow.is_empty() && !is_within(address, &config.allow);
        if outside || is_within(address, &config.deny) || self.list.has_address(address, self.now) {
            return Err(Rejection::Banned);
        }
        Ok(())
    }
}

/// Counts what a refused request says of its sender, and bans who does it too often.
pub(super) fn judge(rejection: &Rejection, gateway: &Gateway, record: &Record) {
    let misdeed = if rejection.is_wrong_credential() {
        Misdeed::Credential
    } else if matches!(rejection, Rejection::UnknownRoute | Rejection::TargetInvalid) {
        Misdeed::UnknownRoute
    } else {
        return;
    };
    if let Some(time) = gateway.misdeeds().count(misdeed, record.client) {
        let why = match misdeed {
            Misdeed::Credential => "refused_credentials",
            Misdeed::UnknownRoute => "unknown_routes",
        };
        ban(gateway, time, why, record);
    }
}

/// Somebody used a key that was left lying about for that.
pub(super) fn honey(gateway: &Gateway, policy: &Policy, record: &Record) {
    record.note(SecurityEvent::HoneyKeyUsed, "honey_key");
    let bans = &policy.config.bans;
    if !is_within(record.client, &bans.exempt) {
        ban(gateway, bans.time, "honey_key", record);
    }
}

fn ban(gateway: &Gateway, time: Duration, why: &'static str, record: &Record) {
    let made_at = Timestamp::from(clock::now());
    let Some(ends_at) = made_at.after(time) else { return };
    let who = Banned::Network(prefix(record.client));
    record.note_detail(SecurityEvent::AddressBanned, why, Some(&format!("{who} until {ends_at}")));
    gateway.bans.ban(Ban { who, why: why.to_owned(), made_at, ends_at });
}

/// What one customer of a network holds.
fn prefix(address: IpAddr) -> IpNet {
    let length = if address.is_ipv4() { 32 } else { 64 };
    IpNet::new(address, length).map_or_else(|_| IpNet::from(address), |network| network.trunc())
}
