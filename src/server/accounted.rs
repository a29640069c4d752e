//! A body for HTTP/2's library, whose end waits for its record.
//!
//! Guarantees: the last frame is handed out when the record of the request is in the audit log, together with those of
//! others that end at the same time; where the client has left, it is written all the same. `super::http1` does the same
//! for itself.

use crate::pipeline::body::Body;
use crate::telemetry::audit::Soon;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// The body.
#[derive(Debug)]
pub(super) struct Accounted {
    body: Body,
    end: Option<End>,
}

/// What is held back.
#[derive(Debug)]
struct End {
    record: Soon,
    frame: Option<Frame<Bytes>>,
}

impl From<Body> for Accounted {
    fn from(body: Body) -> Self {
        Self { body, end: None }
    }
}

impl http_body::Body for Accounted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        if this.end.is_none() {
            let frame = ready!(Pin::new(&mut this.body).poll_frame(cx)).map(|Ok(frame)| frame);
            let over = frame.is_none() || this.body.is_end_stream();
            let record = if over { this.body.account_soon() } else { None };
            match record {
                Some(record) => this.end = Some(End { record, frame }),
                None => return Poll::Ready(frame.map(Ok)),
            }
        }
        if let Some(end) = &mut this.end {
            ready!(end.record.poll(cx));
        }
        Poll::Ready(this.end.take().and_then(|end| end.frame).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.end.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
