//! First stage: is this a request that can be read one way only, for a host that is served here?
//!
//! Guarantees of [`Inspected`]: one Host (or `:authority`) on the list of names and equal to the name that TLS was opened
//! for; an origin-form target; no CONNECT, no Upgrade, no transfer coding but one `chunked`; no body on a method that has
//! none; no credential in the URL; the client's address from the socket, or from a trusted proxy; an origin that is
//! allowed. Answers `threats.md` §4.1, §4.2, §4.5 (DNS rebinding, smuggling, spoofed addresses).
//! Does not: read the body, or know the routes.

use super::ban::BansAt;
use super::cors::Decision;
use super::credential::{self, Credential};
use super::peer::{Protocol, Via};
use super::record::Record;
use crate::config::types::PathKeys;
use crate::gateway::Policy;
use crate::ollama::endpoint::Endpoint;
use crate::rejection::Rejection;
use crate::telemetry::event::SecurityEvent;
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, request::Parts};
use ipnet::IpNet;
use std::net::IpAddr;

/// A request that can be read one way only.
///
/// ```compile_fail
/// fn forge(head: http::request::Parts) -> ollama_gateway::pipeline::inspect::Inspected {
///     ollama_gateway::pipeline::inspect::Inspected { head, path_key: None, prefix: 0 }
/// }
/// ```
/// ```
/// fn read(inspected: &ollama_gateway::pipeline::inspect::Inspected) -> &http::Method { inspected.method() }
/// ```
#[derive(Debug)]
pub struct Inspected {
    head: Parts,
    path_key: Option<Credential>,
    /// Bytes of the path that are not its route.
    prefix: usize,
}

impl Inspected {
    /// Its method.
    #[must_use]
    pub const fn method(&self) -> &Method {
        &self.head.method
    }

    /// Its raw path, without a key that stood before it.
    #[must_use]
    pub fn path(&self) -> &str {
        match self.head.uri.path().get(self.prefix..) {
            Some("") | None => "/",
            Some(path) => path,
        }
    }

    /// Its raw query.
    #[must_use]
    pub fn query(&self) -> &str {
        self.head.uri.query().unwrap_or_default()
    }

    /// The key that stood in its path, if one did.
    #[must_use]
    pub const fn path_key(&self) -> Option<&Credential> {
        self.path_key.as_ref()
    }

    /// Its headers.
    #[must_use]
    pub const fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    pub(in crate::pipeline) fn into_headers(self) -> HeaderMap {
        self.head.headers
    }
}

/// Header lines of one request; HTTP/1.1 has the same bound in its parser.
const MAX_HEADERS: usize = 100;

/// Headers that decide something: each at most once, in plain ASCII.
const DECISIVE: [HeaderName; 6] = [
    header::HOST,
    header::ORIGIN,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::EXPECT,
    header::CONTENT_LENGTH,
];

/// Inspects a request.
///
/// # Errors
/// The first thing that is wrong with it.
pub fn inspect(head: Parts, policy: &Policy, bans: BansAt<'_>, record: &mut Record) -> Result<Inspected, Rejection> {
    client_address(&head.headers, policy, record)?;
    bans.admit(record.client, &policy.config.bans)?;
    method(&head)?;
    target(&head, record.protocol)?;
    framing(&head.headers)?;
    decisive_headers(&head.headers)?;
    let host = host(&head, record.protocol)?;
    served(&host, policy, record)?;
    if matches!(head.method, Method::GET | Method::HEAD | Method::OPTIONS) && !record.body.is_done() {
        return Err(Rejection::BodyNotAllowed);
    }
    query(&head, record)?;
    origin(&head, record)?;
    let (path_key, prefix) = path_key(&head, policy, record)?;
    Ok(Inspected { head, path_key, prefix })
}

/// A key before the path, where the policy takes it there; where not, it is one in a URL like any other.
fn path_key(head: &Parts, policy: &Policy, record: &mut Record) -> Result<(Option<Credential>, usize), Rejection> {
    let path = head.uri.path();
    let Some((key, rest)) = credential::split_path(path) else { return Ok((None, 0)) };
    match (policy.config.auth.path_keys, key) {
        (PathKeys::Accept, key) => {
            record.dialect = Endpoint::dialect_of_path(rest);
            let prefix = if path.ends_with(rest) { path.len().saturating_sub(rest.len()) } else { path.len() };
            Ok((Some(key), prefix))
        }
        (PathKeys::Refuse, Credential::Key(key)) => {
            let id = key.id().to_string();
            record.note_detail(SecurityEvent::CredentialInUrl, "replace_this_key", Some(&id));
            Err(Rejection::CredentialInUrl)
        }
        (PathKeys::Refuse, _) => Ok((None, 0)),
    }
}

/// CONNECT would make a tunnel of any 2xx answer.
fn method(head: &Parts) -> Result<(), Rejection> {
    match head.method {
        Method::CONNECT => Err(Rejection::ConnectRefused),
        _ => Ok(()),
    }
}

fn target(head: &Parts, protocol: Protocol) -> Result<(), Rejection> {
    let uri = &head.uri;
    let form = match protocol {
        Protocol::Http1 => uri.scheme().is_none() && uri.authority().is_none(),
        Protocol::Http2 => uri.scheme_str() == Some("https"),
    };
    if form && uri.path().starts_with('/') { Ok(()) } else { Err(Rejection::TargetInvalid) }
}

