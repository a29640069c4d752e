//! One TCP connection to Ollama, driven by hyper from the task of the request that uses it, that can be half-closed.
//!
//! Guarantees: [`Connection::hang_up`] ends Ollama's work at once (Ollama takes a half close for a cancel,
//! `ollama-facts.md` (d)) while the reading side stays open, so that what Ollama is writing is still read; the head of an
//! answer has a bound. Does not: do anything while nobody drives it: a kept connection costs no task, and whether
//! Ollama has closed it is seen when it is to be used again.

use super::Outgoing;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// A connection with nothing in flight, or one exchange.
pub(super) struct Connection {
    sender: SendRequest<Outgoing>,
    driver: Option<Driver>,
    /// The socket once more: hyper owns the other.
    line: OwnedFd,
    head: Arc<HeadBound>,
    address: Box<str>,
    runtime: Handle,
}

/// What reads and writes; gone when the connection is over.
type Driver = Pin<Box<http1::Connection<TokioIo<Counted>, Outgoing>>>;

/// A request on its way; an error that holds it says that none of it was sent.
pub(super) type Sending =
    Pin<Box<dyn Future<Output = Result<Response<Incoming>, TrySendError<Request<Outgoing>>>> + Send>>;

/// Bytes that may come before the head of an answer is complete: interim answers count too, and could be sent for ever.
/// The last read may hold much of a body too, as large as hyper's buffer has grown.
const MAX_HEAD: usize = 1024 * 1024;

/// Counts what comes while a head is waited for.
#[derive(Debug, Default)]
struct HeadBound {
    waiting: AtomicBool,
    bytes: AtomicUsize,
}

impl HeadBound {
    fn took(&self, bytes: usize) -> io::Result<()> {
        if !self.waiting.load(Ordering::Acquire) {
            return Ok(());
        }
        let before = self.bytes.fetch_add(bytes, Ordering::AcqRel);
        if before.saturating_add(bytes) > MAX_HEAD {
            return Err(io::Error::other("the head of the answer is too large"));
        }
        Ok(())
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Connection {
    /// Opens one. The caller bounds the time.
    pub(super) async fn open(address: &str) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        let line = socket.as_fd().try_clone_to_owned()?;
        let head = Arc::new(HeadBound::default());
        let io = TokioIo::new(Counted { socket, head: Arc::clone(&head) });
        let (sender, driver) = http1::Builder::new().max_headers(64).handshake(io).await.map_err(io::Error::other)?;
        let (driver, runtime) = (Some(Box::pin(driver)), Handle::current());
        Ok(Self { sender, driver, line, head, address: address.into(), runtime })
    }

    /// Begins to send; nothing leaves before the next [`Connection::drive`].
    pub(super) fn send(&mut self, request: Request<Outgoing>) -> Sending {
        self.head.bytes.store(0, Ordering::Release);
        self.head.waiting.store(true, Ordering::Release);
        Box::pin(self.sender.try_send_request(request))
    }

    /// The head has come.
    pub(super) fn has_head(&self) {
        self.head.waiting.store(false, Ordering::Release);
    }

    /// Reads and writes what can be. Its end is seen by whoever waits for something of it.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(cx).is_ready()
        {
            self.driver = None;
        }
    }

    /// Tells Ollama that nobody waits for the answer any more. Reading goes on.
    pub(super) fn hang_up(&self) {
        // An error means that the connection is gone already, which is what is wanted.
        drop(socket2::SockRef::from(&self.line).shutdown(Shutdown::Write));
    }

    /// Until it may be used again: hyper says so a moment after the end of a body.
    pub(super) fn poll_reusable(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        self.drive(cx);
        if self.driver.is_none() {
            return Poll::Ready(false);
        }
        self.sender.poll_ready(cx).map(|ready| ready.is_ok())
    }

    /// Whether another request to this address may be sent on it: Ollama may have closed it, and a reload may have named
    /// another address.
    pub(super) fn is_usable_for(&mut self, address: &str) -> bool {
        let reusable = self.poll_reusable(&mut Context::from_waker(Waker::noop()));
        *self.address == *address && matches!(reusable, Poll::Ready(true))
    }

    /// Whether Ollama has left it open.
    pub(super) fn is_open(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.driver.is_some()
    }

    /// Where its socket is looked after.
    pub(super) const fn runtime(&self) -> &Handle {
        &self.runtime
    }
}

/// The socket, with a count of what comes.
struct Counted {
    socket: TcpStream,
    head: Arc<HeadBound>,
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        Poll::Ready(self.head.took(buffer.filled().len().saturating_sub(before)))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}
