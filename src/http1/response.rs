//! An answer as bytes.
//!
//! Guarantees: a head is written once, from what the pipeline made, with a date (RFC 9110 §6.6.1) and with one framing of
//! the body: its length where that is known, chunks where it is not, and the end of the connection for a client of HTTP/1.0
//! (RFC 9112 §6.3); what has no body has no length either (RFC 9110 §8.6). Does not: write to a socket.

use super::lines::{LAST_CHUNK, chunk_size, field};
use super::request::After;
use bytes::{BufMut as _, BytesMut};
use http::header::{self, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{Method, StatusCode, Version};
use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// How the body of an answer is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Nothing is sent, whatever its length would be.
    Nothing,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// All that is sent until the connection ends.
    UntilClose,
}

/// What an answer is an answer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) head_alone: HeadAlone,
    pub(crate) version: Version,
    pub(crate) after: After,
}

/// Whether the request was a `HEAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadAlone {
    Yes,
    No,
}

impl From<&Method> for HeadAlone {
    fn from(method: &Method) -> Self {
        if *method == Method::HEAD { Self::Yes } else { Self::No }
    }
}

/// Room for a head, so that it does not grow.
const ROOM: usize = 1024;

/// Writes a head with these lines; how its body is framed, and whether the connection goes on after it.
pub(crate) fn head(
    (status, lines): (StatusCode, impl FnOnce(&mut BytesMut)),
    length: Option<u64>,
    (asked, now): (Asked, SystemTime),
    out: &mut BytesMut,
) -> (Framing, After) {
    let framing = framing(status, length, asked);
    let closes = asked.after == After::Closed || framing == Framing::UntilClose;
    let after = if closes { After::Closed } else { After::Kept };
    out.reserve(ROOM);
    out.put_slice(if asked.version == Version::HTTP_10 { b"HTTP/1.0 " } else { b"HTTP/1.1 " });
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or("Unknown").as_bytes());
    out.put_slice(b"\r\n");
    lines(out);
    match framing {
        Framing::Length(length) => field(out, &CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes()),
        Framing::Chunked => field(out, &TRANSFER_ENCODING, b"chunked"),
        Framing::Nothing | Framing::UntilClose => {}
    }
    match after {
        After::Closed => field(out, &CONNECTION, b"close"),
        After::Kept if asked.version == Version::HTTP_10 => field(out, &CONNECTION, b"keep-alive"),
        After::Kept => {}
    }
    DATE.with_borrow_mut(|date| field(out, &header::DATE, date.of(now).as_bytes()));
    out.put_slice(b"\r\n");
    (framing, after)
}

fn framing(status: StatusCode, length: Option<u64>, asked: Asked) -> Framing {
    let bodiless = status.is_informational() || matches!(status.as_u16(), 204 | 304);
    match length {
        _ if bodiless || asked.head_alone == HeadAlone::Yes => Framing::Nothing,
        Some(length) => Framing::Length(length),
        None if asked.version == Version::HTTP_10 => Framing::UntilClose,
        None => Framing::Chunked,
    }
}

/// Writes a piece of a body. Never an empty one: an empty chunk would be the last.
pub(crate) fn piece(framing: Framing, data: &[u8], out: &mut BytesMut) {
    match framing {
        Framing::Nothing => {}
        Framing::Length(_) | Framing::UntilClose => out.put_slice(data),
        Framing::Chunked if data.is_empty() => {}
        Framing::Chunked => {
            chunk_size(data.len(), out);
            out.put_slice(data);
            out.put_slice(b"\r\n");
        }
    }
}

/// What a client waits for before it sends a body (RFC 9110 §15.2.1).
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Writes the end of a body.
pub(crate) fn end(framing: Framing, out: &mut BytesMut) {
    if framing == Framing::Chunked {
        out.put_slice(LAST_CHUNK);
    }
}

thread_local! {
    static DATE: RefCell<Date> = const { RefCell::new(Date { second: u64::MAX, text: String::new() }) };
}

/// The date of a second, made once on each thread.
struct Date {
    second: u64,
    text: String,
}

