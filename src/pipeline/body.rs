//! The body of a response, and what rides in it to the end: the record, the permits, the connection to Ollama.
//!
//! Guarantees: dropping it, in any state, gives back every permit, cancels Ollama's work and writes the record; a stream
//! passes frame by frame as it comes, with signs of life in its gaps; what the gateway adds at its end is in the stream's
//! own dialect.

use super::account::account_soon;
use super::heartbeat::{Next, Pending};
use super::peer::{Peer, Protocol};
use super::pulse::Pulse;
use super::queue::Permits;
use super::record::{Outcome, Record};
use crate::limits::UsedUp;
use crate::ollama::response::{self, End, Finish, Progress, StreamSanitiser, Usage};
use crate::pipeline::activity::Waiting;
use crate::telemetry::audit::Soon;
use crate::upstream::{PipeEnd, StreamReader};
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The body of a response.
#[derive(Debug)]
pub struct Body {
    content: Content,
    outcome: Outcome,
    record: Option<Box<Record>>,
    waiting: Option<Arc<Waiting>>,
}

#[derive(Debug)]
enum Content {
    Whole(Option<Bytes>),
    Stream(Box<Stream>),
    Pending(Box<Pending>),
    Ended,
}

struct Stream {
    reader: StreamReader,
    sanitiser: StreamSanitiser,
    permits: Permits,
    pulse: Pulse,
}

impl std::fmt::Debug for Stream {
    /// What streams through it is not for a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").finish_non_exhaustive()
    }
}

impl Body {
    /// Nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self { content: Content::Whole(None), outcome: Outcome::Completed, record: None, waiting: None }
    }

    /// Bytes.
    #[must_use]
    pub fn whole(bytes: Vec<u8>) -> Self {
        let bytes = (!bytes.is_empty()).then(|| Bytes::from(bytes));
        Self { content: Content::Whole(bytes), ..Self::empty() }
    }

    /// The bytes of a refusal.
    #[must_use]
    pub fn refusal(bytes: Vec<u8>) -> Self {
        Self { outcome: Outcome::Refused, ..Self::whole(bytes) }
    }

    pub(in crate::pipeline) fn stream(
        reader: StreamReader,
        sanitiser: StreamSanitiser,
        permits: Permits,
        pulse: Pulse,
    ) -> Self {
        let stream = Box::new(Stream { reader, sanitiser, permits, pulse });
        Self { content: Content::Stream(stream), ..Self::empty() }
    }

    /// An answer to come; its record comes with it.
    pub(in crate::pipeline) fn pending(pending: Box<Pending>, peer: &Peer) -> Self {
        Self { content: Content::Pending(pending), waiting: watched(peer), ..Self::empty() }
    }

    pub(in crate::pipeline) fn with_record(mut self, mut record: Box<Record>) -> Self {
        self.waiting = watched(&record.peer);
        record.ended(Outcome::ClientLeft);
        self.record = Some(record);
        if self.is_over() {
            self.complete(self.outcome);
        }
        self
    }

    /// The same for a request that asks for the head alone; how long it would be.
    pub(in crate::pipeline) fn headless(self) -> (Self, Option<u64>) {
        let length = http_body::Body::size_hint(&self).exact().filter(|length| *length > 0);
        (Self { content: Content::Whole(None), ..self }, length)
    }

    /// Once it is over: its record in the audit log, which is to be waited for before the client gets the last of it. Where
    /// nobody asks, it is written when this is dropped.
    pub fn account_soon(&mut self) -> Option<Soon> {
        account_soon(self.record.as_mut()?)
    }

    /// Once it is over and accounted for: counts its request, whose line is written when this is dropped.
    pub fn settle(&mut self) {
        if let Some(record) = &mut self.record {
            record.settle();
        }
    }

    fn is_over(&self) -> bool {
        match &self.content {
            Content::Whole(bytes) => bytes.is_none(),
            Content::Ended => true,
            Content::Stream(_) | Content::Pending(_) => false,
        }
    }

    fn complete(&mut self, outcome: Outcome) {
        if let Some(record) = &mut self.record {
            record.ended(outcome);
        }
    }

    fn sent(&mut self, bytes: Bytes) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(record) = &mut self.record {
            record.begun();
            record.bytes_out = record.bytes_out.saturating_add(bytes.len() as u64);
        }
        if let Some(waiting) = &self.waiting {
            waiting.taken();
        }
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn poll_content(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match &mut self.content {
                Content::Whole(bytes) => {
                    let slice = slice(bytes);
                    if bytes.is_none() && slice.is_some() {
                        self.complete(self.outcome);
                    }
                    return Poll::Ready(slice);
                }
                Content::Stream(_) => return self.poll_stream(cx).map(|out| out.map(Bytes::from)),
                Content::Pending(pending) => match ready!(pending.poll_next(cx)) {
                    Next::Beat(beat) => return Poll::Ready(Some(Bytes::from_static(beat))),
                    Next::Body(body, record) => self.goes_on(body, record),
                },
                Content::Ended => return Poll::Ready(None),
            }
        }
    }

    /// What was waited for is there.
    fn goes_on(&mut self, body: Self, mut record: Box<Record>) {
        record.ended(Outcome::ClientLeft);
        (self.content, self.outcome, self.record) = (body.content, body.outcome, Some(record));
        if self.is_over() {
            self.complete(self.outcome);
        }
    }

    /// Takes pieces until a frame can be sent, or the stream ends.
    fn poll_stream(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let Content::Stream(stream) = &mut self.content else { return Poll::Ready(None) };
        let mut out = Vec::new();
        loop {
            let ended = match stream.reader.poll_next(cx) {
                Poll::Ready(Ok(piece)) => stream.sanitiser.push(&piece, &mut out),
                Poll::Ready(Err(end)) => over(stream.sanitiser.finish(end_of(end), &mut out)),
                Poll::Pending => return stream.pulse.poll(cx).map(|beat| Some(beat.to_vec())),
            };
            let usage = stream.sanitiser.usage();
            if let Some(record) = &mut self.record {
                record.usage = usage; // a client that leaves has cost this much
            }
            let used_up = stream.permits.spend(&usage).err().filter(|_| ended == Progress::Continue);
            if let Some(used_up) = used_up {
                stream.sanitiser.finish_politely(&mut out);
                self.end_of_budget(&used_up, usage);
                return Poll::Ready(Some(out));
            }
            match ended {
                Progress::Continue if out.is_empty() => {}
                Progress::Continue => {
                    stream.pulse.sent();
                    return Poll::Ready(Some(out));
                }
                Progress::Ended => {
                    self.end(Outcome::Completed, None, usage);
                    return Poll::Ready(Some(out));
                }
                Progress::Failed(fault) => {
                    let said = stream.sanitiser.original().unwrap_or("the stream ended before its end").to_owned();
                    self.end(Outcome::UpstreamFailed, Some((fault.facts().code, &said)), usage);
                    return Poll::Ready(Some(out));
                }
            }
        }
    }

    fn end_of_budget(&mut self, used_up: &UsedUp, usage: Usage) {
        self.content = Content::Ended; // Ollama would go on
        self.end(Outcome::Completed, None, usage);
        if let Some(record) = &mut self.record {
            record.cut_short("budget_used_up", used_up.to_string());
        }
    }

    /// The connection to Ollama and the permits are let go here, not when the client has read the last byte.
    fn end(&mut self, outcome: Outcome, failure: Option<(&'static str, &str)>, usage: Usage) {
        if let Content::Stream(stream) = std::mem::replace(&mut self.content, Content::Ended)
            && outcome == Outcome::Completed
            && usage.finish != Finish::Filtered
        {
            stream.reader.finish();
        }
        let Some(record) = &mut self.record else { return };
        match failure {
            Some((code, said)) => record.failed(code, said),
            None => record.ended(outcome),
        }
    }
}

