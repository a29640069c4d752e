//! Looks at the streams that are read by their own clients' tasks.
//!
//! Guarantees: a stream is looked at ten times a second, by one task for all of them, which ends when there are none.

use super::pool::Upstream;
use super::reader::{Looked, Source};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How often a stream is looked at: a client that does not keep up is found out within two looks.
const EVERY: Duration = Duration::from_millis(100);

/// The streams.
#[derive(Debug, Default)]
pub(super) struct Streams(Mutex<Vec<Weak<Source>>>);

impl Streams {
    /// Whether it is the first one: nobody looks yet.
    fn add(&self, source: &Arc<Source>) -> bool {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.push(Arc::downgrade(source));
        streams.len() == 1
    }

    /// Whether there are some left.
    fn look(&self, now: Instant) -> bool {
        let mut streams = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        streams.retain(|source| source.upgrade().is_some_and(|source| source.look(now) == Looked::Streaming));
        !streams.is_empty()
    }
}

impl Upstream {
    /// Looks at this one from now on.
    pub(super) fn attend(self: &Arc<Self>, source: &Arc<Source>) {
        if self.streams.add(source) {
            let this = Arc::clone(self);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(EVERY).await;
                    if !this.streams.look(Instant::now()) {
                        return;
                    }
                }
            });
        }
    }
}
