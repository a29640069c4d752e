//! The three kinds of instruments: what only grows, what goes up and down, and how things are distributed.
//!
//! Guarantees: a label is `&'static str`, so no byte of a client or of Ollama can become one, and the number of series
//! has a bound that is known when the program is compiled (`threats.md` §4.5: cardinality); nothing here waits for
//! longer than another thread needs to add a number, and threads that count at the same time seldom wait at all
//! ([`super::shares`]).

use super::shares::Shares;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Counts, one for each combination of labels.
#[derive(Debug)]
pub struct Counters<const LABELS: usize> {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: [&'static str; LABELS],
    counts: Shares<LABELS, u64>,
}

impl<const LABELS: usize> Counters<LABELS> {
    pub(super) const fn new(name: &'static str, help: &'static str, labels: [&'static str; LABELS]) -> Self {
        Self { name, help, labels, counts: Shares::new() }
    }

    /// One more.
    pub fn increment(&self, labels: [&'static str; LABELS]) {
        self.add(labels, 1);
    }

    /// So many more; none makes the series visible.
    pub fn add(&self, labels: [&'static str; LABELS], more: u64) {
        self.counts.with(labels, |count| *count = count.saturating_add(more));
    }

    /// What was counted so far.
    #[must_use]
    pub fn snapshot(&self) -> Vec<([&'static str; LABELS], u64)> {
        let mut counts = BTreeMap::<_, u64>::new();
        self.counts.each(|labels, count| {
            let sum = counts.entry(labels).or_default();
            *sum = sum.saturating_add(*count);
        });
        counts.into_iter().collect()
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub(super) const fn new(value: i64) -> Self {
        Self(AtomicI64::new(value))
    }

    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// One less.
    pub fn decrement(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    /// This, whatever it was.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// What it is now.
    #[must_use]
    pub fn value(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that only grows and has no labels.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(super) const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// One more.
    pub fn increment(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    /// What was counted so far.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The upper bounds of a histogram's buckets.
pub type Bounds = [f64; 16];

/// In seconds: from an answer of the gateway itself to a long generation.
pub const SECONDS: Bounds =
    [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Of places in a queue: 0 is none.
pub const PLACES: Bounds =
    [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 24.0, 32.0, 48.0, 64.0, 128.0, 256.0, 1024.0];

/// What was observed of one label.
#[derive(Debug, Clone, Copy, Default)]
pub struct Distribution {
    /// How many were at most the bound of the same place.
    pub at_most: [u64; 16],
    /// How many there were.
    pub count: u64,
    /// All of them together.
    pub sum: f64,
}

/// What one thread has observed of it: each bucket by itself, so that there is one number to add to.
#[derive(Debug, Clone, Copy, Default)]
struct Observed {
    buckets: [u64; 16],
    beyond: u64,
    sum: f64,
}

impl Observed {
    fn add(&mut self, number: f64, bounds: &Bounds) {
        let place = bounds.iter().position(|bound| number <= *bound);
        let bucket = place.and_then(|place| self.buckets.get_mut(place)).unwrap_or(&mut self.beyond);
        *bucket = bucket.saturating_add(1);
        self.sum += number;
    }
}

impl Distribution {
    fn add(&mut self, observed: &Observed) {
        let mut below: u64 = 0;
        for (at_most, bucket) in self.at_most.iter_mut().zip(observed.buckets) {
            below = below.saturating_add(bucket);
            *at_most = at_most.saturating_add(below);
        }
        self.count = self.count.saturating_add(below).saturating_add(observed.beyond);
        self.sum += observed.sum;
    }
}

/// Distributions, one for each label.
#[derive(Debug)]
pub struct Histograms {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) label: &'static str,
    pub(super) bounds: Bounds,
    observed: Shares<1, Observed>,
}

impl Histograms {
    pub(super) const fn new(name: &'static str, help: &'static str, label: &'static str, bounds: Bounds) -> Self {
        Self { name, help, label, bounds, observed: Shares::new() }
    }

    /// One more, which took so long.
    pub fn observe(&self, label: &'static str, took: Duration) {
        self.observe_number(label, took.as_secs_f64());
    }

    /// One more, which is no time.
    pub fn observe_number(&self, label: &'static str, number: f64) {
        self.observed.with([label], |observed| observed.add(number, &self.bounds));
    }

    /// What was observed so far.
    #[must_use]
    pub fn snapshot(&self) -> Vec<(&'static str, Distribution)> {
        let mut distributions = BTreeMap::<_, Distribution>::new();
        self.observed.each(|[label], observed| distributions.entry(label).or_default().add(observed));
        distributions.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_kept_by_label_and_do_not_wrap() {
        let counters = Counters::new("c", "help", ["a", "b"]);
        counters.increment(["x", "y"]);
        counters.add(["x", "y"], u64::MAX);
        counters.add(["x", "z"], 0);
        assert_eq!(counters.snapshot(), [(["x", "y"], u64::MAX), (["x", "z"], 0)]);
    }

    #[test]
    fn a_bucket_counts_what_took_at_most_its_bound() {
        let histograms = Histograms::new("h", "help", "class", SECONDS);
        for millis in [5, 6, 700_000] {
            histograms.observe("chat", Duration::from_millis(millis));
        }
        let (label, seen) = histograms.snapshot()[0];
        assert_eq!((label, seen.count), ("chat", 3));
        assert!((seen.sum - 700.011).abs() < 1e-9, "{}", seen.sum);
        assert_eq!((seen.at_most[0], seen.at_most[1], seen.at_most[15]), (1, 2, 2));
        assert!(SECONDS.is_sorted() && PLACES.is_sorted());
    }
}
