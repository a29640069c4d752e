//! Numbers by label, in several shares: threads that count at the same time do not wait for each other.
//!
//! Guarantees: what was counted on any thread is in what [`Shares::each`] shows. A label is found by where it lies in the
//! program and not by its letters, so that one that lies there twice has two numbers, for the reader to add up; there are
//! no more of them than the program has places that count.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Shares: more than most machines have threads that carry connections.
const COUNT: usize = 8;

type Labelled<const LABELS: usize, T> = ([&'static str; LABELS], T);

/// The numbers of an instrument.
#[derive(Debug)]
pub(super) struct Shares<const LABELS: usize, T>([Share<LABELS, T>; COUNT]);

/// Those of some threads, apart from the others in memory, so that processors do not take it from each other.
#[derive(Debug)]
#[repr(align(128))]
struct Share<const LABELS: usize, T>(Mutex<Vec<Labelled<LABELS, T>>>);

thread_local! {
    static MINE: Cell<Option<usize>> = const { Cell::new(None) };
}

/// The share of this thread.
fn mine() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    MINE.get().unwrap_or_else(|| {
        let mine = NEXT.fetch_add(1, Ordering::Relaxed);
        MINE.set(Some(mine));
        mine
    })
}

impl<const LABELS: usize, T: Default> Shares<LABELS, T> {
    pub(super) const fn new() -> Self {
        Self([const { Share(Mutex::new(Vec::new())) }; COUNT])
    }

    /// Changes the number of these labels.
    pub(super) fn with(&self, labels: [&'static str; LABELS], change: impl FnOnce(&mut T)) {
        let Some(Share(share)) = self.0.get(mine() % COUNT) else { return };
        let mut share = share.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &[&'static str; LABELS]| known.iter().zip(&labels).all(|(a, b)| std::ptr::eq(*a, *b));
        match share.iter_mut().find(|(known, _)| same(known)) {
            Some((_, number)) => change(number),
            None => {
                let mut number = T::default();
                change(&mut number);
                share.push((labels, number));
            }
        }
    }

    /// Shows every number; the same labels may come several times.
    pub(super) fn each(&self, mut show: impl FnMut([&'static str; LABELS], &T)) {
        for Share(share) in &self.0 {
            let share = share.lock().unwrap_or_else(PoisonError::into_inner);
            share.iter().for_each(|(labels, number)| show(*labels, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_any_thread_counts_is_there() {
        let shares = Shares::<1, u64>::new();
        std::thread::scope(|scope| {
            for _ in 0..2 * COUNT {
                scope.spawn(|| (0..100).for_each(|_| shares.with(["a"], |number| *number += 1)));
            }
        });
        let mut sum = 0;
        shares.each(|labels, number| {
            assert_eq!(labels, ["a"]);
            sum += number;
        });
        assert_eq!(sum, 200 * COUNT as u64);
    }
}
