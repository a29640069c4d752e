//! The body of a message, taken out of the bytes of a connection: a client's request, or Ollama's answer.
//!
//! Guarantees: what is given out is the body and nothing else, in pieces as they came; a body ends where its framing says
//! so, never because a connection did, unless its framing is just that; lines of chunks and trailers are bounded, strictly
//! `CRLF`, and trailers are dropped (RFC 9112 §7.1). Answers `threats.md` §4.1.
//! Does not: read a socket.

use bytes::{Buf as _, Bytes, BytesMut};
use std::fmt;

/// How a body is framed (RFC 9112 §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes; there may be none.
    Length(u64),
    /// In chunks.
    Chunked,
    /// All that comes until the connection ends.
    UntilClose,
}

/// What is wrong with a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FramingFault {
    /// The size of a chunk is none.
    ChunkSize,
    /// A chunk is longer than its size.
    ChunkEnd,
    /// The trailers do not end.
    Trailers,
}

impl fmt::Display for FramingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ChunkSize => "a chunk without a size",
            Self::ChunkEnd => "a chunk longer than its size",
            Self::Trailers => "trailers without an end",
        })
    }
}

/// What is there.
#[derive(Debug, PartialEq, Eq)]
pub enum Decoded {
    /// Some of the body, never nothing.
    Piece(Bytes),
    /// More has to be read.
    More,
    /// The body is whole.
    Over,
}

/// Where a body stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decoder {
    /// So many bytes are to come.
    Length(u64),
    /// The size of the next chunk is.
    Size,
    /// So many bytes of a chunk are.
    Chunk(u64),
    /// The line end after a chunk is.
    ChunkEnd,
    /// Trailers are, of which so many bytes may still come.
    Trailers(usize),
    /// Anything is.
    UntilClose,
    /// Nothing is.
    Over,
}

/// Bytes of a line with a chunk's size: extensions, which mean nothing to us, are bounded by it.
const MAX_SIZE_LINE: usize = 256;
/// Digits of a size that fits.
const MAX_DIGITS: usize = 15;
/// Bytes of all trailers.
const MAX_TRAILERS: usize = 16 * 1024;

impl From<Framing> for Decoder {
    fn from(framing: Framing) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Size,
            Framing::UntilClose => Self::UntilClose,
        }
    }
}

impl Decoder {
    /// Takes what can be taken.
    ///
    /// # Errors
    /// What is wrong with the body.
    pub fn decode(&mut self, bytes: &mut BytesMut) -> Result<Decoded, FramingFault> {
        loop {
            *self = match *self {
                Self::Over | Self::Length(0) => {
                    *self = Self::Over;
                    return Ok(Decoded::Over);
                }
                Self::Length(_) | Self::Chunk(_) | Self::UntilClose if bytes.is_empty() => return Ok(Decoded::More),
                Self::UntilClose => return Ok(Decoded::Piece(bytes.split().freeze())),
                Self::Length(left) => {
                    let (piece, left) = up_to(bytes, left);
                    *self = Self::Length(left);
                    return Ok(Decoded::Piece(piece));
                }
                Self::Chunk(left) => {
                    let (piece, left) = up_to(bytes, left);
                    *self = if left == 0 { Self::ChunkEnd } else { Self::Chunk(left) };
                    return Ok(Decoded::Piece(piece));
                }
                Self::Size => match line(bytes, MAX_SIZE_LINE).ok_or(FramingFault::ChunkSize)? {
                    None => return Ok(Decoded::More),
                    Some(line) => match size(&line).ok_or(FramingFault::ChunkSize)? {
                        0 => Self::Trailers(MAX_TRAILERS),
                        size => Self::Chunk(size),
                    },
                },
                Self::ChunkEnd => match line(bytes, 0).ok_or(FramingFault::ChunkEnd)? {
                    None => return Ok(Decoded::More),
                    Some(_) => Self::Size,
                },
                Self::Trailers(left) => match line(bytes, left).ok_or(FramingFault::Trailers)? {
                    None => return Ok(Decoded::More),
                    Some(line) if line.is_empty() => Self::Over,
                    Some(line) => Self::Trailers(left.saturating_sub(line.len())),
                },
            }
        }
    }

    /// Whether a connection that ends here ends the body, and does not break it off.
    pub const fn may_end(self) -> bool {
        match self {
            Self::UntilClose | Self::Over | Self::Length(0) => true,
            Self::Length(_) | Self::Size | Self::Chunk(_) | Self::ChunkEnd | Self::Trailers(_) => false,
        }
    }

    /// Whether nothing of the body is to come.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Over | Self::Length(0))
    }
}

/// At most so many bytes, and how many are left to come.
fn up_to(bytes: &mut BytesMut, left: u64) -> (Bytes, u64) {
    let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (bytes.split_to(taken).freeze(), left.saturating_sub(taken as u64))
}

