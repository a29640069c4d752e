//! One TCP connection to Ollama, driven from the task of the request that uses it, that can be half-closed.
//!
//! Guarantees: [`Connection::hang_up`] ends Ollama's work at once (Ollama takes a half close for a cancel,
//! `ollama-facts.md` (d)) while the reading side stays open, so that what Ollama is writing is still read; the heads of an
//! answer have a bound; a connection is used again only after an answer that ended by its framing, to a request that was
//! sent whole, with nothing left over. Does not: do anything while nobody drives it: a kept connection costs no task, and
//! whether Ollama has closed it is seen when it is to be used again.

use super::dial::dial;
use super::head::{After, Begin, Expects, Head, begin};
use super::pipe::PipeEnd;
use super::request::{Encoded, Outflow, Stopped};
use crate::http1::framing::{Decoded, Decoder};
use bytes::{Buf as _, Bytes, BytesMut};
use std::future::Future as _;
use std::io;
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// A connection with nothing in flight, or one exchange.
pub(super) struct Connection {
    socket: TcpStream,
    inbound: BytesMut,
    /// Bytes that the next read has room for.
    room: usize,
    phase: Phase,
    /// What is still to be sent.
    outflow: Option<Outflow>,
    sent: Sent,
    address: Box<str>,
    runtime: Handle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is in flight.
    Idle,
    /// So many bytes of heads have come.
    Head(Expects, usize),
    Body(Decoder, After),
    /// It is of no use any more.
    Spent,
}

/// How much of the request Ollama took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    /// All, or what is to follow will.
    Whole,
    /// It takes no more.
    Partly,
}

/// Why there is no head.
pub(super) enum Headless {
    /// Nothing of the request was sent: here it is.
    NotSent(Box<Encoded>),
    /// The connection broke, or what came is no answer.
    Broken(String),
}

/// Bytes that may come before the head of an answer is complete: interim answers count too, and could be sent for ever.
const MAX_HEAD: usize = 64 * 1024;
/// Room for a read, at first and at most: it grows with reads that fill it, and shrinks with those that need little.
const ROOM: usize = 8 * 1024;
const MOST_ROOM: usize = 128 * 1024;

impl std::fmt::Debug for Connection {
    /// What passes through it is not for a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens one. The caller bounds the time.
    pub(super) async fn open(address: &str) -> io::Result<Self> {
        let socket = dial(address).await?;
        let (inbound, phase, sent) = (BytesMut::new(), Phase::Idle, Sent::Whole);
        let (address, runtime) = (address.into(), Handle::current());
        Ok(Self { socket, inbound, room: ROOM, phase, outflow: None, sent, address, runtime })
    }

    /// Begins to send; nothing leaves before [`Connection::poll_head`].
    pub(super) fn send(&mut self, request: Encoded) {
        self.phase = Phase::Head(request.expects, 0);
        self.outflow = Some(Outflow::new(request));
    }

