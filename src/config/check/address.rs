//! Names, socket addresses and networks.
//!
//! Guarantees: one spelling of a name, the one that a `Host` and an SNI are compared with.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use crate::config::error::Wrong;
use crate::config::quantity::quoted;

/// A name that is served: lower case, without trailing dot or port; or an IP address.
pub(super) fn served_name(text: &str) -> Result<String, Wrong> {
    let wrong = |what: &str, hint: &str| Err(Wrong::new(format!("{} {what}", quoted(text))).hint(hint));
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.to_string());
    }
    if text.contains('*') {
        return wrong("is a wildcard", "write out each name that is served");
    }
    if text.contains("://") || text.contains('/') {
        return wrong("is an URL", "the name alone, for example \"ai.example.org\"");
    }
    if text.starts_with('[') {
        return wrong("has brackets", "an IPv6 address stands without them, for example \"::1\"");
    }
    if text.contains(':') {
        return wrong("has a port", "the name alone; ports stand in server.https");
    }
    if !text.is_ascii() {
        return wrong("is not ASCII", "write its \"xn--\" form");
    }
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    if is_host_name(&name) { Ok(name) } else { wrong("is no host name", "for example \"ai.example.org\"") }
}

/// RFC 1123 §2.1; the last label has a letter, so that no spelling of an IP address passes.
pub(super) fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        (1..=63).contains(&label.len()) && label.bytes().all(inner) && !label.starts_with('-') && !label.ends_with('-')
    };
    let letter = |label: &str| label.bytes().any(|b| b.is_ascii_alphabetic()) && !label.starts_with("0x");
    name.len() <= 253 && name.split('.').all(label) && name.rsplit('.').next().is_some_and(letter)
}

/// An address to listen on.
pub(super) fn listener(text: &str) -> Result<SocketAddr, Wrong> {
    let hint = "an IP address and a port, for example \"0.0.0.0:443\" or \"[::]:443\"";
    text.parse().map_err(|_| Wrong::new(format!("{} is no address to listen on", quoted(text))).hint(hint))
}

/// A network, or one address as a network of itself.
pub(super) fn network(text: &str) -> Result<IpNet, Wrong> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let hint = "for example \"10.0.0.0/8\", \"2001:db8::/32\" or \"192.0.2.7\"";
    let network: IpNet = text.parse().map_err(|_| Wrong::new(format!("{} is no network", quoted(text))).hint(hint))?;
    if network.trunc() != network {
        let text = format!("{} has bits set after its prefix", quoted(text));
        return Err(Wrong::new(text).hint(format!("the network is \"{}\"", network.trunc())));
    }
    Ok(network)
}
