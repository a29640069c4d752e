//! What a server certificate says: for which names, by whom, until when.
//!
//! Guarantees: only parsed, never verified: it is our own certificate, and the clients judge it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// What a server certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// DNS names in lower case and IP addresses.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
}

impl Leaf {
    /// Reads the DER of a certificate; `None` where it is none.
    #[must_use]
    pub fn parse(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self {
            names: names(&certificate)?,
            issuer: certificate.issuer().to_string(),
            not_before: moment(certificate.validity().not_before),
            not_after: moment(certificate.validity().not_after),
        })
    }

    /// Whether it is for this name.
    #[must_use]
    pub fn covers(&self, name: &str) -> bool {
        self.names.iter().any(|own| own == name || covers_by_wildcard(own, name))
    }

    /// Its life.
    #[must_use]
    pub fn lifetime(&self) -> Duration {
        self.not_after.duration_since(self.not_before).unwrap_or_default()
    }

    /// What is left of it; nothing once it has expired.
    #[must_use]
    pub fn left(&self, now: SystemTime) -> Duration {
        self.not_after.duration_since(now).unwrap_or_default()
    }

    /// The same in whole days.
    #[must_use]
    pub fn days_left(&self, now: SystemTime) -> u64 {
        self.left(now).as_secs() / (24 * 60 * 60)
    }
}

/// A wildcard stands for exactly one label.
fn covers_by_wildcard(own: &str, name: &str) -> bool {
    match (own.strip_prefix("*."), name.split_once('.')) {
        (Some(parent), Some((label, rest))) => !label.is_empty() && parent == rest && name.parse::<IpAddr>().is_err(),
        (Some(_), None) | (None, _) => false,
    }
}

/// All alternative names; `None` where they are malformed.
pub(crate) fn names(certificate: &X509Certificate<'_>) -> Option<Vec<String>> {
    let names = certificate.subject_alternative_name().ok()?;
    Some(names.map(|san| san.value.general_names.iter().filter_map(name).collect()).unwrap_or_default())
}

fn name(general: &GeneralName<'_>) -> Option<String> {
    if let GeneralName::DNSName(dns) = general {
        return Some(dns.to_ascii_lowercase());
    }
    if let GeneralName::RFC822Name(text) | GeneralName::URI(text) = general {
        return Some((*text).to_owned());
    }
    let GeneralName::IPAddress(octets) = general else { return None };
    if let Ok(v4) = <[u8; 4]>::try_from(*octets) {
        return Some(IpAddr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(*octets).ok().map(|v6| IpAddr::from(v6).to_string())
}

fn moment(time: ASN1Time) -> SystemTime {
    u64::try_from(time.timestamp()).map_or(SystemTime::UNIX_EPOCH, |s| SystemTime::UNIX_EPOCH + Duration::from_secs(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label() {
        assert!(covers_by_wildcard("*.example.org", "ai.example.org"));
        for other in ["example.org", "a.b.example.org", ".example.org", "ai.example.com", "aiexample.org"] {
            assert!(!covers_by_wildcard("*.example.org", other), "{other}");
        }
    }
}
