//! The answers to ACME challenges that are under way.
//!
//! Guarantees: only what an order of our own has put here is answered, and only as long as the order runs; the map is
//! bounded by the names of one order. Answers: a stranger's token gets nothing back, so that nobody can have a
//! certificate for our name by letting us echo.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustls::sign::CertifiedKey;

/// The protocol by which a CA asks for a TLS-ALPN-01 answer. A connection that has agreed on it is closed after the
/// handshake (RFC 8737 §3): nothing is served on it.
pub const ACME_TLS_ALPN: &[u8] = b"acme-tls/1";

/// RFC 8555 §8.3: base64url, at least 128 bits; longer ones are nobody's.
const TOKEN_MAX: usize = 128;

/// What a CA may ask for now.
#[derive(Debug, Default)]
pub(crate) struct Challenges(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    http01: HashMap<String, String>,
    tls_alpn01: HashMap<String, Arc<CertifiedKey>>,
}

impl Challenges {
    /// The body for `/.well-known/acme-challenge/TOKEN`.
    pub(crate) fn http01(&self, token: &str) -> Option<String> {
        let own = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if token.is_empty() || token.len() > TOKEN_MAX || !token.bytes().all(own) {
            return None;
        }
        self.answers().http01.get(token).cloned()
    }

    /// The certificate that proves the name.
    pub(crate) fn tls_alpn01(&self, name: &str) -> Option<Arc<CertifiedKey>> {
        self.answers().tls_alpn01.get(&name.to_ascii_lowercase()).map(Arc::clone)
    }

    /// Answers a token until it is removed.
    pub(crate) fn put_http01(&self, token: String, authorization: String) {
        self.answers().http01.insert(token, authorization);
    }

    /// Answers a name until it is removed.
    pub(crate) fn put_tls_alpn01(&self, name: &str, key: Arc<CertifiedKey>) {
        self.answers().tls_alpn01.insert(sni_of(name), key);
    }

    /// No more answers.
    pub(crate) fn clear(&self) {
        *self.answers() = Answers::default();
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        // Two maps of whole values: a panic elsewhere cannot have left them half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The name a CA sends as SNI; RFC 8738 §6: an address goes by its reverse name.
fn sni_of(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Err(_) => name.to_ascii_lowercase(),
        Ok(IpAddr::V4(v4)) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(v6)) => {
            let nibbles = v6.octets().into_iter().rev().flat_map(|o| [o & 15, o >> 4]).map(|n| format!("{n:x}."));
            format!("{}ip6.arpa", nibbles.collect::<String>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_token_under_way_is_answered() {
        let challenges = Challenges::default();
        challenges.put_http01("LoqXcYV8_token-A".into(), "LoqXcYV8_token-A.thumb".into());
        assert_eq!(challenges.http01("LoqXcYV8_token-A").as_deref(), Some("LoqXcYV8_token-A.thumb"));
        for token in ["", "LoqXcYV8_token-B", "../LoqXcYV8", "a b", &"a".repeat(200)] {
            assert_eq!(challenges.http01(token), None, "{token}");
        }
        challenges.clear();
        assert_eq!(challenges.http01("LoqXcYV8_token-A"), None);
    }

    #[test]
    fn an_address_is_asked_for_by_its_reverse_name() {
        assert_eq!(sni_of("192.0.2.1"), "1.2.0.192.in-addr.arpa");
        assert_eq!(sni_of("2001:db8::1"), format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23)));
        assert_eq!(sni_of("AI.example.org"), "ai.example.org");
    }
}
