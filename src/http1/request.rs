//! The head of a client's request, read from bytes.
//!
//! Guarantees: a head is read when it is whole, and once; its body has one length, or there is no head: lengths that differ
//! or are no plain digits, codings that do not end in `chunked`, and a coding from HTTP/1.0 are faults (RFC 9112 §6.3); a
//! line that ends in LF alone is one too. A head that says both a length and a coding keeps both headers, so that
//! `pipeline::inspect` can refuse it (§6.1), and its connection ends with it. The head's size and the number of its lines
//! have a bound.
//! Does not: judge what is asked, or read a socket. Answers `threats.md` §4.1.

use super::framing::Framing;
use super::lines::has_token;
use bytes::{Buf as _, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::{Method, Request, Uri, Version};
use std::mem::MaybeUninit;

/// Bytes of a head.
const MAX_HEAD: usize = 64 * 1024;
/// Header lines of a head.
const MAX_HEADERS: usize = 100;

/// A request before its body.
#[derive(Debug)]
pub struct Head {
    /// What it says.
    pub parts: Parts,
    /// How its body is framed.
    pub framing: Framing,
    /// What follows it.
    pub after: After,
    /// What is waited for before the body.
    pub expects: Expects,
}

/// What the client wants with the connection after the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Another request may follow.
    Kept,
    /// This is the last one.
    Closed,
}

/// Whether the client waits before it sends the body (RFC 9110 §10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expects {
    /// It does not.
    Nothing,
    /// It waits to be told to go on.
    Continue,
}

/// Why there is no request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// It is no head of HTTP/1, or its body has no end that one could name.
    Malformed,
    /// The target is too long.
    TargetTooLong,
    /// The head is too large, or has too many lines.
    TooLarge,
}

/// What comes in, until a head is whole.
#[derive(Debug, Default)]
pub struct Reader {
    /// Bytes that were looked at, and do not end a head.
    seen: usize,
}

impl Reader {
    /// Takes a head out of what is there; `None`: it is not whole.
    ///
    /// The first bytes are parsed at once, so that what is no HTTP is told soon; after that only a whole head is, so that
    /// one that comes byte by byte costs no more than its length.
    ///
    /// # Errors
    /// Why there is none, and will be none.
    pub fn take(&mut self, bytes: &mut BytesMut) -> Result<Option<Head>, HeadFault> {
        let there = bytes.len();
        skip_empty_lines(bytes)?;
        if bytes.len() < there {
            self.seen = 0;
        }
        if bytes.is_empty() {
            return Ok(None);
        }
        let fresh = bytes.get(self.seen.saturating_sub(2)..).unwrap_or_default();
        let first = std::mem::replace(&mut self.seen, bytes.len()) == 0;
        if !(first || ends_head(fresh)) {
            return if bytes.len() > MAX_HEAD { Err(too_large(bytes)) } else { Ok(None) };
        }
        match head(bytes)? {
            None if bytes.len() > MAX_HEAD => Err(too_large(bytes)),
            None => Ok(None),
            Some(head) => {
                self.seen = 0;
                Ok(Some(head))
            }
        }
    }
}

/// Those before a request (RFC 9112 §2.2): some clients end a body with one.
fn skip_empty_lines(bytes: &mut BytesMut) -> Result<(), HeadFault> {
    while bytes.starts_with(b"\r\n") {
        bytes.advance(2);
    }
    if bytes.starts_with(b"\n") { Err(HeadFault::Malformed) } else { Ok(()) }
}

/// Whether a line ends in LF alone: another server might not take it for an end.
fn has_bare_end(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).any(|at| at.checked_sub(1).and_then(|before| head.get(before)) != Some(&b'\r'))
}

fn too_large(bytes: &[u8]) -> HeadFault {
    match memchr::memchr(b'\n', bytes) {
        None => HeadFault::TargetTooLong,
        Some(_) => HeadFault::TooLarge,
    }
}

/// Whether an empty line is in it, which ends a head, rightly or not.
fn ends_head(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', bytes).any(|at| {
        let next = bytes.get(at.saturating_add(1)..).unwrap_or_default();
        next.starts_with(b"\n") || next.starts_with(b"\r\n")
    })
}

fn head(bytes: &mut BytesMut) -> Result<Option<Head>, HeadFault> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut read = httparse::Request::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_request_with_uninit_headers(&mut read, bytes, &mut lines);
    let httparse::Status::Complete(length) = parsed.map_err(fault)? else { return Ok(None) };
    if length > MAX_HEAD {
        return Err(HeadFault::TooLarge);
    }
    if bytes.get(..length).is_none_or(has_bare_end) {
        return Err(HeadFault::Malformed);
    }
    // What is kept of a head is as large as the head, and not as what was read with it.
    let kept =
        Kept { from: bytes.as_ptr() as usize, head: Bytes::copy_from_slice(bytes.get(..length).unwrap_or(bytes)) };
    let head = whole(&read, &kept)?;
    bytes.advance(length);
    Ok(Some(head))
}

