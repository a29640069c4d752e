//! The head of an answer, read from bytes.
//!
//! Guarantees: what is taken of it is the status, the kind of content and the framing, and no header is kept; two framings
//! that contradict each other, or one that this does not know, are faults, as RFC 9112 §6.3 advises: nobody guesses where
//! an answer ends. Interim answers are passed over (RFC 9110 §15.2).
//! Does not: read a socket, or bound how often it is asked.

use crate::http1::framing::Framing;
use crate::http1::lines::has_token;
use crate::http1::request::length;
use http::StatusCode;
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use std::fmt;
use std::mem::MaybeUninit;

/// What is said of an answer before its body.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// `Content-Type`, as it came.
    pub content_type: Option<Box<[u8]>>,
    /// Whether the content is what it seems.
    pub encoding: Encoding,
}

/// `Content-Encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// There is none.
    Identity,
    /// It is compressed, or something of the kind.
    Other,
}

/// Whether an answer may have a body: one to `HEAD` has none whatever its head says (RFC 9112 §6.3, 1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expects {
    /// It may.
    Body,
    /// It may not.
    HeadAlone,
}

/// Whether the connection may be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// It may.
    Kept,
    /// It is of no use after this answer.
    Closed,
}

/// What the bytes begin with.
#[derive(Debug, PartialEq, Eq)]
pub enum Begin {
    /// A head that is not all there.
    More,
    /// An interim answer of so many bytes.
    Interim(usize),
    /// A head of so many bytes, and how its body is framed.
    Head(usize, Head, Framing, After),
}

/// What is wrong with a head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadFault {
    /// It is no head of HTTP/1.
    Malformed,
    /// Ollama wants to speak another protocol.
    Switching,
    /// Nobody can say where its body ends.
    Framing,
}

impl fmt::Display for HeadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the head of the answer is no HTTP",
            Self::Switching => "the answer wants another protocol",
            Self::Framing => "the end of the answer is ambiguous",
        })
    }
}

/// Headers of a head.
const MAX_HEADERS: usize = 64;

/// Reads what is there.
///
/// # Errors
/// What is wrong with it.
pub fn begin(bytes: &[u8], expects: Expects) -> Result<Begin, HeadFault> {
    let mut lines = [const { MaybeUninit::uninit() }; MAX_HEADERS];
    let mut read = httparse::Response::new(&mut []);
    let parser = httparse::ParserConfig::default();
    let parsed = parser.parse_response_with_uninit_headers(&mut read, bytes, &mut lines);
    let httparse::Status::Complete(length) = parsed.map_err(|_| HeadFault::Malformed)? else { return Ok(Begin::More) };
    let code = read.code.ok_or(HeadFault::Malformed)?;
    let status = StatusCode::from_u16(code).map_err(|_| HeadFault::Malformed)?;
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(HeadFault::Switching);
    }
    if status.is_informational() {
        return Ok(Begin::Interim(length));
    }
    let mut said = Said::default();
    for line in read.headers.iter() {
        said.take(line)?;
    }
    let version = if read.version == Some(1) { Version::One } else { Version::Older };
    let bodiless = expects == Expects::HeadAlone || matches!(status.as_u16(), 204 | 304);
    let framing = if bodiless { Framing::Length(0) } else { said.framing(version)? };
    let kept = version == Version::One && !said.close && framing != Framing::UntilClose;
    let head = Head { status, content_type: said.content_type.map(Box::from), encoding: said.encoding() };
    Ok(Begin::Head(length, head, framing, if kept { After::Kept } else { After::Closed }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Older,
}

/// The headers that mean something.
#[derive(Default)]
struct Said<'a> {
    content_type: Option<&'a [u8]>,
    encoded: bool,
    close: bool,
    chunked: bool,
    length: Option<u64>,
}

impl<'a> Said<'a> {
    fn take(&mut self, line: &httparse::Header<'a>) -> Result<(), HeadFault> {
        let (name, value) = (line.name, line.value.trim_ascii());
        if name.eq_ignore_ascii_case(CONTENT_TYPE.as_str()) {
            self.content_type = self.content_type.or(Some(value));
        } else if name.eq_ignore_ascii_case(CONTENT_LENGTH.as_str()) {
            let length = length(value).ok_or(HeadFault::Framing)?;
            if self.length.replace(length).is_some() {
                return Err(HeadFault::Framing);
            }
        } else if name.eq_ignore_ascii_case(TRANSFER_ENCODING.as_str()) {
            if !value.eq_ignore_ascii_case(b"chunked") || std::mem::replace(&mut self.chunked, true) {
                return Err(HeadFault::Framing);
            }
        } else if name.eq_ignore_ascii_case(CONTENT_ENCODING.as_str()) {
            self.encoded = true;
        } else if name.eq_ignore_ascii_case(CONNECTION.as_str()) {
            self.close |= has_token(value, b"close");
        }
        Ok(())
    }

