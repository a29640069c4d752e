//! The socket under TLS, with its deadlines.
//!
//! Guarantees: between requests, silence is ended after the idle time (before the first byte: after the head time); a
//! request's head must be complete within the head time of its first byte; a client that takes none of the bytes written
//! to it is cut; the end of a connection lingers until the client has seen it, so that a refusal is not lost to a reset.
//! Answers `threats.md` §4.4, crates.md findings 1–3.

use crate::pipeline::activity::Activity;
use futures_util::FutureExt as _;
use std::future::{Future, poll_fn};
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// The times of one connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// For the first byte, and from the first byte of a head to its end.
    pub(super) head: Duration,
    /// Between requests.
    pub(super) idle: Duration,
    /// For a client to take anything of what is written.
    pub(super) write_stall: Duration,
}

impl Times {
    /// No deadline for reading is nearer than this when it is set.
    fn shortest_read(&self) -> Duration {
        self.head.min(self.idle)
    }
}

/// How long the end of a connection may take, and how much of a body that nobody reads is thrown away meanwhile.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 1024 * 1024;

/// A socket with deadlines.
#[derive(Debug)]
pub(super) struct Timed {
    socket: Arc<TcpStream>,
    times: Times,
    activity: Arc<Activity>,
    reading: Reading,
    read_by: Instant,
    /// Fires no later than `read_by`, and is set anew then: a timer that every request moved would cost each of them.
    read_timer: Pin<Box<Sleep>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    closing: Option<Closing>,
}

/// What a read waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reading {
    /// The first byte of a request; so many had begun before.
    Nothing,
    /// The rest of a head; so many had begun before it.
    Head(usize),
    /// A request is in flight: its own deadlines hold.
    Request,
}

#[derive(Debug)]
struct Closing {
    timer: Pin<Box<Sleep>>,
    shut: Shut,
    left: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Shut {
    Open,
    Sent,
}

impl Timed {
    /// Puts the deadlines on a socket.
    #[must_use]
    pub(super) fn new(socket: Arc<TcpStream>, times: Times, activity: Arc<Activity>) -> Self {
        let read_by = Instant::now() + times.head;
        Self {
            socket,
            times,
            activity,
            reading: Reading::Head(0),
            read_by,
            read_timer: Box::pin(tokio::time::sleep(times.shortest_read())),
            write_timer: None,
            closing: None,
        }
    }

    /// Sets the deadline that the state of the connection asks for, when that has changed.
    fn rearm(&mut self) {
        let begun = self.activity.begun();
        let next = match self.reading {
            _ if self.activity.is_busy() => Reading::Request,
            Reading::Head(before) if before == begun => Reading::Head(before),
            Reading::Head(_) | Reading::Request | Reading::Nothing => Reading::Nothing,
        };
        if next == self.reading {
            return;
        }
        self.reading = next;
        if next != Reading::Request {
            // It may be seen late that a request is over: silence counts from its end.
            self.read_by = Instant::now() + self.times.idle.saturating_sub(self.activity.idle_for());
        }
    }

    /// The first byte of a head starts its deadline; later ones do not move it.
    fn received(&mut self) {
        if self.reading == Reading::Nothing && !self.activity.is_busy() {
            self.reading = Reading::Head(self.activity.begun());
            self.read_by = Instant::now() + self.times.head;
        }
    }

