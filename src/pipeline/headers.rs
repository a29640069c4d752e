//! The headers that go to Ollama, and those that go to clients: allow-lists, both made here.
//!
//! Guarantees: no header of a client reaches Ollama, and none of Ollama's reaches a client; what is sent is written from
//! what the gateway knows. Answers `threats.md` §0.4, §0.9, §4.5 (credentials on their way to elsewhere, spoofed
//! addresses, leaked servers).

use super::cors::Decision;
use crate::config::types::{Config, ForwardedHeaders, Upstream};
use crate::gateway::Policy;
use crate::limits::Quota;
use crate::telemetry::request_id::RequestId;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What is the same on every message, made once for a policy: a copy costs less than its making.
#[derive(Debug)]
pub struct Standing {
    to_ollama: HeaderMap,
    to_client: HeaderMap,
}

impl Standing {
    /// Of a configuration; `hsts` is `Strict-Transport-Security`, if it is sent.
    #[must_use]
    pub fn new(config: &Config, hsts: Option<HeaderValue>) -> Self {
        let mut to_client = HeaderMap::with_capacity(20);
        constant(&mut to_client);
        to_client.extend(hsts.map(|hsts| (header::STRICT_TRANSPORT_SECURITY, hsts)));
        Self { to_ollama: every_request(&config.upstream), to_client }
    }
}

/// What every request to Ollama carries.
pub(super) fn every_request(config: &Upstream) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(10);
    // Ollama answers 403 to names that are not local (server/routes.go, allowedHostsMiddleware).
    let host = HeaderValue::from_str(&config.host).unwrap_or(HeaderValue::from_static("127.0.0.1:11434"));
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("ollama-gateway"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

/// What Ollama gets, besides the framing of the body.
#[must_use]
pub fn to_ollama(policy: &Policy, id: RequestId, client: IpAddr) -> HeaderMap {
    let mut headers = policy.standing.to_ollama.clone();
    let config = &policy.config.upstream;
    headers.insert(REQUEST_ID, id.header_value());
    if config.forwarded_headers == ForwardedHeaders::Send
        && let Ok(address) = HeaderValue::from_str(&client.to_string())
    {
        headers.insert("x-real-ip", address.clone());
        headers.insert("x-forwarded-for", address);
        headers.insert("x-forwarded-proto", HeaderValue::from_static("https"));
    }
    headers
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

/// What is an answer's own among its headers.
#[derive(Debug, Clone)]
pub struct Marks {
    /// The id of the request.
    pub id: RequestId,
    /// What its `Origin` means.
    pub cors: Decision,
    /// What is left of its rate.
    pub quota: Option<Quota>,
}

/// What every answer carries, beside what this one has already.
#[must_use]
pub fn to_client(policy: &Policy, marks: &Marks, already: HeaderMap) -> HeaderMap {
    let mut headers = policy.standing.to_client.clone();
    headers.extend(already);
    headers.insert(REQUEST_ID, marks.id.header_value());
    policy.cors.write(&marks.cors, &mut headers);
    headers.extend(marks.quota.iter().flat_map(Quota::headers));
    headers
}
