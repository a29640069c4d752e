//! An answer of the stand-in: a status and a body that is there at once, or a stream that comes a frame at a time.
//!
//! Guarantees: a frame is written and flushed before the next one exists, as Ollama does it.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use serde_json::Value;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Sleep, sleep};

/// Between two words.
const GAP: Duration = Duration::from_millis(40);

/// An answer.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    frames: VecDeque<Bytes>,
    pace: Pace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    AtOnce,
    WordByWord,
}

impl Reply {
    fn new(content_type: &'static str, frames: VecDeque<Bytes>, pace: Pace) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Self { status: StatusCode::OK, headers, frames, pace }
    }

    /// JSON of `/api/*`.
    #[expect(clippy::needless_pass_by_value, reason = "what is answered is given away")]
    pub(super) fn native(body: Value) -> Self {
        Self::new("application/json; charset=utf-8", [body.to_string().into()].into(), Pace::AtOnce)
    }

    /// JSON of `/v1/*`, which ends its line.
    #[expect(clippy::needless_pass_by_value, reason = "what is answered is given away")]
    pub(super) fn v1(body: Value) -> Self {
        Self::new("application/json", [format!("{body}\n").into()].into(), Pace::AtOnce)
    }

    pub(super) fn text(status: StatusCode, text: &'static str) -> Self {
        Self { status, ..Self::new("text/plain", [text.into()].into(), Pace::AtOnce) }
    }

    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), frames: VecDeque::new(), pace: Pace::AtOnce }
    }

    /// A JSON value a line, a line a frame.
    pub(super) fn ndjson(lines: impl IntoIterator<Item = Value>) -> Self {
        let frames = lines.into_iter().map(|line| format!("{line}\n").into()).collect();
        Self::new("application/x-ndjson", frames, Pace::WordByWord)
    }

    /// Server-sent events, of OpenAI's kind: each frame is `data:` alone.
    pub(super) fn events(frames: impl IntoIterator<Item = String>) -> Self {
        Self::new("text/event-stream", frames.into_iter().map(Bytes::from).collect(), Pace::WordByWord)
    }

    /// Server-sent events named after the `type` of their data.
    pub(super) fn named_events(events: impl IntoIterator<Item = Value>) -> Self {
        let named = |data: Value| {
            let name = data.get("type").and_then(Value::as_str).unwrap_or_default();
            format!("event: {name}\ndata: {data}\n\n")
        };
        let mut reply = Self::events(events.into_iter().map(named));
        reply.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        reply
    }

    pub(super) fn with_status(self, status: StatusCode) -> Self {
        Self { status, ..self }
    }

    pub(super) fn allowing(mut self, methods: &'static str) -> Self {
        self.headers.insert(ALLOW, HeaderValue::from_static(methods));
        self
    }

    pub(super) fn into_response(self) -> Response<ReplyBody> {
        let body = ReplyBody { frames: self.frames, pace: self.pace, wait: None };
        let mut response = Response::new(body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct ReplyBody {
    frames: VecDeque<Bytes>,
    pace: Pace,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(wait) = self.wait.as_mut() {
            ready!(wait.as_mut().poll(cx));
        }
        let frame = self.frames.pop_front();
        let more = self.pace == Pace::WordByWord && !self.frames.is_empty();
        self.wait = more.then(|| Box::pin(sleep(GAP)));
        Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        match self.pace {
            Pace::AtOnce => SizeHint::with_exact(self.frames.iter().map(|frame| frame.len() as u64).sum()),
            Pace::WordByWord => SizeHint::default(),
        }
    }
}