    fn poll_read_deadline(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.activity.is_multiplexed() {
            return Poll::Pending; // `connection` watches HTTP/2's idle time: control frames are no request
        }
        loop {
            ready!(self.read_timer.as_mut().poll(cx));
            self.rearm();
            let now = Instant::now();
            if self.reading != Reading::Request && now >= self.read_by {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            let soon = now + self.times.shortest_read();
            let next = if self.reading == Reading::Request { soon } else { soon.min(self.read_by) };
            self.read_timer.as_mut().reset(next);
        }
    }

    fn poll_written<T>(&mut self, written: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.write_timer = None;
            if self.activity.is_multiplexed() {
                self.activity.wrote();
            }
            return written;
        }
        let stall = self.times.write_stall;
        let timer = self.write_timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(stall)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Reads and throws away what still comes, until the client has closed too.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut scratch = [0_u8; 4096];
        loop {
            let Some(closing) = &mut self.closing else { return Poll::Ready(Ok(())) };
            let mut buffer = ReadBuf::new(&mut scratch);
            match poll_receive(&self.socket, cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && closing.left > 0 => {
                    closing.left = closing.left.saturating_sub(buffer.filled().len());
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return closing.timer.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

fn poll_receive(socket: &TcpStream, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
    loop {
        ready!(socket.poll_read_ready(cx))?;
        match receive(socket, buffer.initialize_unfilled()) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            received => return Poll::Ready(received.map(|bytes| buffer.advance(bytes))),
        }
    }
}

/// Reads once. `WouldBlock`: there was nothing after all. After a read that found less than there was room for, the socket
/// is not read in vain: the system tells when there is more.
fn receive(socket: &TcpStream, room: &mut [u8]) -> io::Result<usize> {
    let mut taken = 0;
    let tried = socket.try_io(Interest::READABLE, || {
        taken = (&*socket2::SockRef::from(socket)).read(room)?;
        // tokio forgets what it was told of the socket when it hears this: nothing is left to read.
        if taken > 0 && taken < room.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if taken > 0 { Ok(taken) } else { tried.map(|()| 0) }
}

fn poll_write(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    write: impl Fn(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        match write(socket) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            result => return Poll::Ready(result),
        }
    }
}

/// No more bytes from here. One that the client has reset is shut already.
fn shut(socket: &TcpStream) -> io::Result<()> {
    match socket2::SockRef::from(socket).shutdown(std::net::Shutdown::Write) {
        Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// How often a socket is looked at that is not read.
const LOOK: Duration = Duration::from_millis(40);

/// Until the client has closed its side while a request of its is in flight and the connection, which holds bytes that came
/// too early, would not notice. A client of which nothing is left unread is the connection's own business.
///
/// To be polled by the task that serves the connection, after that: in no other does it begin to hold bytes. A
/// look that is due outlives its request, so that many short ones set no more timers than there are looks.
pub(super) async fn left(socket: &TcpStream, activity: &Activity) {
    let mut look: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        loop {
            if look.is_none() && !activity.is_deaf() {
                return Poll::Pending; // a stream whose client is listened to wakes nobody for this
            }
            let due = look.get_or_insert_with(|| Box::pin(tokio::time::sleep(LOOK)));
            ready!(due.as_mut().poll(cx));
            look = None;
            if activity.is_deaf() && is_closed(socket) {
                return Poll::Ready(());
            }
        }
    })
    .await;
}

/// Whether the other side sends no more, whatever is unread.
fn is_closed(socket: &TcpStream) -> bool {
    let ready = socket.ready(Interest::READABLE).now_or_never();
    ready.and_then(Result::ok).is_some_and(|ready| ready.is_read_closed())
}

impl AsyncRead for Timed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.rearm();
        let before = buffer.filled().len();
        match poll_receive(&self.socket, cx, buffer) {
            Poll::Ready(result) => {
                if buffer.filled().len() > before {
                    self.received();
                }
                Poll::Ready(result)
            }
            Poll::Pending => self.poll_read_deadline(cx),
        }
    }
}

impl AsyncWrite for Timed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = poll_write(&self.socket, cx, |socket| socket.try_write(bytes));
        self.poll_written(written, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = poll_write(&self.socket, cx, |socket| match pieces {
            [one] => socket.try_write(one), // as a rule; the system does less for it
            several => socket.try_write_vectored(several),
        });
        self.poll_written(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // a socket keeps nothing back
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let closing = this.closing.get_or_insert_with(|| Closing {
            timer: Box::pin(tokio::time::sleep(LINGER)),
            shut: Shut::Open,
            left: LINGER_BYTES,
        });
        if closing.shut == Shut::Open {
            shut(&this.socket)?;
            closing.shut = Shut::Sent;
        }
        this.poll_linger(cx)
    }
}
