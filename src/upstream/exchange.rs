//! One request and its answer, carried by the task of whoever asks: no other thread, task or channel has a part in it.
//!
//! Guarantees: an answer is waited for within its deadline; when the asker is dropped, in any phase, Ollama is told and
//! what it still writes is read to its end, by a task of its own; a request that a kept connection lost unsent, or that
//! broke on and that may be repeated (RFC 9110 §9.2.2), is sent once more on a fresh one.

use super::Outgoing;
use super::connection::{Connection, Sending};
use super::live::{Live, Rest};
use super::pool::{Bounds, Upstream};
use super::reader::Reader;
use crate::config::types;
use http::{Method, Request, Response, response};
use hyper::body::Incoming;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

/// An answer of Ollama: its head, and its body as it comes.
#[derive(Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: response::Parts,
    /// The body.
    pub body: Reader,
}

/// What rides with an exchange: dropped when Ollama is done with it, though a client may still be reading.
pub type Carried = Vec<Box<dyn Send + Sync>>;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// No connection.
    Unreachable(io::Error),
    /// The connection broke before the head of the answer was read.
    Broken(String),
    /// No head within the first-byte deadline.
    Silent,
}

/// What goes with a request.
pub struct Terms {
    /// Bytes of the answer that may wait to be taken.
    pub buffer: usize,
    /// What is held until Ollama has written its last byte, wherever the client is.
    pub carried: Carried,
}

/// Sends requests.
#[derive(Debug)]
pub struct Exchange;

impl Exchange {
    /// Sends the request and waits for the head of the answer. Dropping the future, or the body, cancels it.
    ///
    /// # Errors
    /// [`Failure`]: nothing of an answer was received.
    pub async fn start(
        upstream: &Arc<Upstream>,
        config: &types::Upstream,
        mut request: Request<Outgoing>,
        terms: Terms,
    ) -> Result<Reply, Failure> {
        let bounds = Bounds::of(config, terms.buffer);
        let mut rest = Rest { upstream: Arc::clone(upstream), bounds, carried: terms.carried };
        if let Some(kept) = upstream.kept(&config.address) {
            let again = repeatable(&request);
            match (Asked::new(kept, request, rest).reply().await, again) {
                (Ok(reply), _) => return Ok(reply),
                (Err(Unanswered::NotSent(unsent)), _) => (request, rest) = *unsent,
                (Err(Unanswered::Broken(_, its_rest)), Some(again)) => (request, rest) = (again, its_rest),
                (Err(unanswered), _) => return Err(unanswered.into()),
            }
        }
        let fresh = Upstream::fresh(&config.address, bounds.connect).await.map_err(Failure::Unreachable)?;
        Ok(Asked::new(fresh, request, rest).reply().await?)
    }
}

/// Why a connection gave no answer.
enum Unanswered {
    /// It took nothing of the request: here it is.
    NotSent(Box<(Request<Outgoing>, Rest)>),
    /// It took it, and broke.
    Broken(String, Rest),
    /// It took it, and nothing came.
    Silent,
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NotSent(_) => Self::Broken("the connection took no request".to_owned()),
            Unanswered::Broken(why, _) => Self::Broken(why),
            Unanswered::Silent => Self::Silent,
        }
    }
}

/// A request that waits for the head of its answer.
struct Asked(Option<Underway>);

/// What must not be let go of: Ollama may be at work on it.
struct Underway {
    connection: Connection,
    sending: Sending,
    rest: Rest,
    uploading: Option<Arc<crate::pipeline::upload::Progress>>,
}

type Head = Result<Response<Incoming>, hyper::client::conn::TrySendError<Request<Outgoing>>>;

impl Asked {
    fn new(mut connection: Connection, request: Request<Outgoing>, rest: Rest) -> Self {
        let uploading = match request.body() {
            Outgoing::Upload(upload) => Some(upload.progress()),
            Outgoing::Made(_) => None,
        };
        let sending = connection.send(request);
        Self(Some(Underway { connection, sending, rest, uploading }))
    }

    async fn reply(mut self) -> Result<Reply, Unanswered> {
        let head = match &mut self.0 {
            Some(underway) => underway.head().await.ok_or(Unanswered::Silent)?, // dropped: what comes is still read
            None => return Err(Unanswered::Silent),
        };
        let Some(Underway { connection, rest, .. }) = self.0.take() else { return Err(Unanswered::Silent) };
        match head {
            Ok(response) => {
                connection.has_head();
                let (head, body) = response.into_parts();
                Ok(Reply { head, body: Reader::new(Live::new(connection, body, rest)) })
            }
            Err(mut error) => Err(match error.take_message() {
                Some(unsent) => Unanswered::NotSent(Box::new((unsent, rest))),
                None => Unanswered::Broken(error_chain(error.error()), rest),
            }),
        }
    }
}

impl Underway {
    /// `None`: not within the deadline, which counts from the end of an upload, not from its start.
    async fn head(&mut self) -> Option<Head> {
        let within = self.rest.bounds.first_byte;
        loop {
            if let Ok(head) = tokio::time::timeout(within, poll_fn(|cx| self.poll_head(cx))).await {
                return Some(head);
            }
            if self.uploading.as_ref().is_none_or(|progress| progress.done_for(within)) {
                return None;
            }
        }
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Head> {
        self.connection.drive(cx);
        self.sending.as_mut().poll(cx)
    }

    /// The asker is gone, and Ollama knows: reads an answer that comes after all to its end.
    async fn abandon(mut self) {
        let head = tokio::time::timeout(super::live::DRAIN, poll_fn(|cx| self.poll_head(cx))).await;
        if let Ok(Ok(response)) = head {
            Live::new(self.connection, response.into_body(), self.rest).drain().await;
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(underway) = self.0.take() {
            underway.connection.hang_up();
            let runtime = underway.connection.runtime().clone();
            runtime.spawn(underway.abandon());
        }
    }
}

/// The same request once more, if it may be sent as often as one likes (RFC 9110 §9.2.2): one that Ollama died of is not
/// sent to the next.
fn repeatable(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return None;
    }
    let mut copy = Request::new(request.body().again()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// For the log: an error with its causes.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
