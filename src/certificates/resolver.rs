//! Which certificate a handshake gets.
//!
//! Guarantees: a name that is not ours gets an alert and no certificate, so that a scan of addresses learns no name;
//! a change is one pointer, so that every handshake has a whole certificate, old or new; `acme-tls/1` gets a challenge
//! that is under way or nothing. Does not: choose by signature scheme (one key a name).

use crate::certificates::challenges::{ACME_TLS_ALPN, Challenges};
use crate::certificates::files::Pair;
use crate::certificates::leaf::Leaf;
use crate::config::types::MissingSni;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// What is served now.
#[derive(Debug)]
pub(crate) struct Served {
    by_name: HashMap<String, Arc<CertifiedKey>>,
    unnamed: Arc<CertifiedKey>,
    has_address: bool,
    /// When the first of them ends.
    pub(crate) not_after: SystemTime,
}

impl Served {
    /// One certificate for all names.
    pub(crate) fn new(names: &[String], pair: &Pair) -> Self {
        let has_address = names.iter().any(|name| is_address(name));
        let by_name = names.iter().map(|name| (name.clone(), Arc::clone(&pair.key))).collect();
        Self { by_name, unnamed: Arc::clone(&pair.key), has_address, not_after: pair.leaf.not_after }
    }

    /// What the certificate of each name says, in the order of the names.
    pub(crate) fn leaves(&self) -> Vec<(String, Leaf)> {
        let leaf = |key: &CertifiedKey| key.cert.first().and_then(|first| Leaf::parse(first));
        let mut leaves: Vec<_> = self.by_name.iter().filter_map(|(n, key)| Some((n.clone(), leaf(key)?))).collect();
        leaves.sort_by(|(a, _), (b, _)| a.cmp(b));
        leaves
    }

    /// The same with another certificate for the names that it is for.
    pub(crate) fn with(mut self, pair: &Pair) -> Self {
        for (_, own) in self.by_name.iter_mut().filter(|(name, _)| pair.leaf.covers(name)) {
            *own = Arc::clone(&pair.key);
        }
        // Who sends no name came by an address, where there is one; else the pair that was put in last counts.
        let of_address = self.by_name.iter().find(|(name, _)| is_address(name)).map(|(_, own)| Arc::clone(own));
        self.unnamed = of_address.unwrap_or_else(|| Arc::clone(&pair.key));
        self.not_after = self.not_after.min(pair.leaf.not_after);
        self
    }
}

fn is_address(name: &str) -> bool {
    name.parse::<IpAddr>().is_ok()
}

/// Chooses by name, from what is served at that moment.
#[derive(Debug)]
pub(crate) struct Resolver {
    pub(crate) served: Arc<ArcSwap<Served>>,
    pub(crate) challenges: Arc<Challenges>,
    pub(crate) missing: MissingSni,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if is_challenge(&hello) {
            return hello.server_name().and_then(|name| self.challenges.tls_alpn01(name));
        }
        let served = self.served.load();
        match hello.server_name() {
            Some(name) => served.by_name.get(&name.to_ascii_lowercase()).map(Arc::clone),
            None if served.has_address || self.missing == MissingSni::Serve => Some(Arc::clone(&served.unnamed)),
            None => None,
        }
    }
}

/// RFC 8737 §3: a validating CA offers this protocol and no other.
#[must_use]
pub fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut offered| offered.next() == Some(ACME_TLS_ALPN) && offered.next().is_none())
}