fn whole(read: &httparse::Request<'_, '_>, kept: &Kept) -> Result<Head, HeadFault> {
    let (Some(method), Some(target), Some(version)) = (read.method, read.path, read.version) else {
        return Err(HeadFault::Malformed);
    };
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::from_bytes(method.as_bytes()).map_err(|_| HeadFault::Malformed)?;
    parts.uri = Uri::from_maybe_shared(kept.part(target.as_bytes())).map_err(|_| HeadFault::Malformed)?;
    parts.version = if version == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let mut said = Said::new(parts.version);
    let mut headers = HeaderMap::with_capacity(read.headers.len());
    for line in read.headers.iter() {
        let name = HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| HeadFault::Malformed)?;
        let value = HeaderValue::from_maybe_shared(kept.part(line.value)).map_err(|_| HeadFault::Malformed)?;
        said.take(&name, &value)?;
        headers.append(name, value);
    }
    parts.headers = headers;
    let (framing, after) = said.end()?;
    Ok(Head { parts, framing, after, expects: said.expects })
}

/// A head that is kept, and where it was read from.
struct Kept {
    from: usize,
    head: Bytes,
}

impl Kept {
    /// The same part of what is kept.
    fn part(&self, read: &[u8]) -> Bytes {
        let start = (read.as_ptr() as usize).saturating_sub(self.from).min(self.head.len());
        self.head.slice(start..start.saturating_add(read.len()).min(self.head.len()))
    }
}

fn fault(error: httparse::Error) -> HeadFault {
    match error {
        httparse::Error::TooManyHeaders => HeadFault::TooLarge,
        httparse::Error::HeaderName
        | httparse::Error::HeaderValue
        | httparse::Error::NewLine
        | httparse::Error::Status
        | httparse::Error::Token
        | httparse::Error::Version => HeadFault::Malformed,
    }
}

/// The headers that mean something for the connection.
struct Said {
    version: Version,
    length: Option<u64>,
    coding: Coding,
    close: bool,
    keep_alive: bool,
    expects: Expects,
}

/// The transfer codings so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    None,
    /// The last one is `chunked`.
    Chunked,
    /// The last one is another.
    Other,
}

impl Said {
    const fn new(version: Version) -> Self {
        let (coding, expects) = (Coding::None, Expects::Nothing);
        Self { version, length: None, coding, close: false, keep_alive: false, expects }
    }

