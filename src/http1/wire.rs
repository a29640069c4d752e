//! One connection's bytes: the head of a request, its body, and what is answered.
//!
//! Guarantees: a body is read only as its taker asks for it, after `100 Continue` where the client waits for that; a taker
//! that outlives its request gets nothing of the next; what comes early is kept up to a bound, and the client's end is
//! seen meanwhile; nothing is held for a connection between requests.
//! Does not: know who is served, or for how long: deadlines are under it, in the stream.

use super::framing::{Decoded, Decoder, Framing};
use super::request::{Expects, Head, HeadFault, Reader};
use super::response;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use std::fmt;
use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Room for a read of a head, and of a body.
const HEAD_ROOM: usize = 4 * 1024;
const BODY_ROOM: usize = 64 * 1024;
/// Bytes that a client may send before they are wanted; more stay in the socket.
const AHEAD: usize = 64 * 1024;

/// A connection.
pub struct Wire<S> {
    stream: S,
    inbound: BytesMut,
    outbound: BytesMut,
    heads: Reader,
    decoder: Decoder,
    interim: Interim,
    taker: Taker,
    /// Requests so far.
    number: u64,
}

/// `100 Continue`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Interim {
    /// It is not asked for, or was sent.
    Nothing,
    /// The client waits for it.
    Due,
    /// It was written, and is not with the client's system yet.
    Leaving,
}

/// What whoever takes the body does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Taker {
    /// It waits for more, and so sees the client's end.
    Waits,
    /// Something else.
    Elsewhere,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// A request.
    Head(Box<Head>),
    /// What is no request.
    Fault(HeadFault),
    /// Nothing.
    Over,
}

