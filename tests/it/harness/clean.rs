//! What every request that reaches Ollama must be, whatever a client sent (`lib.rs`, I1).

use super::ollama::{Ollama, Received};
use ollama_gateway::ollama::endpoint::Endpoint;

/// The only header fields that are ever sent upstream.
const FIELDS: [&str; 11] = [
    "host",
    "content-type",
    "content-length",
    "accept",
    "accept-encoding",
    "user-agent",
    "connection",
    "x-request-id",
    "x-real-ip",
    "x-forwarded-for",
    "x-forwarded-proto",
];

/// Fails where any request upstream is not of the gateway's own making.
pub(crate) fn assert_all_clean(ollama: &Ollama, what: &str) {
    for received in ollama.received() {
        assert_clean(ollama, &received, what);
    }
}

/// Fails where this one is not.
pub(crate) fn assert_clean(ollama: &Ollama, received: &Received, what: &str) {
    let head = String::from_utf8_lossy(&received.raw_head).into_owned();
    assert!(head.ends_with("\r\n\r\n") && !head.replace("\r\n", "").contains(['\r', '\n']), "{what}: {head:?}");
    assert!(received.head.first_line.ends_with(" HTTP/1.1"), "{what}: {head:?}");
    assert!(Endpoint::find(received.method(), received.path()).is_ok(), "{what}: no route of the table: {head:?}");
    assert!(!received.path().contains(['?', '#', '%', ';', '\\']), "{what}: {head:?}");
    for (name, value) in &received.head.fields {
        let known = FIELDS.contains(&name.to_ascii_lowercase().as_str());
        assert!(known, "{what}: upstream was sent {name}: {value}");
        assert!(value.bytes().all(|b| (0x20..0x7f).contains(&b)), "{what}: {name}: {value:?}");
    }
    assert_eq!(received.head.one("host"), Some(ollama.address.to_string().as_str()), "{what}: {head:?}");
    assert!(received.head.all("content-length").len() <= 1, "{what}: {head:?}");
    for address in received.head.all("x-forwarded-for").into_iter().chain(received.head.all("x-real-ip")) {
        assert_eq!(address, "127.0.0.1", "{what}: {head:?}");
    }
}
