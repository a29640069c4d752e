//! What is answered to bytes that are no HTTP request.
//!
//! hyper answers those by itself, with a bare status line, before there is a request that could enter the pipeline. This
//! stands between hyper and TLS and says it as everything else is said: JSON, a code, an id, the security headers, and a
//! line in the log. Guarantees: an answer of the pipeline is never touched: it carries an id, hyper's own does not.

use super::head_scan::{Head, HeadScan};
use crate::gateway::{Gateway, Policy};
use crate::ollama::dialect::{Told, error_body};
use crate::ollama::endpoint::Dialect;
use crate::pipeline::activity::{Activity, Parser};
use crate::pipeline::cors::Decision;
use crate::pipeline::headers::{Marks, to_client};
use crate::pipeline::peer::Protocol;
use crate::telemetry::event::{About, SecurityEvent};
use crate::telemetry::request_id::RequestId;
use http::HeaderMap;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose parse errors are told properly.
#[derive(Debug)]
pub(super) struct Unparsed<S> {
    inner: S,
    activity: Arc<Activity>,
    client: IpAddr,
    gateway: Arc<Gateway>,
    instead: Option<Instead>,
    scan: HeadScan,
}

/// Our answer, in the place of so many bytes of hyper's.
#[derive(Debug)]
struct Instead {
    bytes: Vec<u8>,
    written: usize,
    replaces: usize,
}

impl<S> Unparsed<S> {
    pub(super) fn new(inner: S, activity: Arc<Activity>, client: IpAddr, gateway: Arc<Gateway>) -> Self {
        Self { inner, activity, client, gateway, instead: None, scan: HeadScan::default() }
    }

    /// Recognises hyper's own answer.
    fn recognise(&mut self, bytes: &[u8]) {
        if self.instead.is_some() || self.activity.is_busy() {
            return;
        }
        let Some(status) = status_of_bare_answer(bytes) else { return };
        let answer = answer(status, self.client, &self.gateway.policy());
        self.instead = Some(Instead { bytes: answer, written: 0, replaces: bytes.len() });
    }
}

/// The status of a head without an id.
fn status_of_bare_answer(bytes: &[u8]) -> Option<u16> {
    let rest = bytes.strip_prefix(b"HTTP/1.1 ").or_else(|| bytes.strip_prefix(b"HTTP/1.0 "))?;
    let status: u16 = std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok()?;
    let has_id = memchr::memmem::find(bytes, b"\r\nx-request-id: ").is_some();
    (matches!(status, 400 | 414 | 431) && bytes.ends_with(b"\r\n\r\n") && !has_id).then_some(status)
}

fn answer(status: u16, client: IpAddr, policy: &Policy) -> Vec<u8> {
    let (line, code, text) = match status {
        431 => (
            "431 Request Header Fields Too Large",
            "headers_too_many",
            "The request's head is too large or has too many headers.",
        ),
        414 => ("414 URI Too Long", "target_too_long", "The request target is too long."),
        _ => ("400 Bad Request", "request_malformed", "The request is not well-formed HTTP."),
    };
    let id = RequestId::new();
    SecurityEvent::InvalidInput.report(&About {
        client: Some(client),
        request_id: Some(id),
        reason: Some(code),
        ..About::default()
    });
    tracing::info!(event = "request", request_id = %id, client = %client, protocol = Protocol::Http1.name(), status, code, outcome = "refused");
    let told = Told { status, code, text, request_id: &id.to_string() };
    let body = error_body(Dialect::Ollama, &told);
    let headers = to_client(policy, &Marks { id, cors: Decision::NoOrigin, quota: None }, HeaderMap::new());
    let field = |(name, value): (&_, &http::HeaderValue)| Some(format!("{name}: {}\r\n", value.to_str().ok()?));
    let fields: String = headers.iter().filter_map(field).collect();
    format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\
         {fields}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

impl<S: AsyncRead + Unpin> AsyncRead for Unparsed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let this = &mut *self;
        let read = Pin::new(&mut this.inner).poll_read(cx, buffer);
        this.activity.note_parser(if read.is_pending() { Parser::Listens } else { Parser::Holds });
        ready!(read)?;
        if !this.activity.is_busy()
            && let Some(bytes) = buffer.filled().get(before..)
            && this.scan.take(bytes, this.activity.begun()) == Head::Ambiguous
        {
            this.activity.note_ambiguous_head();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Unparsed<S> {
    fn poll_instead(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(instead) = &mut self.instead else { return Poll::Ready(Ok(0)) };
        while let Some(rest) = instead.bytes.get(instead.written..).filter(|rest| !rest.is_empty()) {
            let n = ready!(Pin::new(&mut self.inner).poll_write(cx, rest))?;
            instead.written = instead.written.saturating_add(n);
        }
        let replaces = instead.replaces;
        self.instead = None;
        Poll::Ready(Ok(replaces))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Unparsed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.recognise(bytes);
        if self.instead.is_some() {
            return self.poll_instead(cx);
        }
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let Some(first) = pieces.first() {
            self.recognise(first);
        }
        if self.instead.is_some() {
            return self.poll_instead(cx);
        }
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_without_an_id_is_hypers() {
        assert_eq!(status_of_bare_answer(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), Some(400));
        assert_eq!(status_of_bare_answer(b"HTTP/1.1 400 Bad Request\r\nx-request-id: req_1\r\n\r\n"), None);
        assert_eq!(status_of_bare_answer(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), None);
        assert_eq!(status_of_bare_answer(b"{\"error\""), None);
    }
}
