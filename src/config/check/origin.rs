//! One origin, as a browser serialises it (RFC 6454 §6.2).
//!
//! Guarantees: what passes can be compared with an `Origin` header byte by byte; nothing that looks like a pattern passes,
//! so no origin is allowed by its beginning or end. Answers `threats.md` §4.5 (prefix-matched origins, `null`).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::address::is_host_name;
use crate::config::error::Wrong;
use crate::config::quantity::quoted;

/// An exact origin, or `*`.
pub(super) fn origin(text: &str) -> Result<String, Wrong> {
    let wrong = |what: &str, hint: String| Err(Wrong::new(format!("{} {what}", quoted(text))).hint(hint));
    let example = || "scheme://host or scheme://host:port, for example \"https://chat.example.org\"".to_owned();
    if text == "*" {
        return Ok(text.to_owned());
    }
    if text == "null" {
        return wrong(
            "is no origin of a page",
            "sandboxed frames and files send it, anybody's; serve the page".to_owned(),
        );
    }
    if text.contains('*') {
        return wrong("is a pattern", "write out each origin".to_owned());
    }
    let Some((scheme, rest)) = text.split_once("://") else { return wrong("has no scheme", example()) };
    if let Some((authority, _)) = rest.split_once(['/', '?', '#']) {
        return wrong("has more than scheme, host and port", format!("write it as \"{scheme}://{authority}\""));
    }
    if rest.contains('@') {
        return wrong("has a user", example());
    }
    let lower = text.to_ascii_lowercase();
    if lower != text {
        return wrong("is not as a browser sends it", format!("write it as \"{lower}\""));
    }
    let (host, port) = authority(rest);
    if let Some(port) = port.filter(|port| is_default(scheme, port)) {
        let hint = format!("a browser leaves :{port} out; write it as \"{scheme}://{host}\"");
        return wrong("names the port of its scheme", hint);
    }
    if is_scheme(scheme) && is_host(scheme, host) && port.is_none_or(is_port) {
        return Ok(text.to_owned());
    }
    wrong("is no origin", example())
}

fn authority(rest: &str) -> (&str, Option<&str>) {
    match rest.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (rest, None),
    }
}

fn is_scheme(scheme: &str) -> bool {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.');
    scheme.starts_with(|c: char| c.is_ascii_lowercase()) && scheme.bytes().all(inner)
}

/// Extensions and desktop shells have hosts of their own making: `chrome-extension://<id>`, `app://obsidian.md`.
fn is_host(scheme: &str, host: &str) -> bool {
    let opaque = |host: &str| {
        let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.' | b'_');
        !host.is_empty() && host.bytes().all(inner)
    };
    match scheme {
        "http" | "https" => {
            let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
            let v6 = bracketed.and_then(|v6| v6.parse::<Ipv6Addr>().ok().filter(|address| address.to_string() == v6));
            v6.is_some() || host.parse::<Ipv4Addr>().is_ok() || is_host_name(host)
        }
        _ => opaque(host),
    }
}

fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|number| number != 0 && number.to_string() == port)
}

fn is_default(scheme: &str, port: &str) -> bool {
    matches!((scheme, port), ("http", "80") | ("https", "443"))
}

#[cfg(test)]
mod tests {
    use super::origin;

    #[test]
    fn exact_origins_pass_as_they_are() {
        for text in [
            "*",
            "https://chat.example.org",
            "http://localhost:3000",
            "http://127.0.0.1:8080",
            "http://[::1]:5173",
            "chrome-extension://abcdefghijklmnopabcdefghijklmnop",
            "moz-extension://0a1b2c3d-0000-4000-8000-000000000000",
            "app://obsidian.md",
            "tauri://localhost",
        ] {
            assert_eq!(origin(text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        for text in [
            "",
            "null",
            "chat.example.org",
            "https://",
            "https://chat.example.org/",
            "https://chat.example.org/a",
            "https://Chat.example.org",
            "https://chat.example.org:443",
            "http://localhost:80",
            "http://localhost:03000",
            "http://localhost:0",
            "http://localhost:",
            "https://*.example.org",
            "https://u@example.org",
            "https://[0:0::1]",
            "https://exa mple.org",
            "https://exämple.org",
            "file://",
            "//example.org",
            "https://a,https://b",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }
}
