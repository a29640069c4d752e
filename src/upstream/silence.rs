//! How long a model has said nothing, to none of those who wait for it.
//!
//! Guarantees: a model is silent only while everything that is in flight on it still waits for its first byte; any byte
//! ends the silence; those who stop waiting do not. Memory is what is in flight, and what was silent when it ended.
//! Answers `threats.md` §0.5, `ollama-facts.md` (g). Time is passed in.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All models that something waits for.
#[derive(Debug, Clone, Default)]
pub struct Models(Arc<Mutex<HashMap<Arc<str>, Model>>>);

#[derive(Debug)]
struct Model {
    in_flight: usize,
    silent: usize,
    /// When the silence of now began or went on.
    since: Instant,
    /// What there was of it before.
    before: Duration,
    /// Unloads since it last said something, and when the next one may be.
    unloads: u32,
    not_before: Option<Instant>,
}

/// One request in flight on a model.
#[derive(Debug)]
pub struct OnModel {
    models: Models,
    name: Arc<str>,
    heard: Mutex<bool>,
}

/// Silent models that are remembered though nobody waits.
const KEPT: usize = 1024;

impl Models {
    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Model>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request is sent.
    #[must_use]
    pub fn begin(&self, name: &str, now: Instant) -> OnModel {
        let name: Arc<str> = Arc::from(name);
        let mut models = self.lock();
        if models.len() > KEPT {
            models.retain(|_, model| model.in_flight > 0);
        }
        let model = models.entry(Arc::clone(&name)).or_insert_with(|| Model::new(now));
        if model.in_flight == 0 {
            model.since = now;
        }
        model.in_flight = model.in_flight.saturating_add(1);
        model.silent = model.silent.saturating_add(1);
        drop(models);
        OnModel { models: self.clone(), name, heard: Mutex::new(false) }
    }
}

impl Model {
    const fn new(now: Instant) -> Self {
        Self { in_flight: 0, silent: 0, since: now, before: Duration::ZERO, unloads: 0, not_before: None }
    }

    fn silence(&self, now: Instant) -> Duration {
        if self.silent == 0 || self.silent < self.in_flight {
            return Duration::ZERO;
        }
        self.before.saturating_add(now.saturating_duration_since(self.since))
    }
}

impl OnModel {
    /// The first byte is there.
    pub fn heard(&self, now: Instant) {
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::replace(&mut *heard, true) {
            return;
        }
        if let Some(model) = self.models.lock().get_mut(&self.name) {
            model.silent = model.silent.saturating_sub(1);
            (model.since, model.before, model.unloads, model.not_before) = (now, Duration::ZERO, 0, None);
        }
    }

    /// Whether the model is to be unloaded now: it has been silent for `after`, and nobody else is told so. The next time
    /// is twice as far away, and so on.
    #[must_use]
    pub fn claim_unload(&self, after: Duration, now: Instant) -> bool {
        let mut models = self.models.lock();
        let Some(model) = models.get_mut(&self.name) else { return false };
        if model.silence(now) < after || model.not_before.is_some_and(|at| now < at) {
            return false;
        }
        model.unloads = model.unloads.saturating_add(1);
        model.not_before = now.checked_add(after.saturating_mul(2_u32.saturating_pow(model.unloads.min(6))));
        true
    }
}

impl Drop for OnModel {
    fn drop(&mut self) {
        let heard = *self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut models = self.models.lock();
        let Some(model) = models.get_mut(&self.name) else { return };
        let now = Instant::now();
        let silence = model.silence(now);
        model.in_flight = model.in_flight.saturating_sub(1);
        if heard {
            model.since = model.since.max(now); // what it said last
        } else {
            model.silent = model.silent.saturating_sub(1);
        }
        if model.in_flight == 0 {
            (model.before, model.since) = (silence, now);
            if silence.is_zero() {
                models.remove(&self.name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(60);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_model_is_silent_only_while_all_wait() {
        let (models, start) = (Models::default(), Instant::now());
        let (first, second) = (models.begin("m", start), models.begin("m", start));
        let other = models.begin("other", start);
        assert!(!first.claim_unload(AFTER, at(start, 59)));
        first.heard(at(start, 30)); // it streams now
        assert!(!second.claim_unload(AFTER, at(start, 3600)));
        assert!(other.claim_unload(AFTER, at(start, 60)));
        drop(first);
        assert!(second.claim_unload(AFTER, at(start, 3600)));
    }

    #[test]
    fn unloads_come_ever_later_until_it_speaks() {
        let (models, start) = (Models::default(), Instant::now());
        let (waits, too) = (models.begin("m", start), models.begin("m", start));
        let claimed: Vec<u64> = (0..1000)
            .filter(|s| waits.claim_unload(AFTER, at(start, *s)) | too.claim_unload(AFTER, at(start, *s)))
            .collect();
        assert_eq!(claimed, [60, 180, 420, 900]);
        waits.heard(at(start, 1000));
        drop(waits);
        assert!(!too.claim_unload(AFTER, at(start, 1010)));
    }

    #[test]
    fn those_who_give_up_do_not_end_a_silence_and_pauses_are_none() {
        let (models, start) = (Models::default(), Instant::now());
        let gone = models.begin("m", start.checked_sub(Duration::from_secs(50)).unwrap());
        drop(gone);
        let waits = models.begin("m", at(start, 10_000));
        assert!(!waits.claim_unload(AFTER, at(start, 10_005)));
        assert!(waits.claim_unload(AFTER, at(start, 10_011)));
    }
}
