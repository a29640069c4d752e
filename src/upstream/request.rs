//! A request as bytes, and its way onto a connection.
//!
//! Guarantees: the head is written once, from what the gateway made; a body is framed by its length where that is known and
//! by chunks where it is not, and never otherwise; one that ends before its length, or goes on after it, is not sent to its
//! end, so Ollama does not take it for whole; what was not begun can be sent on another connection.

use super::Outgoing;
use super::head::Expects;
use crate::http1::lines::{LAST_CHUNK, chunk_size, field};
use bytes::{Buf as _, Bytes};
use http::Method;
use http::header::{CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING};
use http_body::Body as _;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::net::TcpStream;

/// Pieces of a body that are written at once, and their bytes.
const PIECES: usize = 16;
const AT_ONCE: usize = 256 * 1024;

/// A request to Ollama: every part is the gateway's own.
#[derive(Debug)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, as it is sent.
    pub path: Cow<'static, str>,
    /// The headers, but for the framing of the body.
    pub headers: HeaderLines,
    /// The body.
    pub body: Outgoing,
}

/// Headers as they are sent: `name: value`, each with its line end.
#[derive(Debug, Clone, Default)]
pub struct HeaderLines(Vec<u8>);

impl HeaderLines {
    /// Adds one. A value that could end its line is left out.
    pub fn add(&mut self, name: &HeaderName, value: &str) {
        if !value.bytes().any(|byte| byte.is_ascii_control()) {
            field(&mut self.0, name, value.as_bytes());
        }
    }

    /// Each, without its line end.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        std::str::from_utf8(&self.0).unwrap_or_default().lines()
    }
}

/// A request that may be sent.
pub(super) struct Encoded {
    head: Bytes,
    body: Outgoing,
    framing: Framing,
    pub(super) expects: Expects,
    /// Whether it may be sent as often as one likes (RFC 9110 §9.2.2).
    safe: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Nothing,
    Length(u64),
    Chunked,
}

impl From<Request> for Encoded {
    fn from(request: Request) -> Self {
        let Request { method, path, headers, body } = request;
        let framing = match (body.is_end_stream(), body.size_hint().exact()) {
            (true, _) => Framing::Nothing,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Chunked,
        };
        Self {
            head: head(&method, &path, &headers, framing),
            body,
            framing,
            expects: if method == Method::HEAD { Expects::HeadAlone } else { Expects::Body },
            safe: matches!(method, Method::GET | Method::HEAD),
        }
    }
}

impl Encoded {
    /// The same once more, if it may be sent again: one that Ollama died of is not sent to the next.
    pub(super) fn again(&self) -> Option<Self> {
        let body = if self.safe { self.body.again()? } else { return None };
        Some(Self { head: self.head.clone(), body, ..*self })
    }

    /// How far its upload is, if it is one.
    pub(super) fn progress(&self) -> Option<std::sync::Arc<crate::upstream::upload::Progress>> {
        match &self.body {
            Outgoing::Upload(upload) => Some(upload.progress()),
            Outgoing::Made(_) => None,
        }
    }
}

fn head(method: &Method, path: &str, headers: &HeaderLines, framing: Framing) -> Bytes {
    let mut head = Vec::with_capacity(headers.0.len().saturating_add(path.len()).saturating_add(64));
    for part in [method.as_str(), " ", path, " HTTP/1.1\r\n"] {
        head.extend_from_slice(part.as_bytes());
    }
    head.extend_from_slice(&headers.0);
    match framing {
        Framing::Nothing => {}
        Framing::Length(length) => field(&mut head, &CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes()),
        Framing::Chunked => field(&mut head, &TRANSFER_ENCODING, b"chunked"),
    }
    head.extend_from_slice(b"\r\n");
    head.into()
}

/// A request on its way.
pub(super) struct Outflow {
    begun: Begun,
    queue: VecDeque<Bytes>,
    /// What is not in the queue yet.
    rest: Encoded,
    /// Of a length, what is not in the queue yet.
    left: u64,
    /// Whether all of the body is, or was, in the queue.
    ended: bool,
}

/// Whether Ollama may have seen something of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    No,
    Yes,
}

