//! The body of an answer on its connection, read by whoever holds it.
//!
//! Guarantees: all of it, or word that it broke; after its end the connection is kept; one that nobody wants any more is
//! hung up and read to its end, for a bounded time.

use super::connection::Connection;
use super::exchange::Carried;
use super::pipe::PipeEnd;
use super::pool::{Bounds, Upstream};
use bytes::Bytes;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long Ollama may go on writing after it was told that nobody waits.
pub(super) const DRAIN: Duration = Duration::from_secs(10);
/// For HTTP's end to follow the protocol's end.
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
    pub(super) rest: Rest,
}

impl Live {
    pub(super) const fn new(connection: Connection, rest: Rest) -> Self {
        Self { connection, rest }
    }

    /// The next piece, or how it ended.
    pub(super) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, PipeEnd>> {
        self.connection.poll_piece(cx)
    }

    /// After the end: lets go of what was carried, and keeps the connection where that can be.
    pub(super) fn keep(self) {
        let Self { connection, rest: Rest { upstream, carried, .. } } = self;
        drop(carried);
        if let Some(idle) = connection.into_idle() {
            upstream.keep(idle);
        }
    }

    /// The protocol's end has come: what follows is nothing but HTTP's own end, which is there as a rule.
    pub(super) fn finish(mut self) {
        let cx = &mut Context::from_waker(Waker::noop());
        match self.poll_end(cx) {
            Poll::Ready(PipeEnd::Clean) => self.keep(),
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
            Ok(PipeEnd::Clean) => self.keep(),
            Ok(PipeEnd::Broken | PipeEnd::Silent | PipeEnd::Stalled) => {}
            Err(_) => self.connection.hang_up(),
        }
    }

    /// Tells Ollama to stop, at once, and reads what it still sends in a task of its own, so that it is never left
    /// writing to nobody.
    pub(super) fn abandon(mut self) {
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
