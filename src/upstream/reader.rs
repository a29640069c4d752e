//! The body of an answer, to be taken piece by piece.
//!
//! Guarantees: whoever takes it reads Ollama itself, without a task or a channel between; a stream that is not taken as
//! fast as Ollama writes it is taken over by a task that reads on into a bounded buffer ([`super::pipe`]), within two
//! looks of [`super::attendant`]; dropping it, before its end, cancels Ollama's work.
//! Answers `threats.md` §0.5.

use super::live::Live;
use super::pipe::{PipeEnd, Piped, pipe};
use super::pump::pump;
use bytes::Bytes;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Takes an answer that is one value: its taker waits for it and for nothing else.
#[derive(Debug)]
pub struct Reader(Option<Box<Live>>);

/// Takes a stream, at the pace of a client. Dropping it cancels the exchange.
#[derive(Debug)]
pub struct StreamReader(Arc<Source>);

/// Where a stream comes from at the moment.
#[derive(Debug)]
pub(super) struct Source(Mutex<State>);

enum State {
    /// From Ollama's connection, in the taker's own task.
    Direct(Box<Direct>),
    /// From a buffer that a task fills.
    Piped(Piped),
    /// It is over.
    Over(PipeEnd),
}

struct Direct {
    live: Live,
    last_piece: Instant,
    /// Who waits for Ollama; nobody, while a piece is on its way to the client.
    waiting: Option<Waker>,
    pace: Pace,
}

/// Whether all that Ollama had written has been taken since the last look.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Behind,
    CaughtUp,
}

/// What a look at a stream found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// It is to be looked at again.
    Streaming,
    /// It is over, or looks after itself.
    Done,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Direct(_) => "Direct",
            Self::Piped(_) => "Piped",
            Self::Over(_) => "Over",
        })
    }
}

impl Reader {
    pub(super) fn new(live: Live) -> Self {
        Self(Some(Box::new(live)))
    }

    /// The next piece; each is waited for within the time that Ollama may be silent.
    ///
    /// # Errors
    /// How the answer ended.
    pub async fn next(&mut self) -> Result<Bytes, PipeEnd> {
        let Some(live) = &mut self.0 else { return Err(PipeEnd::Clean) };
        // What is there already needs no deadline.
        let there = poll_fn(|cx| Poll::Ready(live.poll_piece(cx))).await;
        let within = live.rest.bounds.idle;
        let end = match there {
            Poll::Ready(came) => Ok(came),
            Poll::Pending => tokio::time::timeout(within, poll_fn(|cx| live.poll_piece(cx))).await,
        };
        let end = match end {
            Ok(Ok(piece)) => return Ok(piece),
            Ok(Err(end)) => end,
            Err(_) => PipeEnd::Silent,
        };
        if let Some(live) = self.0.take() {
            match end {
                PipeEnd::Clean => live.keep(),
                PipeEnd::Silent | PipeEnd::Stalled => live.abandon(),
                PipeEnd::Broken => {} // there is nothing left to read
            }
        }
        Err(end)
    }

    /// What comes of the first bytes within a time.
    pub async fn beginning(&mut self, bytes: usize, within: Duration) -> Vec<u8> {
        let mut read = Vec::new();
        let reading = async {
            while let Ok(piece) = self.next().await {
                read.extend_from_slice(&piece);
                if read.len() > bytes {
                    break;
                }
            }
        };
        drop(tokio::time::timeout(within, reading).await);
        read
    }

    /// The answer is over, whatever still comes: the connection is good for another one.
    pub fn finish(mut self) {
        if let Some(live) = self.0.take() {
            live.finish();
        }
    }

    /// As a stream.
    #[must_use]
    pub fn into_stream(mut self) -> StreamReader {
        let Some(live) = self.0.take() else { return StreamReader(Arc::new(Source::over(PipeEnd::Clean))) };
        let upstream = Arc::clone(&live.rest.upstream);
        let direct = Direct { live: *live, last_piece: Instant::now(), waiting: None, pace: Pace::CaughtUp };
        let source = Arc::new(Source(Mutex::new(State::Direct(Box::new(direct)))));
        upstream.attend(&source);
        StreamReader(source)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        if let Some(live) = self.0.take() {
            live.abandon();
        }
    }
}

impl StreamReader {
    /// The next piece, or how it ended.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, PipeEnd>> {
        self.0.poll_next(cx)
    }

    /// The stream is over, whatever still comes: the connection is good for another one.
    pub fn finish(self) {
        match self.0.end(PipeEnd::Clean) {
            State::Direct(direct) => direct.live.finish(),
            State::Piped(piped) => piped.finish(),
            State::Over(_) => {}
        }
    }
}

impl Drop for StreamReader {
    fn drop(&mut self) {
        match self.0.end(PipeEnd::Clean) {
            State::Direct(direct) => direct.live.abandon(),
            State::Piped(_) | State::Over(_) => {} // the task that fills it sees that nobody takes from it
        }
    }
}

impl Source {
    const fn over(end: PipeEnd) -> Self {
        Self(Mutex::new(State::Over(end)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self, end: PipeEnd) -> State {
        std::mem::replace(&mut *self.state(), State::Over(end))
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<Bytes, PipeEnd>> {
        let mut state = self.state();
        let ended = match &mut *state {
            State::Over(end) => return Poll::Ready(Err(*end)),
            State::Piped(piped) => return piped.poll_next(cx),
            State::Direct(direct) => match direct.live.poll_piece(cx) {
                Poll::Ready(Ok(piece)) => {
                    (direct.last_piece, direct.waiting) = (Instant::now(), None);
                    return Poll::Ready(Ok(piece));
                }
                Poll::Ready(Err(end)) => end,
                Poll::Pending => {
                    direct.wait(cx.waker());
                    return Poll::Pending;
                }
            },
        };
        let was = std::mem::replace(&mut *state, State::Over(ended));
        drop(state);
        if let (State::Direct(direct), PipeEnd::Clean) = (was, ended) {
            direct.live.keep();
        }
        Poll::Ready(Err(ended))
    }

    /// Ends what Ollama has been silent on for too long, and takes over what a client does not take.
    pub(super) fn look(&self, now: Instant) -> Looked {
        let mut state = self.state();
        let State::Direct(direct) = &mut *state else { return Looked::Done };
        if let Some(waker) = &direct.waiting {
            if now.saturating_duration_since(direct.last_piece) < direct.live.rest.bounds.idle {
                return Looked::Streaming;
            }
            let waker = waker.clone();
            if let State::Direct(direct) = std::mem::replace(&mut *state, State::Over(PipeEnd::Silent)) {
                direct.live.abandon();
            }
            waker.wake();
            return Looked::Done;
        }
        if std::mem::replace(&mut direct.pace, Pace::Behind) == Pace::CaughtUp {
            return Looked::Streaming;
        }
        let (writer, piped) = pipe(direct.live.rest.bounds.buffer);
        if let State::Direct(direct) = std::mem::replace(&mut *state, State::Piped(piped)) {
            let runtime = direct.live.connection.runtime().clone();
            runtime.spawn(pump(direct.live, writer));
        }
        Looked::Done
    }
}

impl Direct {
    fn wait(&mut self, waker: &Waker) {
        self.pace = Pace::CaughtUp;
        if !self.waiting.as_ref().is_some_and(|waiting| waiting.will_wake(waker)) {
            self.waiting = Some(waker.clone());
        }
    }
}
