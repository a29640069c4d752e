//! A client's side of a connection: request after request, until one is the last, or is none.

use super::connection::{Arrival, Begun, Connection, Next, Read, Side, Stand};
use super::second;
use bytes::BytesMut;
use http::{HeaderName, HeaderValue, Method, Uri, Version};
use ollama_gateway::http1::framing::Framing;
use ollama_gateway::http1::request::{After, Expects, Head, HeadFault, Reader};

/// Bytes and header lines of a head.
const HEAD: usize = 64 * 1024;
const LINES: usize = 100;

/// The first bytes are the cuts ([`Arrival::of`]), the rest is what a client sends. What is read does not depend on the
/// cuts, and is what a second reader finds. What is no head is told later where it comes in pieces, but at the latest
/// when an empty line has come.
pub(crate) fn requests(data: &[u8]) {
    let Some(arrival) = Arrival::of(data) else { return };
    let wire = arrival.wire;
    let whole = bounded(Connection::after(Client::default(), &[wire]).read(), wire);
    assert_eq!(whole, bounded(second::read(wire, empty_lines, head), wire), "two readers disagree");
    let mut pieces = Connection::after(Client::default(), &arrival.reads());
    if matches!((whole.stand, pieces.stand()), (Stand::HeadFault(_), Stand::Head)) {
        pieces.receive(b"\r\n\r\n");
    }
    assert_eq!(whole, bounded(pieces.read(), wire), "the cuts make a difference");
}

/// Where more has come than a head may have, it depends on the cuts which of its faults is met first.
fn bounded(mut read: Read<Request, HeadFault>, wire: &[u8]) -> Read<Request, HeadFault> {
    if matches!(read.stand, Stand::HeadFault(_)) && wire.len() - read.used > HEAD {
        read.stand = Stand::HeadFault(HeadFault::TooLarge);
    }
    read
}

/// A head, as far as anything is done with it.
#[derive(Debug, PartialEq, Eq)]
struct Request {
    method: Method,
    target: String,
    version: Version,
    /// By their names; those of one name as they came.
    lines: Vec<(HeaderName, HeaderValue)>,
    framing: Framing,
    after: After,
    expects: Expects,
}

impl Request {
    fn begun(mut self) -> Begun<Self> {
        self.lines.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
        let next = if self.after == After::Kept { Next::Message } else { Next::Nothing };
        let framing = self.framing;
        Begun::Head(self, framing, next)
    }
}

#[derive(Default)]
struct Client(Reader);

impl Side for Client {
    type Head = Request;
    type Fault = HeadFault;

    fn begin(&mut self, bytes: &mut BytesMut) -> Result<Begun<Request>, HeadFault> {
        let Some(Head { parts, framing, after, expects }) = self.0.take(bytes)? else { return Ok(Begun::More) };
        let lines = parts.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let (target, version) = (parts.uri.to_string(), parts.version);
        Ok(Request { method: parts.method, target, version, lines, framing, after, expects }.begun())
    }
}

/// Empty lines before a head are nothing.
fn empty_lines(wire: &[u8]) -> usize {
    wire.chunks(2).take_while(|two| *two == b"\r\n").count() * 2
}

/// The second reader.
fn head(wire: &[u8]) -> Result<(usize, Begun<Request>), HeadFault> {
    let bare = |head: &[u8]| (0..head.len()).any(|at| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r'));
    if wire.starts_with(b"\n") {
        return Err(HeadFault::Malformed);
    }
    let mut lines = [httparse::EMPTY_HEADER; LINES];
    let mut read = httparse::Request::new(&mut lines);
    match read.parse(wire) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD => {
            let request = request(&read).filter(|_| !bare(&wire[..length])).ok_or(HeadFault::Malformed)?;
            Ok((length, request.begun()))
        }
        Ok(httparse::Status::Partial) if wire.len() <= HEAD => Ok((0, Begun::More)),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(HeadFault::TooLarge),
        Err(_) => Err(HeadFault::Malformed),
    }
}

fn request(read: &httparse::Request<'_, '_>) -> Option<Request> {
    let values = |name| second::values(read.headers, name);
    let version = if read.version? == 0 { Version::HTTP_10 } else { Version::HTTP_11 };
    let length = second::length(&values("content-length")).ok()?;
    let codings = values("transfer-encoding");
    let framing = match second::members(&codings).last()?.as_str() {
        _ if codings.is_empty() => Framing::Length(length.unwrap_or(0)),
        "chunked" if version == Version::HTTP_11 => Framing::Chunked,
        _ => return None,
    };
    let wishes = second::members(&values("connection"));
    let wishes = |wish: &str| wishes.iter().any(|one| one == wish);
    let doubtful = length.is_some() && framing == Framing::Chunked;
    let last = wishes("close") || doubtful || version == Version::HTTP_10 && !wishes("keep-alive");
    let asks = values("expect").iter().any(|value| value.eq_ignore_ascii_case(b"100-continue"));
    let waits = asks && version == Version::HTTP_11;
    let line = |line: &httparse::Header<'_>| {
        Some((HeaderName::from_bytes(line.name.as_bytes()).ok()?, HeaderValue::from_bytes(line.value).ok()?))
    };
    Some(Request {
        method: Method::from_bytes(read.method?.as_bytes()).ok()?,
        target: Uri::try_from(read.path?).ok()?.to_string(),
        version,
        lines: read.headers.iter().map(line).collect::<Option<_>>()?,
        framing,
        after: if last { After::Closed } else { After::Kept },
        expects: if waits { Expects::Continue } else { Expects::Nothing },
    })
}