/// What the client does while it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Client {
    /// It is there, and whether it leaves is seen.
    Listened,
    /// It has sent more than is wanted yet, and what follows is not seen.
    Unseen,
    /// It has left.
    Gone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Of a connection that has just been opened.
    pub fn new(stream: S) -> Self {
        let (inbound, outbound) = (BytesMut::new(), BytesMut::new());
        let (heads, decoder) = (Reader::default(), Decoder::Over);
        let (interim, taker) = (Interim::Nothing, Taker::Elsewhere);
        Self { stream, inbound, outbound, heads, decoder, interim, taker, number: 0 }
    }

    /// The next request.
    ///
    /// # Errors
    /// The connection broke.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Next>> {
        loop {
            if !self.inbound.is_empty() {
                match self.heads.take(&mut self.inbound) {
                    Ok(Some(head)) => return Poll::Ready(Ok(Next::Head(Box::new(self.begin(head))))),
                    Ok(None) => {}
                    Err(fault) => return Poll::Ready(Ok(Next::Fault(fault))),
                }
            }
            match self.poll_fill(HEAD_ROOM, cx) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Next::Over)),
                Poll::Ready(read) => drop(read?),
                Poll::Pending => {
                    self.let_go();
                    return Poll::Pending;
                }
            }
        }
    }

    fn begin(&mut self, head: Head) -> Head {
        self.number = self.number.wrapping_add(1);
        self.decoder = head.framing.into();
        self.taker = Taker::Elsewhere;
        self.interim = match head.expects {
            Expects::Continue if !self.decoder.is_over() => Interim::Due,
            Expects::Continue | Expects::Nothing => Interim::Nothing,
        };
        head
    }

    /// Whether nothing of a next request has come.
    pub(crate) fn is_idle(&self) -> bool {
        self.inbound.is_empty()
    }

    /// Buffers that nothing is in.
    fn let_go(&mut self) {
        for buffer in [&mut self.inbound, &mut self.outbound] {
            if buffer.is_empty() {
                *buffer = BytesMut::new();
            }
        }
    }

    /// Reads once; 0: the client sends no more.
    fn poll_fill(&mut self, room: usize, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.inbound.reserve(room);
        pin!(self.stream.read_buf(&mut self.inbound)).poll(cx)
    }

    /// What the client does, while nothing that it sends is wanted.
    pub(crate) fn watch(&mut self, cx: &mut Context<'_>) -> Client {
        if !self.decoder.is_over() {
            return if self.taker == Taker::Waits { Client::Listened } else { Client::Unseen };
        }
        if self.inbound.is_empty() {
            self.inbound = BytesMut::new(); // Ollama may take minutes
        }
        let mut room = [const { MaybeUninit::uninit() }; 512];
        while self.inbound.len() < AHEAD {
            let mut read = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.stream).poll_read(cx, &mut read) {
                Poll::Pending => return Client::Listened,
                Poll::Ready(Ok(())) if !read.filled().is_empty() => self.inbound.extend_from_slice(read.filled()),
                Poll::Ready(_) => return Client::Gone,
            }
        }
        Client::Unseen
    }

    /// The answer begins: no interim one may stand in it.
    pub(crate) const fn begin_answer(&mut self) {
        self.interim = Interim::Nothing;
    }

    /// Whether the body of the request was read to its end, so that what follows is the next one.
    pub(crate) fn is_at_an_end(&mut self) -> bool {
        self.decoder.is_over() || matches!(self.decoder.decode(&mut self.inbound), Ok(Decoded::Over))
    }

    /// Where an answer is written to; [`Wire::poll_send`] sends it.
    pub(crate) const fn outbound(&mut self) -> &mut BytesMut {
        &mut self.outbound
    }

    /// Sends what was written; ready when the client's system has all of it.
    pub(crate) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.outbound.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.outbound))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.outbound.advance(written),
            }
        }
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    /// Says goodbye.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_interim(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.interim {
            Interim::Nothing => return Poll::Ready(Ok(())),
            Interim::Due => self.outbound.put_slice(response::CONTINUE),
            Interim::Leaving => {}
        }
        self.interim = Interim::Leaving;
        ready!(self.poll_send(cx))?;
        self.interim = Interim::Nothing;
        Poll::Ready(Ok(()))
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.taker = Taker::Waits;
        let read = ready!(self.poll_fill(BODY_ROOM, cx))?;
        self.taker = Taker::Elsewhere;
        match read {
            0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// Where a body comes from.
trait Source: Send {
    /// A piece of the body of this request; empty: there is no more.
    fn poll_piece(&mut self, number: u64, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>>;

    /// The same, to the end of these bytes, within their room where there is some; how many, 0: there is no more.
    fn poll_into(&mut self, number: u64, bytes: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>>;
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Source for Wire<S> {
    fn poll_piece(&mut self, number: u64, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if number != self.number {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_interim(cx))?;
        loop {
            match self.decoder.decode(&mut self.inbound) {
                Ok(Decoded::Piece(piece)) => return Poll::Ready(Ok(piece)),
                Ok(Decoded::Over) => return Poll::Ready(Ok(Bytes::new())),
                Ok(Decoded::More) => ready!(self.poll_more(cx))?,
                Err(fault) => return Poll::Ready(Err(io::Error::other(fault.to_string()))),
            }
        }
    }

    fn poll_into(&mut self, number: u64, bytes: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let Decoder::Length(left) = self.decoder
            && self.inbound.is_empty()
            && self.interim == Interim::Nothing
            && number == self.number
            && bytes.capacity() > bytes.len()
        {
            let most = usize::try_from(left).unwrap_or(usize::MAX);
            self.taker = Taker::Waits;
            let read = ready!(pin!(self.stream.read_buf(&mut bytes.limit(most))).poll(cx))?;
            self.taker = Taker::Elsewhere;
            self.decoder = Decoder::Length(left.saturating_sub(read as u64));
            let broken_off = read == 0 && left > 0;
            return Poll::Ready(if broken_off { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(read) });
        }
        let piece = ready!(self.poll_piece(number, cx))?;
        bytes.extend_from_slice(&piece);
        Poll::Ready(Ok(piece.len()))
    }
}

/// The body of a request, read from its connection by whoever holds this.
pub struct ClientBody {
    source: Arc<Mutex<dyn Source>>,
    number: u64,
    left: Left,
}

/// What is to come of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    Length(u64),
    Unknown,
}

impl fmt::Debug for ClientBody {
    /// What passes through it is not for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBody").field("left", &self.left).finish_non_exhaustive()
    }
}

impl ClientBody {
    /// The body of the request whose head was read last.
    pub fn of<S>(wire: &Arc<Mutex<Wire<S>>>, framing: Framing) -> Self
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let number = wire.lock().unwrap_or_else(PoisonError::into_inner).number;
        let left = match framing {
            Framing::Length(0) => Left::Nothing,
            Framing::Length(length) => Left::Length(length),
            Framing::Chunked | Framing::UntilClose => Left::Unknown,
        };
        Self { source: Arc::<Mutex<Wire<S>>>::clone(wire), number, left }
    }

    /// A piece of it; empty: there is no more.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.left == Left::Nothing {
            return Poll::Ready(Ok(Bytes::new()));
        }
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let piece = ready!(source.poll_piece(self.number, cx))?;
        drop(source);
        self.took(piece.len());
        Poll::Ready(Ok(piece))
    }

    /// The same, to the end of these bytes; how many, 0: there is no more.
    pub(crate) fn poll_into(&mut self, bytes: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.left == Left::Nothing {
            return Poll::Ready(Ok(0));
        }
        let mut source = self.source.lock().unwrap_or_else(PoisonError::into_inner);
        let read = ready!(source.poll_into(self.number, bytes, cx))?;
        drop(source);
        self.took(read);
        Poll::Ready(Ok(read))
    }

    fn took(&mut self, bytes: usize) {
        self.left = match self.left {
            Left::Length(left) if left > bytes as u64 => Left::Length(left.saturating_sub(bytes as u64)),
            Left::Unknown if bytes > 0 => Left::Unknown,
            Left::Length(_) | Left::Unknown | Left::Nothing => Left::Nothing,
        };
    }

    /// Bytes that are to come, where that is known.
    pub(crate) const fn left(&self) -> Option<u64> {
        match self.left {
            Left::Nothing => Some(0),
            Left::Length(left) => Some(left),
            Left::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests;
