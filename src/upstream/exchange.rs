//! One request and its answer, carried by the task of whoever asks: no other thread, task or channel has a part in it.
//!
//! Guarantees: an answer is waited for within its deadline; when the asker is dropped, in any phase, Ollama is told and
//! what it still writes is read to its end, by a task of its own; a request that a kept connection lost unsent, or that
//! broke on and that may be repeated (RFC 9110 §9.2.2), is sent once more on a fresh one.

use super::connection::{Connection, Headless};
use super::head::Head;
use super::live::{DRAIN, Live, Rest};
use super::pool::{Bounds, Upstream};
use super::reader::Reader;
use super::request::{Encoded, Request};
use crate::config::types;
use crate::upstream::upload::Progress;
use std::future::poll_fn;
use std::io;
use std::sync::Arc;

/// An answer of Ollama: its head, and its body as it comes.
#[derive(Debug)]
pub struct Reply {
    /// What is said of it.
    pub head: Head,
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
        request: Request,
        terms: Terms,
    ) -> Result<Reply, Failure> {
        let mut request = Encoded::from(request);
        let bounds = Bounds::of(config, terms.buffer);
        let mut rest = Rest { upstream: Arc::clone(upstream), bounds, carried: terms.carried };
        if let Some(kept) = upstream.kept(&config.address) {
            let again = request.again();
            match (Asked::new(kept, request, rest).reply().await, again) {
                (Ok(reply), _) => return Ok(reply),
                (Err(Unanswered::NotSent(unsent, its_rest)), _) => (request, rest) = (*unsent, its_rest),
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
    NotSent(Box<Encoded>, Rest),
    /// It took it, and broke.
    Broken(String, Rest),
    /// It took it, and nothing came.
    Silent,
}

impl From<Unanswered> for Failure {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NotSent(..) => Self::Broken("the connection took no request".to_owned()),
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
    rest: Rest,
    uploading: Option<Arc<Progress>>,
}

impl Asked {
    fn new(mut connection: Connection, request: Encoded, rest: Rest) -> Self {
        let uploading = request.progress();
        connection.send(request);
        Self(Some(Underway { connection, rest, uploading }))
    }

    async fn reply(mut self) -> Result<Reply, Unanswered> {
        let head = match &mut self.0 {
            Some(underway) => underway.head().await.ok_or(Unanswered::Silent)?, // dropped: what comes is still read
            None => return Err(Unanswered::Silent),
        };
        let Some(Underway { connection, rest, .. }) = self.0.take() else { return Err(Unanswered::Silent) };
        match head {
            Ok(head) => Ok(Reply { head, body: Reader::new(Live::new(connection, rest)) }),
            Err(Headless::NotSent(unsent)) => Err(Unanswered::NotSent(unsent, rest)),
            Err(Headless::Broken(why)) => Err(Unanswered::Broken(why, rest)),
        }
    }
}

impl Underway {
    /// `None`: not within the deadline, which counts from the last byte of an upload, not from its first.
    async fn head(&mut self) -> Option<Result<Head, Headless>> {
        let within = self.rest.bounds.first_byte;
        loop {
            if let Ok(head) = tokio::time::timeout(within, poll_fn(|cx| self.connection.poll_head(cx))).await {
                return Some(head);
            }
            if self.uploading.as_ref().is_none_or(|progress| progress.quiet_for(within)) {
                return None;
            }
        }
    }

    /// The asker is gone, and Ollama knows: reads an answer that comes after all to its end.
    async fn abandon(mut self) {
        let head = tokio::time::timeout(DRAIN, poll_fn(|cx| self.connection.poll_head(cx))).await;
        if let Ok(Ok(_)) = head {
            Live::new(self.connection, self.rest).drain().await;
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if let Some(mut underway) = self.0.take() {
            underway.connection.hang_up();
            let runtime = underway.connection.runtime().clone();
            runtime.spawn(underway.abandon());
        }
    }
}