impl Date {
    fn of(&mut self, now: SystemTime) -> &str {
        let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if std::mem::replace(&mut self.second, second) != second {
            self.text = httpdate::fmt_http_date(now);
        }
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const NOW: Duration = Duration::from_secs(1_795_525_945);

    fn asked(method: &Method, version: Version, after: After) -> Asked {
        Asked { head_alone: method.into(), version, after }
    }

    fn written(status: u16, lines: &str, length: Option<u64>, asked: Asked) -> (String, Framing, After) {
        let mut out = BytesMut::new();
        let status = StatusCode::from_u16(status).unwrap();
        let lines = |out: &mut BytesMut| out.extend_from_slice(lines.as_bytes());
        let (framing, after) = head((status, lines), length, (asked, UNIX_EPOCH + NOW), &mut out);
        (String::from_utf8(out.to_vec()).unwrap(), framing, after)
    }

    #[test]
    fn a_head_is_exactly_this() {
        let asked = asked(&Method::POST, Version::HTTP_11, After::Kept);
        let (text, framing, after) = written(200, "x-a: b\r\n", Some(12), asked);
        let wanted = "HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 12\r\ndate: Tue, 24 Nov 2026 13:12:25 GMT\r\n\r\n";
        assert_eq!((text.as_str(), framing, after), (wanted, Framing::Length(12), After::Kept));
    }

    #[test]
    fn every_body_has_one_end() {
        let (get, one, zero) = (&Method::GET, Version::HTTP_11, Version::HTTP_10);
        let (kept, closed) = (After::Kept, After::Closed);
        let rows = [
            (200, None, asked(get, one, kept), Framing::Chunked, kept, "transfer-encoding: chunked"),
            (200, None, asked(get, zero, kept), Framing::UntilClose, closed, "connection: close"),
            (200, Some(1), asked(get, zero, kept), Framing::Length(1), kept, "connection: keep-alive"),
            (200, Some(1), asked(get, one, closed), Framing::Length(1), closed, "connection: close"),
            (204, Some(0), asked(get, one, kept), Framing::Nothing, kept, "204 No Content"),
            (304, None, asked(get, one, kept), Framing::Nothing, kept, "304 Not Modified"),
            (200, Some(0), asked(get, one, kept), Framing::Length(0), kept, "content-length: 0"),
        ];
        for (status, length, asked, framing, after, line) in rows {
            let (text, of_body, then) = written(status, "", length, asked);
            assert_eq!((of_body, then), (framing, after), "{text}");
            assert_eq!(text.matches(&format!("{line}\r\n")).count(), 1, "{text}");
            let ends: usize =
                ["content-length", "transfer-encoding"].map(|name| text.matches(name).count()).iter().sum();
            assert_eq!(ends, usize::from(matches!(framing, Framing::Length(_) | Framing::Chunked)), "{text}");
        }
    }

    #[test]
    fn a_head_alone_keeps_the_length_that_it_was_given() {
        let to_head = asked(&Method::HEAD, Version::HTTP_11, After::Kept);
        let (text, framing, _) = written(200, "content-length: 5\r\n", Some(0), to_head);
        assert_eq!((text.matches("content-length: 5\r\n").count(), framing), (1, Framing::Nothing));
    }

    #[test]
    fn chunks_are_sizes_and_bytes() {
        let mut out = BytesMut::new();
        for data in [&b"x"[..], b"", &[b'y'; 26], &[b'z'; 256]] {
            piece(Framing::Chunked, data, &mut out);
        }
        end(Framing::Chunked, &mut out);
        let wanted = format!("1\r\nx\r\n1a\r\n{}\r\n100\r\n{}\r\n0\r\n\r\n", "y".repeat(26), "z".repeat(256));
        assert_eq!(out, wanted.as_bytes());
        out.clear();
        piece(Framing::Length(1), b"x", &mut out);
        piece(Framing::Nothing, b"y", &mut out);
        end(Framing::Length(1), &mut out);
        assert_eq!(out, "x");
    }
}
