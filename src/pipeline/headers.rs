//! The headers that go to Ollama, and those that go to clients: allow-lists, both made here.
//!
//! Guarantees: no header of a client reaches Ollama, and none of Ollama's reaches a client; what is sent is written from
//! what the gateway knows. Answers `threats.md` §0.4, §0.9, §4.5 (credentials on their way to elsewhere, spoofed
//! addresses, leaked servers).

use super::record::Record;
use crate::config::types::{ForwardedHeaders, Upstream};
use crate::gateway::Policy;
use crate::telemetry::request_id::RequestId;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use std::net::IpAddr;

/// What Ollama gets, besides the framing of the body.
#[must_use]
pub fn to_ollama(config: &Upstream, id: RequestId, client: IpAddr) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(8);
    // Ollama answers 403 to names that are not local (server/routes.go, allowedHostsMiddleware).
    let host = HeaderValue::from_str(&config.host).unwrap_or(HeaderValue::from_static("127.0.0.1:11434"));
    headers.insert(header::HOST, host);
    headers.insert(header::USER_AGENT, HeaderValue::from_static("ollama-gateway"));
    headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers.insert("x-request-id", id.header_value());
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

/// Writes what every answer carries.
pub fn to_client(policy: &Policy, record: &Record, headers: &mut HeaderMap) {
    constant(headers);
    if let Some(hsts) = &policy.hsts {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
    headers.insert("x-request-id", record.id.header_value());
    policy.cors.write(&record.cors, headers);
    if let Some(quota) = &record.quota {
        for (name, value) in quota.headers() {
            headers.insert(name, value);
        }
    }
}
