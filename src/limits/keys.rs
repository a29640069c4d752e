//! The map behind a limiter: one arrival time a subject, with a cap.
//!
//! Guarantees: it never holds more principals than the cap, nor more addresses; the two are counted apart, so a flood of
//! addresses keeps no key's owner out. A subject there is no room for is refused (fail closed), the ones there go on.
//! Answers `threats.md` §5 and governor's own map, which grows without end.

use super::address::Subject;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The arrival time that a subject without a place is measured with: 292 years ahead, so the formula itself refuses it,
/// whatever the rate (`bucket` keeps every burst below half of it).
pub(super) const NO_ROOM: u64 = 1 << 63;

/// Arrival times (GCRA's TAT, in nanoseconds since the limiter's start; 0 is none) by subject.
#[derive(Debug)]
pub(super) struct CappedKeys {
    arrivals: DashMap<Subject, AtomicU64>,
    principals: Places,
    addresses: Places,
}

impl CappedKeys {
    pub(super) fn new(cap: usize) -> Self {
        Self { arrivals: DashMap::new(), principals: Places::new(cap), addresses: Places::new(cap) }
    }

    /// Its arrival time: 0 for a subject that is not there, [`NO_ROOM`] where it could not be either.
    pub(super) fn arrival(&self, subject: &Subject) -> u64 {
        match self.arrivals.get(subject) {
            Some(arrival) => arrival.load(Ordering::Acquire),
            None if self.places(subject).are_taken() => NO_ROOM,
            None => 0,
        }
    }

    fn places(&self, subject: &Subject) -> &Places {
        match subject {
            Subject::Principal(_) => &self.principals,
            Subject::Address(_) => &self.addresses,
        }
    }
}

impl StateStore for CappedKeys {
    type Key = Subject;

    fn measure_and_replace<T, F, E>(&self, subject: &Subject, f: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        if let Some(arrival) = self.arrivals.get(subject) {
            return replace(&arrival, f);
        }
        // The entry holds its shard's lock, so one subject takes one place.
        match self.arrivals.entry(subject.clone()) {
            Entry::Occupied(there) => replace(there.get(), f),
            Entry::Vacant(free) if self.places(subject).take() => replace(&free.insert(AtomicU64::new(0)), f),
            Entry::Vacant(_) => f(Some(Nanos::new(NO_ROOM))).map(|(value, _)| value),
        }
    }
}

impl ShrinkableKeyedStateStore<Subject> for CappedKeys {
    fn retain_recent(&self, drop_below: Nanos) {
        self.arrivals.retain(|subject, arrival| {
            let recent = *arrival.get_mut() > drop_below.as_u64();
            if !recent {
                self.places(subject).give_back();
            }
            recent
        });
    }

    fn shrink_to_fit(&self) {
        self.arrivals.shrink_to_fit();
    }

    fn len(&self) -> usize {
        self.arrivals.len()
    }

    fn is_empty(&self) -> bool {
        self.arrivals.is_empty()
    }
}

/// Compare-and-swap until `f` refuses or its answer stands.
fn replace<T, F, E>(arrival: &AtomicU64, f: F) -> Result<T, E>
where
    F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
{
    let mut before = arrival.load(Ordering::Acquire);
    loop {
        let (value, after) = f((before != 0).then(|| Nanos::new(before)))?;
        match arrival.compare_exchange_weak(before, after.as_u64(), Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Ok(value),
            Err(now) => before = now,
        }
    }
}

/// How many places are taken, of how many.
#[derive(Debug)]
struct Places {
    taken: AtomicUsize,
    cap: usize,
}

impl Places {
    const fn new(cap: usize) -> Self {
        Self { taken: AtomicUsize::new(0), cap }
    }

    fn take(&self) -> bool {
        let one_more = |taken: usize| taken.checked_add(1).filter(|after| *after <= self.cap);
        self.taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    fn give_back(&self) {
        self.taken.fetch_sub(1, Ordering::AcqRel);
    }

    fn are_taken(&self) -> bool {
        self.taken.load(Ordering::Acquire) >= self.cap
    }
}

/// When a full map may be swept again. A sweep touches every key, so a flood of new subjects causes one a second, no
/// more.
#[derive(Debug, Default)]
pub(super) struct SweepSpacing(AtomicU64);

impl SweepSpacing {
    const NS: u64 = 1_000_000_000;

    /// Whether the caller is the one to sweep now.
    pub(super) fn allows(&self, now_ns: u64) -> bool {
        let due = self.0.load(Ordering::Acquire);
        let next = now_ns.saturating_add(Self::NS);
        now_ns >= due && self.0.compare_exchange(due, next, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}
