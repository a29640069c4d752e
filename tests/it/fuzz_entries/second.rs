//! A second reading of a connection, which has all of it at once and shares no code with the gateway's.
//!
//! Guarantees: bodies as RFC 9112 §6 and §7.1 frame them, with the gateway's bounds, so that the two must agree on every
//! byte. Does not: read heads; the two sides do, with `httparse`.

use super::connection::{Begun, Close, Next, Read, Stand};
use ollama_gateway::http1::framing::{Framing, FramingFault};

/// Bytes of a line with a chunk's size, digits of it, and bytes of all trailers.
const SIZE_LINE: usize = 256;
const DIGITS: usize = 15;
const TRAILERS: usize = 16 * 1024;

/// Reads all messages, with what reads their heads: how many bytes are nothing before one, how many it took, and what it is.
pub(super) fn read<H, F>(
    wire: &[u8],
    before: impl Fn(&[u8]) -> usize,
    head: impl Fn(&[u8]) -> Result<(usize, Begun<H>), F>,
) -> Read<H, F> {
    let mut read = Read { messages: Vec::new(), stand: Stand::Head, used: 0 };
    while matches!(read.stand, Stand::Head) {
        read.used += before(&wire[read.used..]);
        let (taken, begun) = match head(&wire[read.used..]) {
            Ok(taken) => taken,
            Err(fault) => {
                read.stand = Stand::HeadFault(fault);
                break;
            }
        };
        read.used += taken;
        match begun {
            Begun::More => break,
            Begun::Interim => {}
            Begun::Head(head, framing, next) => {
                let body = body(framing, &wire[read.used..]);
                read.used += body.used;
                read.messages.push((head, body.content));
                read.stand = match body.end {
                    BodyEnd::Whole if next == Next::Message => Stand::Head,
                    BodyEnd::Whole => Stand::Over,
                    BodyEnd::Missing(close) => Stand::Body(close),
                    BodyEnd::Fault(fault) => Stand::BodyFault(fault),
                };
            }
        }
    }
    read
}

struct Body {
    content: Vec<u8>,
    used: usize,
    end: BodyEnd,
}

#[derive(Clone, Copy)]
enum BodyEnd {
    Whole,
    Missing(Close),
    Fault(FramingFault),
}

fn body(framing: Framing, wire: &[u8]) -> Body {
    let begin = |length: usize, end| Body { content: wire[..length].to_vec(), used: length, end };
    match framing {
        Framing::UntilClose => begin(wire.len(), BodyEnd::Missing(Close::Ends)),
        Framing::Length(length) => match usize::try_from(length) {
            Ok(length) if length <= wire.len() => begin(length, BodyEnd::Whole),
            Ok(_) | Err(_) => begin(wire.len(), BodyEnd::Missing(Close::BreaksOff)),
        },
        Framing::Chunked => {
            let mut chunks = Chunks { wire, used: 0, content: Vec::new() };
            let end = chunks.read().err().unwrap_or(BodyEnd::Whole);
            Body { content: chunks.content, used: chunks.used, end }
        }
    }
}

struct Chunks<'a> {
    wire: &'a [u8],
    used: usize,
    content: Vec<u8>,
}

impl<'a> Chunks<'a> {
    fn read(&mut self) -> Result<(), BodyEnd> {
        loop {
            let size = size(self.line(SIZE_LINE, FramingFault::ChunkSize)?)?;
            if size == 0 {
                return self.trailers();
            }
            let there = &self.wire[self.used..];
            let taken = there.len().min(size);
            self.content.extend_from_slice(&there[..taken]);
            self.used += taken;
            if taken < size {
                return Err(BodyEnd::Missing(Close::BreaksOff));
            }
            self.line(0, FramingFault::ChunkEnd)?;
        }
    }

    fn trailers(&mut self) -> Result<(), BodyEnd> {
        let mut room = TRAILERS;
        loop {
            let line = self.line(room, FramingFault::Trailers)?;
            if line.is_empty() {
                return Ok(());
            }
            room -= line.len();
        }
    }

    /// A line of at most so many bytes, which are taken with its end.
    fn line(&mut self, most: usize, fault: FramingFault) -> Result<&'a [u8], BodyEnd> {
        let there = &self.wire[self.used..];
        let Some(newline) = there.iter().position(|byte| *byte == b'\n') else {
            let beginning = there.strip_suffix(b"\r").unwrap_or(there);
            let fits = beginning.len() <= most;
            return Err(if fits { BodyEnd::Missing(Close::BreaksOff) } else { BodyEnd::Fault(fault) });
        };
        let line = there[..newline].strip_suffix(b"\r").filter(|line| line.len() <= most && !line.contains(&b'\r'));
        self.used += if line.is_some() { newline + 1 } else { 0 };
        line.ok_or(BodyEnd::Fault(fault))
    }
}

fn size(line: &[u8]) -> Result<usize, BodyEnd> {
    let digits: Vec<u8> = line.iter().copied().take_while(|byte| *byte != b';').collect();
    let value = |digits: &[u8]| {
        digits.iter().try_fold(0_usize, |size, digit| Some(size * 16 + char::from(*digit).to_digit(16)? as usize))
    };
    let fits = (1..=DIGITS).contains(&digits.len());
    fits.then(|| value(&digits)).flatten().ok_or(BodyEnd::Fault(FramingFault::ChunkSize))
}

/// The values of the header lines of a name.
pub(super) fn values<'a>(lines: &[httparse::Header<'a>], name: &str) -> Vec<&'a [u8]> {
    lines.iter().filter(|line| line.name.eq_ignore_ascii_case(name)).map(|line| line.value.trim_ascii()).collect()
}

/// The members of lists in header lines, in lower case.
pub(super) fn members(lists: &[&[u8]]) -> Vec<String> {
    let all = String::from_utf8_lossy(&lists.join(&b',')).to_ascii_lowercase();
    all.split(',').map(|member| member.trim_matches(|c: char| c.is_ascii_whitespace()).to_owned()).collect()
}

/// A length, where each of these says one and the same.
pub(super) fn length(values: &[&[u8]]) -> Result<Option<u64>, Contradiction> {
    let mut lengths = Vec::new();
    for value in values {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| digits);
        lengths.push(text.and_then(|text| text.parse::<u64>().ok()).ok_or(Contradiction)?);
    }
    lengths.dedup();
    match *lengths {
        [] => Ok(None),
        [length] => Ok(Some(length)),
        [..] => Err(Contradiction),
    }
}

/// Nobody can say where a body ends.
pub(super) struct Contradiction;