/// A line of at most so many bytes, without its end; `None` in the outer: it is longer, or its end is not `CRLF`.
fn line(bytes: &mut BytesMut, most: usize) -> Option<Option<BytesMut>> {
    let seen = bytes.get(..bytes.len().min(most.saturating_add(2)))?;
    let Some(end) = memchr::memchr(b'\n', seen) else {
        let goes_on = seen.len() <= most || seen.last() == Some(&b'\r') && seen.len() == most.saturating_add(1);
        return goes_on.then_some(None);
    };
    // Another CR in it would end it for some.
    let length = memchr::memchr(b'\r', seen).filter(|at| at.checked_add(1) == Some(end))?;
    let line = bytes.split_to(length);
    bytes.advance(2);
    Some(Some(line))
}

/// The size in the first line of a chunk: hexadecimal digits, and perhaps extensions.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All of a body and what is left after it, in reads of so many bytes each.
    fn read(framing: Framing, wire: &[u8], at_once: usize) -> Result<(Vec<u8>, Decoded, usize), FramingFault> {
        let (mut decoder, mut bytes, mut body) = (Decoder::from(framing), BytesMut::new(), Vec::new());
        let mut reads = wire.chunks(at_once);
        loop {
            match decoder.decode(&mut bytes)? {
                Decoded::Piece(piece) => {
                    assert!(!piece.is_empty());
                    body.extend_from_slice(&piece);
                }
                Decoded::More => match reads.next() {
                    Some(read) => bytes.extend_from_slice(read),
                    None => return Ok((body, Decoded::More, bytes.len())),
                },
                Decoded::Over => return Ok((body, Decoded::Over, bytes.len() + reads.map(<[u8]>::len).sum::<usize>())),
            }
        }
    }

    #[test]
    fn a_body_is_the_same_however_it_is_split() {
        let rows: [(Framing, &str, &str, Decoded, usize); 9] = [
            (Framing::Length(5), "hello", "hello", Decoded::Over, 0),
            (Framing::Length(5), "hello HTTP/1.1 200", "hello", Decoded::Over, 13),
            (Framing::Length(0), "", "", Decoded::Over, 0),
            (Framing::Length(6), "hello", "hello", Decoded::More, 0),
            (Framing::Chunked, "5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n", "hello!", Decoded::Over, 0),
            (Framing::Chunked, "00A\r\n0123456789\r\n0\r\nA: b\r\nC: d\r\n\r\nmore", "0123456789", Decoded::Over, 4),
            (Framing::Chunked, "5\r\nhel", "hel", Decoded::More, 0),
            (Framing::Chunked, "5\r\nhello\r\n0\r\n\r", "hello", Decoded::More, 1),
            (Framing::UntilClose, "anything", "anything", Decoded::More, 0),
        ];
        for (framing, wire, body, end, left) in rows {
            for at_once in [1, 2, 3, 7, 100] {
                let (read, ended, rest) = read(framing, wire.as_bytes(), at_once).unwrap();
                assert_eq!((read.as_slice(), &ended, rest), (body.as_bytes(), &end, left), "{wire:?} by {at_once}");
            }
        }
    }

    #[test]
    fn what_is_not_exactly_chunks_is_refused() {
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "x".repeat(MAX_SIZE_LINE));
        let trailers = format!("0\r\n{}\r\n", "a: b\r\n".repeat(MAX_TRAILERS / 4 + 1));
        let rows: [(&str, FramingFault); 15] = [
            ("\r\nhello", FramingFault::ChunkSize),
            ("g\r\n", FramingFault::ChunkSize),
            ("+5\r\nhello\r\n", FramingFault::ChunkSize),
            ("-1\r\n", FramingFault::ChunkSize),
            ("0x5\r\nhello\r\n", FramingFault::ChunkSize),
            ("5 \r\nhello\r\n", FramingFault::ChunkSize),
            ("5\nhello\r\n", FramingFault::ChunkSize),
            ("ffffffffffffffff\r\n", FramingFault::ChunkSize),
            (&long, FramingFault::ChunkSize),
            ("5\r\nhello!\r\n", FramingFault::ChunkEnd),
            ("5\r\nhello\n", FramingFault::ChunkEnd),
            (&trailers, FramingFault::Trailers),
            ("0\r\na\n\r\n", FramingFault::Trailers),
            ("5;a\rb\r\nhello\r\n", FramingFault::ChunkSize),
            ("0\r\na: b\rc\r\n\r\n", FramingFault::Trailers),
        ];
        for (wire, fault) in rows {
            for at_once in [1, 2, 1000] {
                assert_eq!(read(Framing::Chunked, wire.as_bytes(), at_once), Err(fault), "{wire:.40} by {at_once}");
            }
        }
    }

    #[test]
    fn a_connection_may_end_after_a_body_and_not_in_one() {
        let clean = [Decoder::UntilClose, Decoder::Over, Decoder::Length(0)];
        assert!(clean.into_iter().all(Decoder::may_end));
        let broken =
            [Decoder::Length(1), Decoder::Size, Decoder::Chunk(1), Decoder::ChunkEnd, Decoder::Trailers(MAX_TRAILERS)];
        assert!(!broken.into_iter().any(Decoder::may_end));
    }
}