    /// Sends what can be sent, and reads until the head of the answer is there: it may be before all is sent.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Headless>> {
        let head = match self.send_on(cx) {
            Ok(()) => ready!(self.poll_read_head(cx)),
            Err(headless) => Err(headless),
        };
        if head.is_err() {
            self.phase = Phase::Spent;
        }
        Poll::Ready(head)
    }

    fn poll_read_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Headless>> {
        let broken = |why: &dyn ToString| Poll::Ready(Err(Headless::Broken(why.to_string())));
        loop {
            let Phase::Head(expects, seen) = self.phase else { return broken(&"nothing was asked") };
            let begun = if self.inbound.is_empty() { Ok(Begin::More) } else { begin(&self.inbound, expects) };
            // What counts is the heads: with the last of them, any amount of the body may have come.
            let of_heads = seen.saturating_add(match &begun {
                Ok(Begin::Head(length, ..) | Begin::Interim(length)) => *length,
                Ok(Begin::More) | Err(_) => self.inbound.len(),
            });
            if of_heads > MAX_HEAD {
                return broken(&"the head of the answer is too large");
            }
            match begun {
                Err(fault) => return broken(&fault),
                Ok(Begin::Head(length, head, framing, after)) => {
                    self.inbound.advance(length);
                    self.phase = Phase::Body(framing.into(), after);
                    return Poll::Ready(Ok(head));
                }
                Ok(Begin::Interim(length)) => {
                    self.inbound.advance(length);
                    self.phase = Phase::Head(expects, of_heads);
                }
                Ok(Begin::More) => match ready!(self.poll_fill(cx)) {
                    Ok(0) => return broken(&"the connection ended before the answer"),
                    Ok(_) => {}
                    Err(error) => return broken(&error),
                },
            }
        }
    }

    /// The next piece of the body, or how it ended; what is still to be sent goes on meanwhile.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, PipeEnd>> {
        let piece = match self.send_on(cx) {
            Ok(()) => ready!(self.poll_read_piece(cx)),
            Err(Headless::NotSent(_) | Headless::Broken(_)) => Err(PipeEnd::Broken),
        };
        if let Err(PipeEnd::Broken) = piece {
            self.phase = Phase::Spent;
        }
        Poll::Ready(piece)
    }

    fn poll_read_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, PipeEnd>> {
        loop {
            let Phase::Body(decoder, _) = &mut self.phase else { return Poll::Ready(Err(PipeEnd::Broken)) };
            match decoder.decode(&mut self.inbound) {
                Ok(Decoded::Piece(piece)) => return Poll::Ready(Ok(piece)),
                Ok(Decoded::Over) => return Poll::Ready(Err(PipeEnd::Clean)),
                Ok(Decoded::More) => {
                    let at_its_end = if decoder.may_end() { PipeEnd::Clean } else { PipeEnd::Broken };
                    match ready!(self.poll_fill(cx)) {
                        Ok(0) => return Poll::Ready(Err(at_its_end)),
                        Ok(_) => {}
                        Err(_) => return Poll::Ready(Err(PipeEnd::Broken)),
                    }
                }
                Err(fault) => {
                    tracing::debug!(event = "upstream_framing", %fault);
                    return Poll::Ready(Err(PipeEnd::Broken));
                }
            }
        }
    }

    /// Sends what can be sent. Ollama may take no more and answer all the same: that is no fault yet.
    fn send_on(&mut self, cx: &mut Context<'_>) -> Result<(), Headless> {
        let Some(outflow) = &mut self.outflow else { return Ok(()) };
        let stopped = match outflow.poll(&self.socket, cx) {
            Poll::Pending => return Ok(()),
            Poll::Ready(stopped) => stopped,
        };
        let outflow = self.outflow.take();
        match stopped {
            Ok(()) => Ok(()),
            Err(Stopped::Body(error)) => Err(Headless::Broken(error.to_string())),
            Err(Stopped::Socket) => {
                self.sent = Sent::Partly;
                let unsent = outflow.and_then(Outflow::into_unsent);
                unsent.map_or(Ok(()), |request| Err(Headless::NotSent(Box::new(request))))
            }
        }
    }

    /// Reads once; 0: the connection has ended.
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.inbound.reserve(self.room);
        let spare = self.inbound.capacity().saturating_sub(self.inbound.len());
        let read = ready!(pin!(self.socket.read_buf(&mut self.inbound)).poll(cx))?;
        if read == spare {
            self.room = self.room.saturating_mul(4).min(MOST_ROOM);
        } else if read < self.room / 4 {
            self.room = (self.room / 4).max(ROOM);
        }
        Poll::Ready(Ok(read))
    }

    /// Tells Ollama that nobody waits for the answer any more. Reading goes on.
    pub(super) fn hang_up(&mut self) {
        (self.outflow, self.sent) = (None, Sent::Partly);
        // An error means that the connection is gone already, which is what is wanted.
        drop(socket2::SockRef::from(&self.socket).shutdown(Shutdown::Write));
    }

    /// For the next request, where this one's answer leaves it fit for that.
    pub(super) fn into_idle(mut self) -> Option<Self> {
        let over = matches!(self.phase, Phase::Body(Decoder::Over, After::Kept));
        if !over || self.outflow.is_some() || self.sent == Sent::Partly || !self.inbound.is_empty() {
            return None;
        }
        self.phase = Phase::Idle;
        if self.room > ROOM || self.inbound.capacity() > ROOM {
            (self.inbound, self.room) = (BytesMut::new(), ROOM);
        }
        Some(self)
    }

    /// Whether another request to this address may be sent on it: a reload may have named another address, and Ollama may
    /// have closed it, or said something that nobody asked for. The system is asked, since what is known here is as old as
    /// the last look at all sockets.
    pub(super) fn is_usable_for(&self, address: &str) -> bool {
        let unread = || socket2::SockRef::from(&self.socket).peek(&mut [MaybeUninit::uninit()]);
        *self.address == *address && unread().is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether Ollama has left it open, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        let read = self.socket.try_read(&mut [0]);
        read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Where its socket is looked after.
    pub(super) const fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    /// What becomes of bytes that come at once.
    async fn head_of(bytes: &[u8]) -> Result<u16, String> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut connection = Connection::open(&listener.local_addr().unwrap().to_string()).await.unwrap();
        connection.phase = Phase::Head(Expects::Body, 0);
        connection.inbound.extend_from_slice(bytes);
        match poll_fn(|cx| connection.poll_head(cx)).await {
            Ok(head) => Ok(head.status.as_u16()),
            Err(Headless::Broken(why)) => Err(why),
            Err(Headless::NotSent(_)) => Err("not sent".to_owned()),
        }
    }

    #[tokio::test]
    async fn heads_have_a_bound_and_a_body_that_came_with_them_is_no_part_of_it() {
        let hint = "HTTP/1.1 103 Early Hints\r\n\r\n";
        let answer = |padding: usize| format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "b".repeat(padding));
        let body = "x".repeat(2 * MAX_HEAD);
        let too_large = Err("the head of the answer is too large".to_owned());
        let rows = [
            (answer(10) + &body, Ok(200)),
            (hint.to_owned() + &answer(10) + &body, Ok(200)),
            (answer(MAX_HEAD), too_large.clone()),
            (hint.repeat(MAX_HEAD / hint.len() + 1) + &answer(10), too_large.clone()),
            (hint.to_owned() + "HTTP/1.1 200 OK\r\nA: " + &body, too_large),
        ];
        for (at, (bytes, expected)) in rows.into_iter().enumerate() {
            assert_eq!(head_of(bytes.as_bytes()).await, expected, "row {at}");
        }
    }
}
