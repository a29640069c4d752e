//! Who a limit counts for: a principal, or the part of an address that one customer of a network holds.
//!
//! Guarantees: one IPv4 address is one key however it is written (`::ffff:a.b.c.d` too), and the 2⁶⁴ addresses of one
//! IPv6 network are one key, so nobody escapes a limit by picking another address of his own.
//! Does not: tell apart the people behind one address translator; a key of their own does that.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// An IPv4 address, or the /64 of an IPv6 address.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AddressPrefix(Prefix);

#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Prefix {
    V4(Ipv4Addr),
    V6(u64),
}

impl From<IpAddr> for AddressPrefix {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(Prefix::V4(v4)),
            IpAddr::V6(v6) => Self(Prefix::V6((v6.to_bits() >> 64) as u64)),
        }
    }
}

impl fmt::Display for AddressPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Prefix::V4(v4) => v4.fmt(f),
            Prefix::V6(network) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(network) << 64)),
        }
    }
}

impl fmt::Debug for AddressPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The id of an authenticated caller: public, from the store, never a text that a client chose.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PrincipalId(Arc<str>);

impl PrincipalId {
    /// Takes the id as the store has it.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self(id.into())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PrincipalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a limit counts for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An authenticated caller, wherever it comes from.
    Principal(PrincipalId),
    /// Anybody from there.
    Address(AddressPrefix),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(text: &str) -> AddressPrefix {
        AddressPrefix::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn an_ipv4_address_is_itself_also_when_mapped() {
        assert_eq!(prefix("203.0.113.7"), prefix("::ffff:203.0.113.7"));
        assert_ne!(prefix("203.0.113.7"), prefix("203.0.113.8"));
        assert_eq!(prefix("::ffff:203.0.113.7").to_string(), "203.0.113.7");
    }

    #[test]
    fn a_network_of_ipv6_is_one_subject() {
        assert_eq!(prefix("2001:db8:1:2::1"), prefix("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(prefix("2001:db8:1:2::1"), prefix("2001:db8:1:3::1"));
        assert_eq!(prefix("2001:db8:1:2::1").to_string(), "2001:db8:1:2::/64");
    }
}
