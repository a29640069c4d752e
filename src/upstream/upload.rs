//! A request body that is passed on while it comes, and the least rate that every body must keep.
//!
//! Guarantees: a body of any size takes constant memory and no file; one that stalls for the grace, or is slower than
//! the least rate after it, is cut; one of many hours at a fair rate passes (`field.md` D 13, E 15–17).
//! Answers `threats.md` §4.4 (slow bodies).

use crate::http1::incoming::Incoming;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::any::Any;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// The least rate of a body.
#[derive(Debug, Clone, Copy)]
pub struct MinimumRate {
    /// Bytes a second.
    pub rate: u64,
    /// How long a body may be slower at its start, and how long any gap may be.
    pub grace: Duration,
}

impl MinimumRate {
    /// Whether so many bytes after so long are too few.
    #[must_use]
    pub fn is_missed(self, received: u64, elapsed: Duration) -> bool {
        let counted = elapsed.saturating_sub(self.grace).as_secs();
        received < self.rate.saturating_mul(counted)
    }
}

/// One body as it comes, and the rate that it must keep. Its timer is set when it goes off, not with each piece.
#[derive(Debug)]
pub(crate) struct Pace {
    minimum: MinimumRate,
    started: Instant,
    next_by: Instant,
    timer: Option<Pin<Box<Sleep>>>,
}

/// Whether a body keeps its rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    Yes,
    No,
}

impl Pace {
    pub(crate) fn new(minimum: MinimumRate) -> Self {
        let started = Instant::now();
        Self { minimum, started, next_by: started + minimum.grace, timer: None }
    }

    /// More has come, now, and so many bytes in all.
    pub(crate) fn took(&mut self, received: u64, now: Instant) -> Kept {
        self.next_by = now + self.minimum.grace;
        if self.minimum.is_missed(received, self.age(now)) { Kept::No } else { Kept::Yes }
    }

    /// How long it has been coming.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        now - self.started
    }

    /// While nothing comes: ready when that has lasted too long.
    pub(crate) fn poll_gap(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(self.next_by)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= self.next_by {
                return Poll::Ready(());
            }
            timer.as_mut().reset(self.next_by);
        }
    }
}

/// Why an upload did not reach its end: the client's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UploadFailure {
    /// Below the least rate.
    TooSlow,
    /// It broke off.
    Incomplete,
}

/// How far an upload is, for those who wait for its answer.
#[derive(Debug)]
pub struct Progress {
    grace: Duration,
    failure: OnceLock<UploadFailure>,
    received: AtomicU64,
    last: Mutex<Instant>,
}

impl Progress {
    /// Whether nothing of it has come for so long, nor for as long as its client may pause: it is over, or Ollama takes no
    /// more of it.
    #[must_use]
    pub fn quiet_for(&self, time: Duration) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.elapsed() >= time.max(self.grace)
    }

    /// Why it did not reach its end.
    #[must_use]
    pub fn failure(&self) -> Option<UploadFailure> {
        self.failure.get().copied()
    }

    /// Bytes so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received.load(Ordering::Acquire)
    }

    fn add(&self, bytes: usize, now: Instant) {
        self.received.fetch_add(bytes as u64, Ordering::AcqRel);
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }
}

/// A body on its way through.
#[derive(Debug)]
pub struct Upload {
    body: Incoming,
    pace: Pace,
    progress: Arc<Progress>,
    /// What is kept as long as it is under way.
    _held: Box<dyn Any + Send + Sync>,
}

impl Upload {
    /// Nothing is read before the first poll.
    #[must_use]
    pub fn new(body: Incoming, minimum: MinimumRate, held: Box<dyn Any + Send + Sync>) -> Self {
        let pace = Pace::new(minimum);
        let progress = Progress {
            grace: minimum.grace,
            failure: OnceLock::new(),
            received: AtomicU64::new(0),
            last: Mutex::new(pace.started),
        };
        Self { body, pace, progress: Arc::new(progress), _held: held }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    fn failed(&self, failure: UploadFailure, error: io::Error) -> io::Error {
        self.progress.failure.get_or_init(|| failure);
        error
    }

    fn took(&mut self, data: &Bytes) -> io::Result<()> {
        let now = Instant::now();
        self.progress.add(data.len(), now);
        match self.pace.took(self.progress.received(), now) {
            Kept::Yes => Ok(()),
            Kept::No => Err(self.failed(UploadFailure::TooSlow, too_slow())),
        }
    }
}

fn too_slow() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the upload is slower than the least rate")
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let this = self.get_mut();
        loop {
            match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue };
                    return Poll::Ready(Some(this.took(&data).map(|()| Frame::data(data))));
                }
                Poll::Ready(Some(Err(error))) => {
                    let error = this.failed(UploadFailure::Incomplete, error);
                    return Poll::Ready(Some(Err(error)));
                }
                Poll::Ready(None) => {
                    this.progress.add(0, Instant::now());
                    return Poll::Ready(None);
                }
                Poll::Pending => {
                    ready!(this.pace.poll_gap(cx));
                    return Poll::Ready(Some(Err(this.failed(UploadFailure::TooSlow, too_slow()))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_rate_counts_after_the_grace() {
        let minimum = MinimumRate { rate: 1000, grace: Duration::from_secs(5) };
        assert!(!minimum.is_missed(0, Duration::from_secs(5)));
        assert!(minimum.is_missed(999, Duration::from_secs(6)));
        assert!(!minimum.is_missed(1000, Duration::from_secs(6)));
        assert!(!minimum.is_missed(7_200_000_000, Duration::from_secs(7200)));
    }

    /// On a virtual clock: fourteen hours of a second each, and beside it one that brings a byte in each of them.
    #[test]
    fn fifty_gigabytes_at_a_fair_rate_pass_and_a_byte_a_second_is_cut() {
        let minimum = MinimumRate { rate: 1024, grace: Duration::from_secs(10) };
        let (mut fair, mut drip, mut cut_at) = (0, 0, None);
        for second in 1..=50_000 {
            let elapsed = Duration::from_secs(second);
            (fair, drip) = (fair + 1_000_000, drip + 1);
            assert!(!minimum.is_missed(fair, elapsed), "after {fair} bytes");
            cut_at = cut_at.or_else(|| minimum.is_missed(drip, elapsed).then_some(second));
        }
        assert_eq!((fair, cut_at), (50_000_000_000, Some(11)));
    }
}