    fn take(&mut self, name: &HeaderName, value: &HeaderValue) -> Result<(), HeadFault> {
        let value = value.as_bytes();
        match *name {
            CONTENT_LENGTH => {
                let length = length(value).ok_or(HeadFault::Malformed)?;
                if self.length.replace(length).is_some_and(|before| before != length) {
                    return Err(HeadFault::Malformed);
                }
            }
            TRANSFER_ENCODING => {
                let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default();
                let chunked = last.trim_ascii().eq_ignore_ascii_case(b"chunked");
                self.coding = if chunked { Coding::Chunked } else { Coding::Other };
            }
            CONNECTION => {
                self.close |= has_token(value, b"close");
                self.keep_alive |= has_token(value, b"keep-alive");
            }
            // An older client would take the interim answer for the answer (RFC 9110 §10.1.1).
            EXPECT if self.version == Version::HTTP_11 && value.eq_ignore_ascii_case(b"100-continue") => {
                self.expects = Expects::Continue;
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&self) -> Result<(Framing, After), HeadFault> {
        let newer = self.version == Version::HTTP_11;
        let framing = match (self.coding, self.length) {
            (Coding::Other, _) => return Err(HeadFault::Malformed),
            (Coding::Chunked, _) if !newer => return Err(HeadFault::Malformed),
            (Coding::Chunked, _) => Framing::Chunked,
            (Coding::None, length) => Framing::Length(length.unwrap_or(0)),
        };
        let doubtful = self.coding == Coding::Chunked && self.length.is_some();
        let kept = !self.close && !doubtful && (newer || self.keep_alive);
        Ok((framing, if kept { After::Kept } else { After::Closed }))
    }
}

/// Plain digits that fit, and nothing else.
pub(crate) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<Head>, HeadFault> {
        let mut bytes = BytesMut::from(text.as_bytes());
        Reader::default().take(&mut bytes)
    }

    #[test]
    fn a_head_is_the_same_however_it_is_split_and_nothing_after_it_is_taken() {
        let text = "\r\nPOST /api/chat?x=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 005\r\nX: \t b \r\n\r\nhelloGET /";
        let whole = text.find("hello").unwrap();
        for at_once in [1, 2, 3, 7, text.len()] {
            let (mut reader, mut bytes, mut found) = (Reader::default(), BytesMut::new(), None);
            for piece in text.as_bytes().chunks(at_once) {
                bytes.extend_from_slice(piece);
                if found.is_none() {
                    found = reader.take(&mut bytes).unwrap();
                }
            }
            let head = found.unwrap();
            assert_eq!((head.parts.method, head.parts.uri.to_string()), (Method::POST, "/api/chat?x=1".to_owned()));
            assert_eq!((head.framing, head.after), (Framing::Length(5), After::Kept));
            assert_eq!(head.parts.headers["x"], "b");
            assert_eq!(bytes, &text.as_bytes()[whole..], "by {at_once}");
        }
    }

    #[test]
    fn where_a_body_ends_and_whether_another_request_may_follow() {
        let rows = [
            ("GET / HTTP/1.1\r\n\r\n", Framing::Length(0), After::Kept),
            ("GET / HTTP/1.0\r\n\r\n", Framing::Length(0), After::Closed),
            ("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", Framing::Length(0), After::Kept),
            ("GET / HTTP/1.1\r\nConnection: keep-alive, Close\r\n\r\n", Framing::Length(0), After::Closed),
            (
                "GET / HTTP/1.1\r\nConnection: close\r\nConnection: keep-alive\r\n\r\n",
                Framing::Length(0),
                After::Closed,
            ),
            ("P / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", Framing::Length(5), After::Kept),
            ("P / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked, After::Kept),
            (
                "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
                Framing::Chunked,
                After::Closed,
            ),
        ];
        for (text, framing, after) in rows {
            let head = read(text).unwrap().unwrap();
            assert_eq!((head.framing, head.after), (framing, after), "{text}");
        }
        let both = read("P / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap().unwrap();
        assert_eq!(both.parts.headers.len(), 2, "for `inspect` to see");
        let expects = |text| read(text).unwrap().unwrap().expects;
        assert_eq!(expects("P / HTTP/1.1\r\nExpect: 100-Continue\r\n\r\n"), Expects::Continue);
        assert_eq!(expects("P / HTTP/1.1\r\nExpect: more\r\n\r\n"), Expects::Nothing);
        assert_eq!(expects("P / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"), Expects::Nothing);
    }

    #[test]
    fn nobody_guesses() {
        let rows = [
            "P / HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "P / HTTP/1.1\r\nContent-Length: 5, 5\r\n\r\n",
            "P / HTTP/1.1\r\nContent-Length: +5\r\n\r\n",
            "P / HTTP/1.1\r\nContent-Length:\r\n\r\n",
            "P / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            "P / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            "P / HTTP/1.1\r\nTransfer-Encoding:\r\n\r\n",
            "P / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "P / HTTP/2.0\r\n\r\n",
            "P  / HTTP/1.1\r\n\r\n",
            "P / HTTP/1.1\nHost: a\n\n",
            "P / HTTP/1.1\r\nHost: a\n\r\n",
            "P / HTTP/1.1\r\nHost: a\r\n\n",
            "\nP / HTTP/1.1\r\n\r\n",
            "P / HTTP/1.1\r\nA : b\r\n\r\n",
            "P / HTTP/1.1\r\nA: b\r\n c\r\n\r\n",
            "\u{16}\u{3}\u{1}",
        ];
        for text in rows {
            assert_eq!(read(text).unwrap_err(), HeadFault::Malformed, "{text}");
        }
    }

    #[test]
    fn empty_lines_before_a_head_are_nothing() {
        let (mut reader, mut bytes) = (Reader::default(), BytesMut::from(&b"\r\n\r\n"[..]));
        assert!(reader.take(&mut bytes).unwrap().is_none());
        assert!(bytes.is_empty(), "nothing is kept of them");
        bytes.extend_from_slice(b"\r");
        assert!(reader.take(&mut bytes).unwrap().is_none());
        bytes.extend_from_slice(b"\nGET / HTTP/1.1\r\n\r\n");
        assert!(reader.take(&mut bytes).unwrap().is_some());
    }

    #[test]
    fn heads_have_a_bound_whether_they_end_or_not() {
        let lines = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(count));
        assert!(read(&lines(MAX_HEADERS)).unwrap().is_some());
        assert_eq!(read(&lines(MAX_HEADERS + 1)).unwrap_err(), HeadFault::TooLarge);
        assert_eq!(read(&format!("GET / HTTP/1.1\r\nA: {}", "b".repeat(MAX_HEAD))).unwrap_err(), HeadFault::TooLarge);
        assert_eq!(read(&format!("GET /{}", "b".repeat(MAX_HEAD))).unwrap_err(), HeadFault::TargetTooLong);
        let (mut reader, mut bytes) = (Reader::default(), BytesMut::from(&b"GET / HTTP/1.1\r\nA: "[..]));
        let fault = (0..=MAX_HEAD).find_map(|_| {
            bytes.extend_from_slice(b"b");
            reader.take(&mut bytes).err()
        });
        assert_eq!(fault, Some(HeadFault::TooLarge));
    }
}
