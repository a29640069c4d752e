//! The headers that go to Ollama, and those that go to clients: allow-lists, both made here.
//!
//! Guarantees: no header of a client reaches Ollama, and none of Ollama's reaches a client; what is sent is written from
//! what the gateway knows. Answers `threats.md` §0.4, §0.9, §4.5 (credentials on their way to elsewhere, spoofed
//! addresses, leaked servers).

use super::reply;
use crate::config::types::{Config, ForwardedHeaders, Upstream};
use crate::gateway::Policy;
use crate::telemetry::printable::address;
use crate::telemetry::request_id::RequestId;
use crate::upstream::HeaderLines;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;
use std::sync::Arc;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// What is the same on every message, made once for a policy: a copy costs less than its making.
#[derive(Debug)]
pub struct Standing {
    to_ollama: HeaderLines,
    /// For clients.
    pub to_client: Arc<reply::Standing>,
}

impl Standing {
    /// Of a configuration; `hsts` is `Strict-Transport-Security`, if it is sent.
    #[must_use]
    pub fn new(config: &Config, hsts: Option<HeaderValue>) -> Self {
        let mut to_client = HeaderMap::with_capacity(20);
        constant(&mut to_client);
        to_client.insert(header::VARY, HeaderValue::from_static("Origin"));
        to_client.extend(hsts.map(|hsts| (header::STRICT_TRANSPORT_SECURITY, hsts)));
        let to_client = Arc::new(to_client.into());
        Self { to_ollama: every_request(&config.upstream), to_client }
    }
}

/// What every request to Ollama carries.
pub(super) fn every_request(config: &Upstream) -> HeaderLines {
    let mut lines = HeaderLines::default();
    // Ollama answers 403 to names that are not local (server/routes.go, allowedHostsMiddleware).
    lines.add(&header::HOST, &config.host);
    lines.add(&header::USER_AGENT, "ollama-gateway");
    lines.add(&header::ACCEPT_ENCODING, "identity");
    lines
}

/// What Ollama gets, besides the framing of the body.
#[must_use]
pub fn to_ollama(policy: &Policy, id: RequestId, client: IpAddr) -> HeaderLines {
    let mut lines = policy.standing.to_ollama.clone();
    lines.add(&REQUEST_ID, id.as_str());
    if policy.config.upstream.forwarded_headers == ForwardedHeaders::Send {
        let address = address(client);
        lines.add(&REAL_IP, &address);
        lines.add(&FORWARDED_FOR, &address);
        lines.add(&FORWARDED_PROTO, "https");
    }
    lines
}

/// The same on every answer (the hardening guide's list, and OWASP's for an API).
const CONSTANT: [(HeaderName, &str); 6] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "SAMEORIGIN"),
    (header::X_XSS_PROTECTION, "1; mode=block"),
    (header::REFERRER_POLICY, "strict-origin-when-cross-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
];

/// Writes what is the same on every answer.
pub fn constant(headers: &mut HeaderMap) {
    for (name, value) in &CONSTANT {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
