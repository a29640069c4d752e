//! Requests in flight of one subject at the same time.
//!
//! Guarantees: never more permits than the bound given with the request; a permit is given back when it is dropped, and
//! it is meant to ride in the response's body, so a stream counts until its last byte. The map holds only subjects with
//! something in flight. Answers `threats.md` §5 (11). Does not: queue; who finds no permit is told so at once.

use super::address::Subject;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Counts what is in flight, by subject.
#[derive(Debug, Clone, Default)]
pub struct InFlight(Arc<DashMap<Subject, u32>>);

/// The subject has as many in flight as it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many requests in flight")]
pub struct Busy {
    /// How many it may.
    pub limit: NonZeroU32,
}

/// One request in flight; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "a dropped permit counts nothing"]
pub struct Permit {
    counts: Arc<DashMap<Subject, u32>>,
    subject: Subject,
}

impl InFlight {
    /// Nothing is in flight.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a permit. The bound comes with the request (a role's, of the policy that the request began with), so a
    /// reload needs no new counters; `None` counts without a bound.
    ///
    /// # Errors
    /// [`Busy`]
    pub fn acquire(&self, subject: &Subject, limit: Option<NonZeroU32>) -> Result<Permit, Busy> {
        let mut in_flight = self.0.entry(subject.clone()).or_insert(0);
        match limit {
            // A bound is at least 1, so the entry that is full was there before.
            Some(limit) if *in_flight >= limit.get() => Err(Busy { limit }),
            Some(_) | None => {
                *in_flight = in_flight.saturating_add(1);
                Ok(Permit { counts: Arc::clone(&self.0), subject: subject.clone() })
            }
        }
    }

    /// How many this subject has in flight.
    #[must_use]
    pub fn of(&self, subject: &Subject) -> u32 {
        self.0.get(subject).map_or(0, |in_flight| *in_flight)
    }

    /// How many subjects have something in flight.
    #[must_use]
    pub fn subjects(&self) -> usize {
        self.0.len()
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Entry::Occupied(mut there) = self.counts.entry(self.subject.clone()) {
            *there.get_mut() = there.get().saturating_sub(1);
            if *there.get() == 0 {
                there.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::PrincipalId;
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn key(id: &str) -> Subject {
        Subject::Principal(PrincipalId::new(id))
    }

    #[test]
    fn a_bound_is_kept_by_subject_and_a_permit_returns() {
        let (in_flight, two) = (InFlight::new(), NonZeroU32::new(2));
        let held = [in_flight.acquire(&key("a"), two).unwrap(), in_flight.acquire(&key("a"), two).unwrap()];
        assert_eq!(in_flight.acquire(&key("a"), two).unwrap_err().limit.get(), 2);
        drop(in_flight.acquire(&key("b"), two).unwrap());
        drop(held);
        assert_eq!(in_flight.subjects(), 0);
        drop(in_flight.acquire(&key("a"), two).unwrap());
    }

    #[tokio::test]
    async fn a_permit_returns_from_a_task_that_is_cut() {
        let in_flight = InFlight::new();
        let permit = in_flight.acquire(&key("a"), None).unwrap();
        let task = tokio::spawn(async move {
            let _permit = permit;
            std::future::pending::<()>().await;
        });
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
        assert_eq!((in_flight.of(&key("a")), in_flight.subjects()), (0, 0));
    }

    #[test]
    fn threads_never_hold_more_than_the_bound() {
        let (in_flight, now, most) = (InFlight::new(), AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        if let Ok(permit) = in_flight.acquire(&key("a"), NonZeroU32::new(2)) {
                            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            std::thread::yield_now();
                            now.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        }
                    }
                });
            }
        });
        assert!(most.load(Ordering::SeqCst) <= 2);
        assert_eq!(in_flight.subjects(), 0);
    }
}
