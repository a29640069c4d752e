//! Failed authentications, by address: after so many, an address must wait before its next credential is looked at.
//!
//! Guarantees: only failures count, so a client with a good key is never slowed by its own traffic; looking does not
//! count; a flood of failures makes the wait no longer than one full bucket. Answers `threats.md` §5 (20).
//! Does not: stop guesses that are already under way when the bucket empties; their number is the connections'.
//!
//! This is the formula of `governor` on the same map. Its own limiter cannot look without counting.

use super::address::{AddressPrefix, Subject};
use super::bucket::{Bucket, Exceeded};
use super::keys::{CappedKeys, NO_ROOM, SweepSpacing};
use governor::clock::{Clock, Reference};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::ShrinkableKeyedStateStore;
use std::time::Duration;

#[derive(Debug)]
pub(super) struct Failures<C: Clock> {
    bucket: Bucket,
    keys: CappedKeys,
    clock: C,
    start: C::Instant,
    spacing: SweepSpacing,
}

impl<C: Clock> Failures<C> {
    pub(super) fn new(bucket: Bucket, cap: usize, clock: C) -> Self {
        let start = clock.now();
        Self { bucket, keys: CappedKeys::new(cap), clock, start, spacing: SweepSpacing::default() }
    }

    /// Looks whether the address may try, and counts nothing.
    pub(super) fn allowed(&self, address: AddressPrefix) -> Result<(), Exceeded> {
        let subject = Subject::Address(address);
        let mut arrival = self.keys.arrival(&subject);
        if arrival == NO_ROOM && self.spacing.allows(self.elapsed()) {
            self.sweep();
            arrival = self.keys.arrival(&subject);
        }
        let earliest = arrival.saturating_sub(self.bucket.tolerance_ns());
        match earliest.saturating_sub(self.elapsed()) {
            0 => Ok(()),
            _ if arrival == NO_ROOM => Err(self.bucket.exceeded(Duration::ZERO)),
            wait => Err(self.bucket.exceeded(Duration::from_nanos(wait))),
        }
    }

    /// Counts one failure.
    pub(super) fn failed(&self, address: AddressPrefix) {
        let now = self.elapsed();
        let full = now.saturating_add(self.bucket.tolerance_ns()).saturating_add(self.bucket.interval_ns);
        let one_more = |arrival: Option<Nanos>| match arrival.map_or(0, Nanos::as_u64) {
            NO_ROOM => Err(()),
            before => Ok(((), Nanos::new(before.max(now).saturating_add(self.bucket.interval_ns).min(full)))),
        };
        // No room: `allowed` refuses every address that has no place, so nothing is lost by not counting it.
        self.keys.measure_and_replace(&Subject::Address(address), one_more).unwrap_or(());
    }

    /// Forgets the addresses whose failures no longer count; how many are left.
    pub(super) fn sweep(&self) -> usize {
        self.keys.retain_recent(Nanos::new(self.elapsed()));
        ShrinkableKeyedStateStore::shrink_to_fit(&self.keys);
        ShrinkableKeyedStateStore::len(&self.keys)
    }

    fn elapsed(&self) -> u64 {
        self.clock.now().duration_since(self.start).as_u64()
    }
}
