//! One HTTP/1.1 connection: request after request, each answered before the next is read.
//!
//! Guarantees: a request is answered as a whole or its connection ends; what was not read of its body is never taken for
//! the next request; a client that leaves takes its request's work with it; while a stop goes on, what runs is answered and
//! told to be the last. What is no HTTP is told in words, with a code and an id. The task of the connection does all of
//! it: reads, answers and writes. Does not: keep time, which the socket does ([`super::timed`]).
//! Answers `threats.md` §4.1, §4.4.

use super::connection::stopped;
use super::unparsed;
use crate::gateway::Gateway;
use crate::http1::incoming::Incoming;
use crate::http1::request::{After, Head, HeadFault};
use crate::http1::response::{self, Asked, Framing};
use crate::http1::wire::{Client, ClientBody, Next, Wire};
use crate::pipeline;
use crate::pipeline::activity::{Activity, Reading};
use crate::pipeline::body::Body;
use crate::pipeline::peer::Peer;
use crate::pipeline::reply::Reply;
use crate::rejection::Connection as Keeps;
use crate::telemetry::audit::Soon;
use crate::telemetry::clock;
use bytes::BytesMut;
use futures_util::FutureExt as _;
use http::Request;
use http_body::Body as _;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

/// A connection, and who is on it.
struct Connection<S> {
    wire: Arc<Mutex<Wire<S>>>,
    gateway: Arc<Gateway>,
    peer: Arc<Peer>,
    stop: CancellationToken,
}

/// The client has left, or cannot be written to.
struct Gone;

/// Serves a connection to its end.
pub(super) async fn serve<S>(gateway: Arc<Gateway>, peer: Arc<Peer>, stream: S, stop: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = Connection { wire: Arc::new(Mutex::new(Wire::new(stream))), gateway, peer, stop };
    let ended = connection.run().await;
    if let Err(error) = ended {
        tracing::debug!(event = "connection_ended", %error);
    }
}

