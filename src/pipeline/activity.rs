//! What happens on one connection, as far as its deadlines need to know.
//!
//! Guarantees: a connection with nothing in flight is known to be idle since when; an answer whose bytes wait for a
//! client that does not take them is known to wait since when, on HTTP/2 too, where a window of zero stops one stream and
//! not the socket. Answers `threats.md` §4.3 (window-0 slow read), §4.4.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// One connection's requests.
#[derive(Debug)]
pub struct Activity {
    opened: Instant,
    in_flight: AtomicUsize,
    begun: AtomicUsize,
    last_change: AtomicU64,
    last_write: AtomicU64,
    multiplexed: AtomicBool,
    listening: AtomicBool,
    uploads: AtomicUsize,
    answers: Mutex<Vec<Weak<Waiting>>>,
}

/// A request in flight, as long as this lives.
#[derive(Debug)]
pub struct InFlight(Arc<Activity>);

/// A body that is passed on, as long as this lives.
#[derive(Debug)]
pub struct Uploading(Arc<Activity>);

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.uploads.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a connection of HTTP/1.1 does with its socket while a request is in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It waits for bytes, and so sees their end.
    Listens,
    /// It holds bytes that it has no use for yet, and does not look.
    Holds,
}

/// An answer whose bytes may wait for the client.
#[derive(Debug)]
pub struct Waiting {
    opened: Instant,
    /// Milliseconds after `opened`; 0: nothing waits.
    since: AtomicU64,
}

fn millis_since(opened: Instant) -> u64 {
    u64::try_from(opened.elapsed().as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Waiting {
    /// The client took bytes; more may wait.
    pub fn taken(&self) {
        self.since.store(millis_since(self.opened), Ordering::Release);
    }

    /// Everything has been taken.
    pub fn nothing_waits(&self) {
        self.since.store(0, Ordering::Release);
    }

    fn waits_for(&self) -> Duration {
        match self.since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => Duration::from_millis(millis_since(self.opened).saturating_sub(since)),
        }
    }
}

impl Activity {
    /// Of a connection that opens now.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            in_flight: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            last_change: AtomicU64::new(0),
            last_write: AtomicU64::new(0),
            multiplexed: AtomicBool::new(false),
            listening: AtomicBool::new(false),
            uploads: AtomicUsize::new(0),
            answers: Mutex::default(),
        })
    }

    /// A request begins.
    #[must_use]
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::AcqRel);
        self.begun.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(self))
    }

    /// An answer begins to wait for the client.
    #[must_use]
    pub fn watch(&self) -> Arc<Waiting> {
        let waiting = Arc::new(Waiting { opened: self.opened, since: AtomicU64::new(millis_since(self.opened)) });
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.retain(|answer| answer.strong_count() > 0);
        answers.push(Arc::downgrade(&waiting));
        waiting
    }

    /// Whether a request is in flight.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    /// What the connection does with its socket.
    pub fn note_reading(&self, reading: Reading) {
        self.listening.store(reading == Reading::Listens, Ordering::Release);
    }

    /// Whether a client that leaves is not seen: more was sent than is wanted yet.
    #[must_use]
    pub fn is_deaf(&self) -> bool {
        self.is_busy() && !self.listening.load(Ordering::Acquire) && self.uploads.load(Ordering::Acquire) == 0
    }

    /// A body that is passed on begins: it is read no faster than Ollama takes it.
    #[must_use]
    pub fn upload(self: &Arc<Self>) -> Uploading {
        self.uploads.fetch_add(1, Ordering::AcqRel);
        Uploading(Arc::clone(self))
    }

    /// Requests share the connection from now on (HTTP/2): bytes between them say nothing about a request.
    pub fn multiplex(&self) {
        self.multiplexed.store(true, Ordering::Release);
    }

    /// Whether requests share the connection.
    #[must_use]
    pub fn is_multiplexed(&self) -> bool {
        self.multiplexed.load(Ordering::Acquire)
    }

    /// Requests begun so far.
    #[must_use]
    pub fn begun(&self) -> usize {
        self.begun.load(Ordering::Acquire)
    }

    /// How long nothing has been in flight.
    #[must_use]
    pub fn idle_for(&self) -> Duration {
        if self.is_busy() {
            return Duration::ZERO;
        }
        let last = self.last_change.load(Ordering::Acquire);
        Duration::from_millis(millis_since(self.opened).saturating_sub(last))
    }

    /// The socket took bytes.
    pub fn wrote(&self) {
        self.last_write.store(millis_since(self.opened), Ordering::Release);
    }

    /// How long the socket has taken no bytes: an answer that is over may still be on its way.
    #[must_use]
    pub fn unwritten_for(&self) -> Duration {
        let last = self.last_write.load(Ordering::Acquire);
        Duration::from_millis(millis_since(self.opened).saturating_sub(last))
    }

    /// How long the longest-waiting answer has waited for the client.
    #[must_use]
    pub fn stalled_for(&self) -> Duration {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().filter_map(Weak::upgrade).map(|answer| answer.waits_for()).max().unwrap_or_default()
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.last_change.store(millis_since(self.0.opened), Ordering::Release);
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
