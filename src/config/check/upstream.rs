//! `[upstream]`: the Ollama behind.

use std::time::Duration;

use super::address::is_host_name;
use crate::config::error::Wrong;
use crate::config::quantity::{self, quoted};
use crate::config::raw::Section;
use crate::config::types::{ForwardedHeaders, Upstream};

const DEFAULT_ADDRESS: &str = "127.0.0.1:11434";
const DEFAULT_VERSION: &str = "0.33.0";
const DAY: Duration = Duration::from_secs(86_400);
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

pub(super) fn upstream(mut upstream: Section<'_>) -> Upstream {
    let address = upstream.read("url", DEFAULT_ADDRESS.to_owned(), |item| authority(item.text()?));
    let (send, omit) = (ForwardedHeaders::Send, ForwardedHeaders::Omit);
    Upstream {
        host: address.clone(),
        address,
        connect_timeout: upstream.duration("connect_timeout", Duration::from_secs(5), DAY),
        first_byte_timeout: upstream.duration("first_byte_timeout", Duration::from_secs(600), DAY),
        idle_timeout: upstream.duration("idle_timeout", Duration::from_secs(300), DAY),
        heartbeat_after: upstream.duration("heartbeat_after", Duration::from_secs(10), DAY),
        wedged_after: upstream.read("wedged_after", Some(Duration::from_secs(300)), |item| wedged_after(item.text()?)),
        max_connections: upstream.number("max_connections", 256, 1..=65_536),
        forwarded_headers: upstream.switch("forwarded_headers", send, omit, send),
        shown_version: upstream.read("shown_version", DEFAULT_VERSION.to_owned(), |item| version(item.text()?)),
        stream_buffer: upstream.bytes("stream_buffer", 4 * MIB, 1024..=GIB),
        max_answer: upstream.bytes("max_answer", 64 * MIB, 1024..=GIB),
    }
}

fn wedged_after(text: &str) -> Result<Option<Duration>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    let length = quantity::duration(text, DAY).map_err(|wrong| wrong.or_hint(|| "\"off\" turns it off".into()));
    length.map(Some)
}

/// The `host:port` of `http://host[:port]`. The URL is not repeated in a fault: it may hold a password.
fn authority(url: &str) -> Result<String, Wrong> {
    let wrong = |what: &str, hint: &str| Err(Wrong::new(what).hint(hint));
    let example = "for example \"http://127.0.0.1:11434\"";
    if url.starts_with("https://") {
        return wrong(
            "is https, which Ollama does not speak",
            "http:// to a private address; put a tunnel between machines",
        );
    }
    let Some(rest) = url.strip_prefix("http://") else { return wrong("is no http:// URL", example) };
    if rest.contains('@') {
        return wrong("has credentials", "Ollama reads none; leave them out");
    }
    if rest.contains(['/', '?', '#']) {
        return wrong("has a path", "the paths are Ollama's own; end the URL after the port");
    }
    let (host, port) = split_port(rest);
    let known = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(inside) => inside.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.parse::<std::net::Ipv4Addr>().is_ok() || is_host_name(&host.to_ascii_lowercase()),
    };
    match port.unwrap_or("80").parse::<u16>() {
        Ok(port) if known && port != 0 => Ok(format!("{}:{port}", host.to_ascii_lowercase())),
        Ok(_) | Err(_) => wrong("is not http://host:port", example),
    }
}

fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    }
}

fn version(text: &str) -> Result<String, Wrong> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+');
    if !text.is_empty() && text.len() <= 64 && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{} is no version", quoted(text))).hint(format!("for example \"{DEFAULT_VERSION}\"")))
}