    fn framing(&self, version: Version) -> Result<Framing, HeadFault> {
        match (self.chunked, self.length) {
            (true, None) if version == Version::One => Ok(Framing::Chunked),
            (true, _) => Err(HeadFault::Framing),
            (false, Some(length)) => Ok(Framing::Length(length)),
            (false, None) => Ok(Framing::UntilClose),
        }
    }

    const fn encoding(&self) -> Encoding {
        if self.encoded { Encoding::Other } else { Encoding::Identity }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(head: &str) -> Result<(Framing, After), HeadFault> {
        match begin(head.as_bytes(), Expects::Body)? {
            Begin::Head(length, _, framing, after) => {
                assert_eq!(length, head.len());
                Ok((framing, after))
            }
            other @ (Begin::More | Begin::Interim(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_answer_of_ollama() {
        let text =
            "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nDate: x\r\nTransfer-Encoding: chunked\r\n\r\n{";
        let Begin::Head(length, head, framing, after) = begin(text.as_bytes(), Expects::Body).unwrap() else {
            panic!()
        };
        assert_eq!(length, text.len() - 1);
        assert_eq!((head.status.as_u16(), framing, after), (200, Framing::Chunked, After::Kept));
        assert_eq!(head.content_type.as_deref(), Some(b"application/x-ndjson".as_slice()));
        assert_eq!(head.encoding, Encoding::Identity);
        for end in 0..length {
            assert_eq!(begin(&text.as_bytes()[..end], Expects::Body), Ok(Begin::More), "{end}");
        }
    }

    #[test]
    fn where_an_answer_ends() {
        let rows = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5), After::Kept),
            ("HTTP/1.1 200 OK\r\ncontent-length: 005 \r\n\r\n", Framing::Length(5), After::Kept),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: x, Close\r\n\r\n", Framing::Length(5), After::Closed),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", Framing::Chunked, After::Kept),
            ("HTTP/1.1 200\r\n\r\n", Framing::UntilClose, After::Closed),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", Framing::Length(5), After::Closed),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Framing::Length(0), After::Kept),
            ("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n", Framing::Length(0), After::Kept),
        ];
        for (head, of_body, after) in rows {
            assert_eq!(framing(head), Ok((of_body, after)), "{head}");
        }
        let to_head = begin(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Expects::HeadAlone).unwrap();
        assert!(matches!(to_head, Begin::Head(_, _, Framing::Length(0), After::Kept)), "{to_head:?}");
    }

    #[test]
    fn nobody_guesses() {
        let rows = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", HeadFault::Framing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", HeadFault::Framing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", HeadFault::Framing),
            ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n", HeadFault::Framing),
            ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", HeadFault::Framing),
            ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", HeadFault::Framing),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", HeadFault::Framing),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", HeadFault::Framing),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", HeadFault::Framing),
            ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", HeadFault::Switching),
            ("HTTP/1.1 099 No\r\n\r\n", HeadFault::Malformed),
            ("HTTP/2.0 200 OK\r\n\r\n", HeadFault::Malformed),
            ("HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\n", HeadFault::Malformed),
            ("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", HeadFault::Malformed),
            ("{\"error\":\"x\"}\r\n\r\n", HeadFault::Malformed),
        ];
        for (head, fault) in rows {
            assert_eq!(framing(head), Err(fault), "{head}");
        }
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        assert_eq!(framing(&many), Err(HeadFault::Malformed));
    }

    #[test]
    fn interim_answers_are_passed_over_and_compression_is_told() {
        let hint = b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert_eq!(begin(hint, Expects::Body), Ok(Begin::Interim(37)));
        let text = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n";
        let Begin::Head(_, head, ..) = begin(text, Expects::Body).unwrap() else { panic!() };
        assert_eq!((head.encoding, head.content_type), (Encoding::Other, None));
    }
}