/// Why it goes no further.
#[derive(Debug)]
pub(super) enum Stopped {
    /// The body broke off, or is not as long as it was said to be.
    Body(io::Error),
    /// Ollama takes no more.
    Socket,
}

impl Outflow {
    pub(super) fn new(mut request: Encoded) -> Self {
        let mut left = if let Framing::Length(length) = request.framing { length } else { 0 };
        let mut queue = VecDeque::with_capacity(4);
        queue.push_back(std::mem::take(&mut request.head));
        if let Outgoing::Made(pieces) = &mut request.body {
            queue.append(pieces); // in memory as it is: one write takes what the socket has room for
            left = 0;
        }
        let ended = left == 0 && request.framing != Framing::Chunked;
        Self { begun: Begun::No, queue, rest: request, left, ended }
    }

    /// The request, if nothing of it has left, and nothing of an upload was taken.
    pub(super) fn into_unsent(mut self) -> Option<Encoded> {
        if self.begun == Begun::Yes {
            return None;
        }
        let head = self.queue.pop_front()?;
        let body = match self.rest.body {
            Outgoing::Made(_) => Outgoing::Made(self.queue),
            upload @ Outgoing::Upload(_) if self.queue.is_empty() => upload,
            Outgoing::Upload(_) => return None,
        };
        Some(Encoded { head, body, ..self.rest })
    }

    /// Writes what can be written; ready when all of it is.
    pub(super) fn poll(&mut self, socket: &TcpStream, cx: &mut Context<'_>) -> Poll<Result<(), Stopped>> {
        loop {
            self.fill(cx).map_err(Stopped::Body)?;
            if self.queue.is_empty() {
                return if self.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
            }
            ready!(socket.poll_write_ready(cx)).map_err(|_| Stopped::Socket)?;
            match self.write(socket) {
                Ok(written) if written > 0 => self.wrote(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(_) | Err(_) => return Poll::Ready(Err(Stopped::Socket)),
            }
        }
    }

    /// Takes of the body what is there.
    fn fill(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while !self.ended && self.queue.len() < PIECES && self.queue.iter().map(Bytes::len).sum::<usize>() < AT_ONCE {
            match Pin::new(&mut self.rest.body).poll_frame(cx) {
                Poll::Ready(Some(frame)) => {
                    if let Ok(data) = frame?.into_data() {
                        self.take(data)?;
                    }
                }
                Poll::Ready(None) => self.end()?,
                Poll::Pending => break,
            }
        }
        Ok(())
    }

    fn take(&mut self, data: Bytes) -> io::Result<()> {
        match self.rest.framing {
            _ if data.is_empty() => {} // an empty chunk would be the last one
            Framing::Nothing => return Err(io::Error::other("a body where there was to be none")),
            Framing::Length(_) => {
                let left = self.left.checked_sub(data.len() as u64);
                self.left = left.ok_or_else(|| io::Error::other("the body is longer than it was to be"))?;
                self.queue.push_back(data);
                self.ended = self.left == 0; // that a client has not said so yet is no fault of what it sent
            }
            Framing::Chunked => {
                let mut size = Vec::with_capacity(18);
                chunk_size(data.len(), &mut size);
                self.queue.extend([size.into(), data, Bytes::from_static(b"\r\n")]);
            }
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        if self.left > 0 {
            return Err(io::Error::other("the body is shorter than it was to be"));
        }
        if self.rest.framing == Framing::Chunked {
            self.queue.push_back(Bytes::from_static(LAST_CHUNK));
        }
        self.ended = true;
        Ok(())
    }

    fn write(&self, socket: &TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); PIECES];
        let count = self.queue.len().min(PIECES);
        for (slice, bytes) in slices.iter_mut().zip(&self.queue) {
            *slice = IoSlice::new(bytes);
        }
        match slices.get(..count) {
            Some([one]) => socket.try_write(one),
            Some(several) => socket.try_write_vectored(several),
            None => Ok(0),
        }
    }

    fn wrote(&mut self, mut written: usize) {
        self.begun = Begun::Yes;
        while let Some(first) = self.queue.front_mut() {
            if first.len() > written {
                first.advance(written);
                return;
            }
            written = written.saturating_sub(first.len());
            self.queue.pop_front();
        }
    }
}
