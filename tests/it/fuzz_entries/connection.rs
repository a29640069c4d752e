//! What comes on a connection, read by the gateway in pieces, as it does it while it serves.
//!
//! Guarantees: a target's first bytes say how the rest is cut, so that the fuzzer chooses the cuts; whatever is read
//! after the last byte of a body, or given out without being there, is a panic. Does not: judge heads; the two sides do.

use bytes::BytesMut;
use ollama_gateway::http1::framing::{Decoded, Decoder, Framing, FramingFault};

/// What is fuzzed: bytes of a connection, and how they come.
pub(super) struct Arrival<'a> {
    /// For the side to make something of.
    pub(super) first: u8,
    lengths: &'a [u8],
    pub(super) wire: &'a [u8],
}

impl<'a> Arrival<'a> {
    /// The lower half of the first byte says how many bytes after it are lengths of reads, each one less than it is.
    /// The reads take turns with them; without any, each is one byte.
    pub(super) fn of(data: &'a [u8]) -> Option<Self> {
        let (&first, rest) = data.split_first()?;
        let (lengths, wire) = rest.split_at_checked(usize::from(first & 15))?;
        Some(Self { first, lengths, wire })
    }

    pub(super) fn reads(&self) -> Vec<&'a [u8]> {
        let (mut reads, mut rest) = (Vec::new(), self.wire);
        let turns = if self.lengths.is_empty() { &[0] } else { self.lengths };
        for length in turns.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (read, after) = rest.split_at(rest.len().min(usize::from(*length) + 1));
            reads.push(read);
            rest = after;
        }
        reads
    }
}

/// What comes first in some bytes.
pub(super) enum Begun<H> {
    /// A head that is not all there.
    More,
    /// What announces a head.
    Interim,
    /// A head, how its body is framed, and what follows that.
    Head(H, Framing, Next),
}

/// What may follow a message on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Message,
    Nothing,
}

/// How a connection stands after all that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand<F> {
    /// A head is to come, or the rest of one.
    Head,
    /// The rest of a body is.
    Body(Close),
    /// Nothing is: what comes now is nobody's.
    Over,
    HeadFault(F),
    BodyFault(FramingFault),
}

/// Whether a body is whole when its connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Close {
    Ends,
    BreaksOff,
}

/// All that was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Read<H, F> {
    pub(super) messages: Vec<(H, Vec<u8>)>,
    pub(super) stand: Stand<F>,
    /// Bytes that are in messages.
    pub(super) used: usize,
}

/// Who sends.
pub(super) trait Side {
    type Head;
    type Fault: Copy;

    /// Takes a head out of bytes that are not empty, with the gateway's own code.
    fn begin(&mut self, bytes: &mut BytesMut) -> Result<Begun<Self::Head>, Self::Fault>;
}

/// A connection that the gateway reads.
pub(super) struct Connection<S: Side> {
    side: S,
    bytes: BytesMut,
    /// Of the message that is read.
    decoder: Decoder,
    framing: Framing,
    next: Next,
    read: Read<S::Head, S::Fault>,
}

impl<S: Side> Connection<S> {
    pub(super) fn new(side: S) -> Self {
        let read = Read { messages: Vec::new(), stand: Stand::Head, used: 0 };
        let (decoder, framing, next) = (Decoder::Over, Framing::Length(0), Next::Message);
        Self { side, bytes: BytesMut::new(), decoder, framing, next, read }
    }

    /// All of it, in these reads.
    pub(super) fn after(side: S, reads: &[&[u8]]) -> Self {
        let mut connection = Self::new(side);
        for read in reads {
            connection.receive(read);
        }
        connection
    }

    pub(super) fn receive(&mut self, read: &[u8]) {
        self.bytes.extend_from_slice(read);
        let mut before = usize::MAX;
        while !self.bytes.is_empty() && std::mem::replace(&mut before, self.bytes.len()) != self.bytes.len() {
            self.read_on();
        }
    }

    pub(super) fn read(self) -> Read<S::Head, S::Fault> {
        self.read
    }

    pub(super) fn stand(&self) -> Stand<S::Fault> {
        self.read.stand
    }

    fn read_on(&mut self) {
        let there = self.bytes.len();
        if matches!(self.read.stand, Stand::Head) {
            self.read_head();
        }
        while matches!(self.read.stand, Stand::Body(_)) && self.read_body() {}
        self.read.used += there - self.bytes.len();
    }

    fn read_head(&mut self) {
        match self.side.begin(&mut self.bytes) {
            Ok(Begun::More | Begun::Interim) => {}
            Ok(Begun::Head(head, framing, next)) => {
                self.read.messages.push((head, Vec::new()));
                (self.decoder, self.framing, self.next) = (framing.into(), framing, next);
                self.read.stand = Stand::Body(Close::BreaksOff);
            }
            Err(fault) => self.read.stand = Stand::HeadFault(fault),
        }
    }

    /// Whether it came further.
    fn read_body(&mut self) -> bool {
        let body = &mut self.read.messages.last_mut().expect("a body without a head").1;
        let there = self.bytes.len();
        match self.decoder.decode(&mut self.bytes) {
            Ok(Decoded::Piece(piece)) => {
                assert!(!piece.is_empty() && piece.len() <= there - self.bytes.len(), "a piece out of nothing");
                body.extend_from_slice(&piece);
                return true;
            }
            Ok(Decoded::More) => {
                assert!(!self.decoder.is_over(), "more is wanted of a body that is over");
                self.read.stand = Stand::Body(if self.decoder.may_end() { Close::Ends } else { Close::BreaksOff });
            }
            Ok(Decoded::Over) => {
                let exact = |length| body.len() as u64 == length;
                assert!(!matches!(self.framing, Framing::Length(length) if !exact(length)), "{:?}", self.framing);
                assert!(self.decoder.is_over() && self.decoder.may_end());
                self.read.stand = if self.next == Next::Message { Stand::Head } else { Stand::Over };
            }
            Err(fault) => self.read.stand = Stand::BodyFault(fault),
        }
        false
    }
}