/// How long an answer waits for its client: where it has the connection for itself, the socket knows.
fn watched(peer: &Peer) -> Option<Arc<Waiting>> {
    match peer.protocol {
        Protocol::Http1 => None,
        Protocol::Http2 => Some(peer.activity.watch()),
    }
}

/// Bytes of a whole answer that are handed out at once: what is handed out counts as sent, so it must not be much.
const SLICE: usize = 64 * 1024;

fn slice(bytes: &mut Option<Bytes>) -> Option<Bytes> {
    match bytes {
        Some(rest) if rest.len() > SLICE => Some(rest.split_to(SLICE)),
        Some(_) | None => bytes.take(),
    }
}

/// The stream is over either way.
const fn over(outcome: response::Outcome) -> Progress {
    match outcome {
        response::Outcome::Complete | response::Outcome::Shortened | response::Outcome::GivenUp => Progress::Ended,
        response::Outcome::Failed(fault) => Progress::Failed(fault),
    }
}

const fn end_of(end: PipeEnd) -> End {
    match end {
        PipeEnd::Clean => End::Clean,
        PipeEnd::Broken | PipeEnd::Stalled => End::Cut,
        PipeEnd::Silent => End::Timeout,
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        match this.poll_content(cx) {
            Poll::Ready(Some(bytes)) if !bytes.is_empty() => this.sent(bytes),
            Poll::Ready(Some(_) | None) => Poll::Ready(None),
            Poll::Pending => {
                // Nothing waits for the client now: it is Ollama that is waited for.
                if let Some(waiting) = &this.waiting {
                    waiting.nothing_waits();
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Content::Ended => SizeHint::with_exact(0),
            Content::Stream(_) | Content::Pending(_) => SizeHint::default(),
        }
    }
}