impl<S> Connection<S>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    async fn run(&self) -> io::Result<()> {
        let mut stopped = pin!(stopped(&self.peer.activity, &self.stop).fuse());
        loop {
            let head = poll_fn(|cx| {
                let mut wire = self.wire();
                match wire.poll_head(cx) {
                    Poll::Pending if stopped.as_mut().poll(cx).is_ready() && wire.is_idle() => {
                        Poll::Ready(Ok(Next::Over))
                    }
                    next @ (Poll::Ready(_) | Poll::Pending) => next,
                }
            });
            match head.await? {
                // Made where it stays, as `pipeline::heartbeat` does.
                Next::Head(head) => match Box::into_pin(Box::write(Box::new_uninit(), self.answer(*head))).await {
                    Ok(After::Kept) => {}
                    Ok(After::Closed) => break,
                    Err(Gone) => return Ok(()), // dropped with all that it holds
                },
                Next::Fault(fault) => {
                    self.refuse(fault).await?;
                    break;
                }
                Next::Over => break,
            }
        }
        poll_fn(|cx| self.wire().poll_shutdown(cx)).await
    }

    fn wire(&self) -> MutexGuard<'_, Wire<S>> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is said to what is no request.
    async fn refuse(&self, fault: HeadFault) -> io::Result<()> {
        unparsed::answer(fault, self.peer.address, &self.gateway.policy(), self.wire().outbound());
        poll_fn(|cx| self.wire().poll_send(cx)).await
    }

    /// Answers a request.
    async fn answer(&self, head: Head) -> Result<After, Gone> {
        let Head { parts, framing, after, .. } = head;
        let asked = Asked { head_alone: (&parts.method).into(), version: parts.version, after };
        let body = Incoming::from(ClientBody::of(&self.wire, framing));
        let answer = self.decide(Request::from_parts(parts, body)).await?;
        self.send(answer, asked).await
    }

    /// The pipeline, as long as the client is there.
    async fn decide(&self, request: Request<Incoming>) -> Result<Reply, Gone> {
        let mut pipeline = pin!(pipeline::handle(Arc::clone(&self.gateway), Arc::clone(&self.peer), request));
        poll_fn(|cx| match pipeline.as_mut().poll(cx) {
            Poll::Ready(reply) => Poll::Ready(Ok(reply)),
            Poll::Pending => self.poll_gone(cx).map(Err),
        })
        .await
    }

    /// Ready when the client has left.
    fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<Gone> {
        let client = self.wire().watch(cx);
        let activity: &Activity = &self.peer.activity;
        match client {
            Client::Listened => activity.note_reading(Reading::Listens),
            Client::Unseen => activity.note_reading(Reading::Holds),
            Client::Gone => return Poll::Ready(Gone),
        }
        Poll::Pending
    }

    /// Writes an answer, piece by piece as they come.
    async fn send(&self, reply: Reply, mut asked: Asked) -> Result<After, Gone> {
        let Reply { status, headers, connection, body } = reply;
        self.wire().begin_answer();
        // What is not read of the request by now would be taken for the next one.
        if connection == Keeps::Close || self.stop.is_cancelled() || !self.wire().is_at_an_end() {
            asked.after = After::Closed;
        }
        let (length, lines) = (body.size_hint().exact(), |out: &mut BytesMut| headers.write_lines(out));
        let (framing, after) = response::head((status, lines), length, (asked, clock::now()), self.wire().outbound());
        drop(headers);
        let mut sending = Sending { stage: Stage::Taking, body, framing, unsent: Unsent::No };
        poll_fn(|cx| self.poll_sending(&mut sending, cx)).await?;
        Ok(after)
    }

    fn poll_sending(&self, sending: &mut Sending, cx: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        loop {
            if sending.unsent == Unsent::Some {
                let sent = self.wire().poll_send(cx);
                match sent {
                    Poll::Ready(Ok(())) => sending.unsent = Unsent::No,
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Gone)),
                    Poll::Pending => return self.poll_gone(cx).map(Err),
                }
            }
            match &mut sending.stage {
                Stage::Over => return Poll::Ready(Ok(())),
                Stage::Accounted(soon) => {
                    ready!(soon.poll(cx));
                    sending.let_go();
                }
                Stage::Taking => {
                    let taken = sending.poll_take(self, cx);
                    // A head without a piece goes out too: it is what the client waits for.
                    if sending.may_leave() && !self.wire().outbound().is_empty() {
                        sending.unsent = Unsent::Some;
                    } else if taken.is_pending() {
                        return self.poll_gone(cx).map(Err);
                    }
                }
            }
        }
    }
}

/// An answer on its way. Its request's line is written when this is dropped, after its end has left.
struct Sending {
    stage: Stage,
    body: Body,
    framing: Framing,
    unsent: Unsent,
}

/// How far an answer is.
enum Stage {
    /// Its pieces are taken as they come.
    Taking,
    /// All of it was taken; the last of it leaves when this record is written.
    Accounted(Soon),
    /// Nothing is to be taken any more.
    Over,
}

/// Whether bytes were taken that are not with the client's system yet: until they are, no more are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unsent {
    Some,
    No,
}

impl Sending {
    /// Whether what was written may go to the client: the end of an answer waits for its record.
    const fn may_leave(&self) -> bool {
        match self.stage {
            Stage::Taking | Stage::Over => true,
            Stage::Accounted(_) => false,
        }
    }

    /// The answer's end may leave: its record is written.
    fn let_go(&mut self) {
        self.body.settle();
        (self.stage, self.unsent) = (Stage::Over, Unsent::Some);
    }

    /// Takes what comes next of the body, and writes it; at its end, its record is to be waited for.
    fn poll_take<S>(&mut self, connection: &Connection<S>, cx: &mut Context<'_>) -> Poll<()>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let over = frame.is_none() || self.body.is_end_stream();
        let mut wire = connection.wire();
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            response::piece(self.framing, data, wire.outbound());
        }
        if over {
            response::end(self.framing, wire.outbound());
            drop(wire);
            match self.body.account_soon() {
                Some(soon) => self.stage = Stage::Accounted(soon),
                None => self.let_go(),
            }
        }
        Poll::Ready(())
    }
}