/// HTTP/1.1's framing: what has one end, less what another server could read otherwise. A length beside a coding is refused
/// (RFC 9112 §6.1): a client that sends both is broken or means harm.
fn framing(headers: &HeaderMap) -> Result<(), Rejection> {
    if headers.len() > MAX_HEADERS {
        return Err(Rejection::HeadersTooMany);
    }
    if headers.contains_key(header::UPGRADE) || headers.contains_key("http2-settings") {
        return Err(Rejection::UpgradeRefused);
    }
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (encodings.next(), encodings.next()) {
        (None, _) => {}
        (Some(one), None)
            if one.as_bytes().eq_ignore_ascii_case(b"chunked") && !headers.contains_key(header::CONTENT_LENGTH) => {}
        _ => return Err(Rejection::FramingInvalid),
    }
    match headers.get(header::EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => Err(Rejection::ExpectationFailed),
        Some(_) | None => Ok(()),
    }
}

/// A page of a foreign origin holds no key: what comes from there without one is refused, preflights too. Who shows a key
/// is judged by it; the page still cannot read the answer.
fn origin(head: &Parts, record: &Record) -> Result<(), Rejection> {
    match record.cors {
        Decision::Refused if head.method == Method::OPTIONS || !credential::is_shown(&head.headers) => {
            Err(Rejection::OriginNotAllowed)
        }
        Decision::Refused | Decision::NoOrigin | Decision::Allowed(_) => Ok(()),
    }
}

fn decisive_headers(headers: &HeaderMap) -> Result<(), Rejection> {
    for name in &DECISIVE {
        let mut values = headers.get_all(name).iter();
        let ascii = values.next().is_none_or(|value| value.to_str().is_ok());
        // Lengths that differ are no request; equal ones are harmless.
        let once = values.next().is_none() || *name == header::CONTENT_LENGTH;
        if *name == header::HOST && !(ascii && once) {
            return Err(Rejection::HostInvalid);
        }
        if !(ascii && once) {
            return Err(Rejection::HeaderInvalid);
        }
    }
    Ok(())
}

/// The one host of the request, lower case, without its port and trailing dot.
fn host(head: &Parts, protocol: Protocol) -> Result<String, Rejection> {
    let header = head.headers.get(header::HOST).map(|value| value.to_str().unwrap_or(""));
    let text = match (protocol, head.uri.authority(), header) {
        (Protocol::Http1, _, Some(host)) => host,
        (Protocol::Http2, Some(authority), None) => authority.as_str(),
        (Protocol::Http2, Some(authority), Some(host)) if authority.as_str() == host => host,
        (Protocol::Http1, _, None) | (Protocol::Http2, _, _) => return Err(Rejection::HostInvalid),
    };
    parse_host(text).ok_or(Rejection::HostInvalid)
}

/// Reads `name`, `name:port`, `192.0.2.1`, `[2001:db8::1]:port`.
fn parse_host(text: &str) -> Option<String> {
    let (name, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            address.parse::<std::net::Ipv6Addr>().ok()?;
            (address, port)
        }
        None => match text.find(':') {
            Some(at) => text.split_at_checked(at)?,
            None => (text, ""),
        },
    };
    let port_fits = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b':' | b'_');
    (port_fits && !name.is_empty() && name.len() <= 253 && name.bytes().all(letters)).then_some(name)
}

fn is_port(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok()
}

fn served(host: &str, policy: &Policy, record: &Record) -> Result<(), Rejection> {
    if !policy.config.server.names.iter().any(|name| name == host) {
        return Err(Rejection::HostNotServed);
    }
    match record.peer.sni.as_deref() {
        Some(sni) if sni != host => Err(Rejection::SniMismatch),
        Some(_) | None => Ok(()),
    }
}

/// Believes `X-Forwarded-For` of a trusted proxy only: the right-most address that is not itself a trusted proxy's.
fn client_address(headers: &HeaderMap, policy: &Policy, record: &mut Record) -> Result<(), Rejection> {
    if record.peer.via == Via::Direct {
        return Ok(());
    }
    let trusted = &policy.config.server.trusted_proxies;
    let mut hops = Vec::new();
    for value in headers.get_all("x-forwarded-for") {
        let text = value.to_str().map_err(|_| Rejection::HeaderInvalid)?;
        hops.extend(text.split(',').map(|hop| hop.trim().to_owned()));
    }
    for hop in hops.iter().rev() {
        record.client = hop_address(hop).ok_or(Rejection::HeaderInvalid)?.to_canonical();
        if !is_within(record.client, trusted) {
            break;
        }
    }
    Ok(())
}

/// Some proxies write the port too: `192.0.2.1:5678`, `[2001:db8::1]:5678`.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = hop.trim_matches(['[', ']']).parse().ok();
    bare.or_else(|| hop.parse::<std::net::SocketAddr>().ok().map(|with_port| with_port.ip()))
}

/// Whether an address is in one of the networks.
#[must_use]
pub fn is_within(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

/// A key in a URL is in logs, histories and referrers by now: it is refused, and its owner is told.
fn query(head: &Parts, record: &mut Record) -> Result<(), Rejection> {
    let Some(query) = head.uri.query() else { return Ok(()) };
    let Some(found) = credential::in_query(query) else { return Ok(()) };
    if let Some(id) = found.key_id {
        record.note_detail(SecurityEvent::CredentialInUrl, "replace_this_key", Some(&id));
    }
    Err(Rejection::CredentialInUrl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_has_one_reading() {
        let good = [
            ("Ai.Example.org", "ai.example.org"),
            ("ai.example.org:443", "ai.example.org"),
            ("ai.example.org.", "ai.example.org"),
            ("[::1]:8443", "::1"),
            ("192.0.2.1", "192.0.2.1"),
        ];
        for (text, name) in good {
            assert_eq!(parse_host(text).as_deref(), Some(name), "{text}");
        }
        for text in
            ["", ":443", "a b", "a@b", "a/b", "a:", "a:99999", "a:1:2", "[::1", "[a]", "a,b", "ä.example", "#@x"]
        {
            assert_eq!(parse_host(text), None, "{text}");
        }
    }
}
