//! The body of an answer on its connection, read by whoever holds it.
//!
//! Guarantees: all of it, or word that it broke; after its end the connection is kept; one that nobody wants any more is
//! hung up and read to its end, for a bounded time.

use super::connection::Connection;
use super::exchange::Carried;
use super::pipe::PipeEnd;
use super::pool::{Bounds, Upstream};
use bytes::Bytes;
use http_body::Body as _;
use hyper::body::Incoming;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long Ollama may go on writing after it was told that nobody waits.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// For HTTP's end to follow the protocol's end, and for hyper to be ready for the next request.
const END: Duration = Duration::from_secs(1);

/// What goes with an exchange to its end.
pub(super) struct Rest {
    pub(super) upstream: Arc<Upstream>,
    pub(super) bounds: Bounds,
    pub(super) carried: Carried,
}

/// A body that comes.
pub(super) struct Live {
    pub(super) connection: Connection,
    body: Incoming,
    pub(super) rest: Rest,
}

impl Live {
    pub(super) const fn new(connection: Connection, body: Incoming, rest: Rest) -> Self {
        Self { connection, body, rest }
    }

    /// The next piece, or how it ended.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, PipeEnd>> {
        let mut driven = false;
        loop {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Poll::Ready(Ok(data)),
                    Ok(_) | Err(_) => driven = false, // trailers are dropped
                },
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(PipeEnd::Broken)),
                Poll::Ready(None) => return Poll::Ready(Err(PipeEnd::Clean)),
                // What is wanted is known to hyper now: it reads when it is driven.
                Poll::Pending if driven => return Poll::Pending,
                Poll::Pending => {
                    self.connection.drive(cx);
                    driven = true;
                }
            }
        }
    }

    /// After the end: keeps the connection, at once where that can be, and lets go of what was carried.
    pub(super) fn keep(self, cx: &mut Context<'_>) {
        let Self { mut connection, rest: Rest { upstream, carried, .. }, .. } = self;
        drop(carried);
        match connection.poll_reusable(cx) {
            Poll::Ready(true) => upstream.keep(connection),
            Poll::Ready(false) => {}
            Poll::Pending => {
                let runtime = connection.runtime().clone();
                runtime.spawn(async move {
                    let reusable = tokio::time::timeout(END, poll_fn(|cx| connection.poll_reusable(cx))).await;
                    if matches!(reusable, Ok(true)) {
                        upstream.keep(connection);
                    }
                });
            }
        }
    }

    /// The protocol's end has come: what follows is nothing but HTTP's own end, which is there as a rule.
    pub(super) fn finish(mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        match self.poll_end(cx) {
            Poll::Ready(PipeEnd::Clean) => self.keep(cx),
            Poll::Ready(PipeEnd::Broken | PipeEnd::Silent | PipeEnd::Stalled) => {}
            Poll::Pending => {
                self.rest.carried.clear(); // Ollama is done with it: the next one's turn does not wait for this end
                let runtime = self.connection.runtime().clone();
                runtime.spawn(self.await_end());
            }
        }
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<PipeEnd> {
        loop {
            match self.poll_piece(cx) {
                Poll::Ready(Ok(_)) => {}
                Poll::Ready(Err(end)) => return Poll::Ready(end),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    async fn await_end(mut self) {
        match tokio::time::timeout(END, poll_fn(|cx| self.poll_end(cx))).await {
            Ok(PipeEnd::Clean) => self.keep(&mut Context::from_waker(Waker::noop())),
            Ok(PipeEnd::Broken | PipeEnd::Silent | PipeEnd::Stalled) => {}
            Err(_) => self.connection.hang_up(),
        }
    }

    /// Tells Ollama to stop, at once, and reads what it still sends in a task of its own, so that it is never left
    /// writing to nobody.
    pub(super) fn abandon(self) {
        self.connection.hang_up();
        let runtime = self.connection.runtime().clone();
        runtime.spawn(self.drain());
    }

    /// The same, to await.
    pub(super) async fn drain(mut self) {
        self.connection.hang_up();
        drop(tokio::time::timeout(DRAIN, poll_fn(|cx| self.poll_end(cx))).await);
    }
}
