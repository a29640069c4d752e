//! One TCP connection to Ollama, driven by hyper, that can be half-closed from outside.
//!
//! Guarantees: [`Connection::hang_up`] ends Ollama's work at once (Ollama takes a half close for a cancel,
//! `ollama-facts.md` (d)) while the reading side stays open, so that what Ollama is writing is still read.

use super::Outgoing;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::runtime::{self, Handle};

/// A connection with nothing in flight, or one exchange.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) sender: SendRequest<Outgoing>,
    socket: Arc<TcpStream>,
    head: Arc<HeadBound>,
    address: Box<str>,
    runtime: runtime::Id,
}

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

impl Connection {
    /// Opens one. The caller bounds the time.
    pub(super) async fn open(address: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let socket = Arc::new(stream);
        let head = Arc::new(HeadBound::default());
        let io = TokioIo::new(Shared { socket: Arc::clone(&socket), head: Arc::clone(&head) });
        let (sender, driver) = http1::Builder::new().max_headers(64).handshake(io).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            // Its end is seen by the exchange, which reports it.
            drop(driver.await);
        });
        Ok(Self { sender, socket, head, address: address.into(), runtime: Handle::current().id() })
    }

    /// A head is waited for from now on.
    pub(super) fn awaits_head(&self) {
        self.head.bytes.store(0, Ordering::Release);
        self.head.waiting.store(true, Ordering::Release);
    }

    /// The head has come.
    pub(super) fn has_head(&self) {
        self.head.waiting.store(false, Ordering::Release);
    }

    /// Tells Ollama that nobody waits for the answer any more. Reading goes on.
    pub(super) fn hang_up(&self) {
        self.line().hang_up();
    }

    /// The means to hang up while a request is on its way.
    pub(super) fn line(&self) -> Line {
        Line(Arc::clone(&self.socket))
    }

    /// Where it is driven.
    pub(super) const fn runtime(&self) -> runtime::Id {
        self.runtime
    }

    /// Whether another request to this address may be sent on it: a reload may have named another one.
    pub(super) fn is_usable_for(&self, address: &str) -> bool {
        *self.address == *address && self.sender.is_ready() && !self.sender.is_closed()
    }
}

/// The writing half, to be closed.
pub(super) struct Line(Arc<TcpStream>);

impl Line {
    pub(super) fn hang_up(&self) {
        // An error means that the connection is gone already, which is what is wanted.
        drop(socket2::SockRef::from(&*self.0).shutdown(Shutdown::Write));
    }
}

/// The stream, shared by hyper, which reads and writes, and the connection, which may half-close it.
struct Shared {
    socket: Arc<TcpStream>,
    head: Arc<HeadBound>,
}

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.socket.poll_read_ready(cx))?;
            match self.socket.try_read_buf(buffer) {
                Ok(n) => return Poll::Ready(self.head.took(n)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            match self.socket.try_write(bytes) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.socket.poll_write_ready(cx))?;
            match self.socket.try_write_vectored(pieces) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(socket2::SockRef::from(&*self.socket).shutdown(Shutdown::Write))
    }
}
