//! How long a model has said nothing, to none of those who wait for it.
//!
//! Guarantees: a model is silent only while everything that is in flight on it still waits for its first byte; any byte
//! ends the silence; those who stop waiting do not. An answer that is no stream says nothing until its end, so while one is
//! awaited a model may be silent for as long as such an answer may take; and silence of both kinds adds up, each by its own
//! measure. Memory is what is in flight, and what was silent when it ended.
//! Answers `threats.md` §0.5, `ollama-facts.md` (g). Time is passed in.

use crate::ollama::call::AnswerShape;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// All models that something waits for.
#[derive(Debug, Clone, Default)]
pub struct Models(Arc<Mutex<HashMap<Arc<str>, Model>>>);

/// For how long a model may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// To those who wait for the first byte of a stream.
    pub stream: Duration,
    /// To those who wait for an answer that comes in one piece.
    pub whole: Duration,
}

impl Patience {
    /// How much of itself a second of silence counts.
    fn weight(self, answers: usize) -> f64 {
        if answers == 0 || self.whole <= self.stream {
            return 1.0;
        }
        self.stream.as_secs_f64() / self.whole.as_secs_f64()
    }
}

#[derive(Debug)]
struct Model {
    patience: Patience,
    in_flight: usize,
    silent: usize,
    /// Those of the silent ones that want an answer in one piece.
    whole: usize,
    /// When the silence of now began or went on.
    since: Instant,
    /// What there was of it before, as seconds of a stream's.
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
    shape: AnswerShape,
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
    pub fn begin(&self, name: &str, (shape, patience): (AnswerShape, Patience), now: Instant) -> OnModel {
        let name: Arc<str> = Arc::from(name);
        let mut models = self.lock();
        if models.len() > KEPT {
            models.retain(|_, model| model.in_flight > 0);
        }
        let model = models.entry(Arc::clone(&name)).or_insert_with(|| Model::new(patience, now));
        model.settle(now);
        model.patience = patience;
        model.in_flight = model.in_flight.saturating_add(1);
        model.silent = model.silent.saturating_add(1);
        model.whole = model.whole.saturating_add(pieces(shape));
        drop(models);
        OnModel { models: self.clone(), name, shape, heard: Mutex::new(false) }
    }
}

/// How many of those who want their answer in one piece one is.
const fn pieces(shape: AnswerShape) -> usize {
    match shape {
        AnswerShape::Whole => 1,
        AnswerShape::Stream => 0,
    }
}

impl Model {
    const fn new(patience: Patience, since: Instant) -> Self {
        let (before, not_before) = (Duration::ZERO, None);
        Self { patience, in_flight: 0, silent: 0, whole: 0, since, before, unloads: 0, not_before }
    }

    /// As seconds of a stream's; between requests it stands still.
    fn silence(&self, now: Instant) -> Duration {
        if self.in_flight == 0 {
            return self.before;
        }
        if self.silent < self.in_flight {
            return Duration::ZERO;
        }
        let more = now.saturating_duration_since(self.since).mul_f64(self.patience.weight(self.whole));
        self.before.saturating_add(more)
    }

    /// What follows is measured otherwise.
    fn settle(&mut self, now: Instant) {
        (self.before, self.since) = (self.silence(now), self.since.max(now));
    }

    /// One no longer waits for its first byte.
    fn waits_less(&mut self, shape: AnswerShape) {
        self.silent = self.silent.saturating_sub(1);
        self.whole = self.whole.saturating_sub(pieces(shape));
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
            model.waits_less(self.shape);
            (model.since, model.before, model.unloads, model.not_before) = (now, Duration::ZERO, 0, None);
        }
    }

    /// Whether the model is to be unloaded now: it has been silent for too long, and nobody else is told so. The next time
    /// is twice as far away, and so on.
    #[must_use]
    pub fn claim_unload(&self, now: Instant) -> bool {
        let mut models = self.models.lock();
        let Some(model) = models.get_mut(&self.name) else { return false };
        let after = model.patience.stream;
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
        model.settle(now);
        model.in_flight = model.in_flight.saturating_sub(1);
        if !heard {
            model.waits_less(self.shape);
        }
        if model.in_flight == 0 && model.before.is_zero() {
            models.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { stream: Duration::from_secs(60), whole: Duration::from_secs(600) };
    const STREAM: (AnswerShape, Patience) = (AnswerShape::Stream, PATIENCE);
    const WHOLE: (AnswerShape, Patience) = (AnswerShape::Whole, PATIENCE);

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_model_is_silent_only_while_all_wait() {
        let (models, start) = (Models::default(), Instant::now());
        let (first, second) = (models.begin("m", STREAM, start), models.begin("m", STREAM, start));
        let other = models.begin("other", STREAM, start);
        assert!(!first.claim_unload(at(start, 59)));
        first.heard(at(start, 30)); // it streams now
        assert!(!second.claim_unload(at(start, 3600)));
        assert!(other.claim_unload(at(start, 60)));
        drop(first);
        assert!(second.claim_unload(at(start, 3600)));
    }

    #[test]
    fn unloads_come_ever_later_until_it_speaks() {
        let (models, start) = (Models::default(), Instant::now());
        let (waits, too) = (models.begin("m", STREAM, start), models.begin("m", STREAM, start));
        let claimed: Vec<u64> =
            (0..1000).filter(|s| waits.claim_unload(at(start, *s)) | too.claim_unload(at(start, *s))).collect();
        assert_eq!(claimed, [60, 180, 420, 900]);
        waits.heard(at(start, 1000));
        drop(waits);
        assert!(!too.claim_unload(at(start, 1010)));
    }

    #[test]
    fn those_who_give_up_do_not_end_a_silence_and_pauses_are_none() {
        let (models, start) = (Models::default(), Instant::now());
        let gone = models.begin("m", STREAM, start.checked_sub(Duration::from_secs(50)).unwrap());
        drop(gone);
        let waits = models.begin("m", STREAM, at(start, 10_000));
        assert!(!waits.claim_unload(at(start, 10_005)));
        assert!(waits.claim_unload(at(start, 10_011)));
    }

    /// Seconds after which one that waits may claim an unload, from `from` on.
    fn first_claim(waits: &OnModel, start: Instant, from: u64) -> Option<u64> {
        (from..from + 2_000).find(|second| waits.claim_unload(at(start, *second)))
    }

    #[test]
    fn an_answer_in_one_piece_may_take_its_own_time() {
        let (models, start) = (Models::default(), Instant::now());
        let whole = models.begin("m", WHOLE, start);
        let behind_it = models.begin("m", STREAM, at(start, 1)); // Ollama may serve one at a time
        assert_eq!(first_claim(&behind_it, start, 1), Some(600));
        whole.heard(at(start, 700));
        assert!(!behind_it.claim_unload(at(start, 700)), "there was a word");
    }

    #[test]
    fn silences_of_both_kinds_add_up_each_by_its_own_measure() {
        let (models, start) = (Models::default(), Instant::now());
        let ago = |seconds| start.checked_sub(Duration::from_secs(seconds)).unwrap();
        drop(models.begin("m", WHOLE, ago(300))); // half of what it may take
        let stream = models.begin("m", STREAM, at(start, 1_000));
        assert!(matches!(first_claim(&stream, start, 1_000), Some(1_029..=1_031)));
        drop(models.begin("n", WHOLE, ago(300)));
        let whole = models.begin("n", WHOLE, at(start, 1_000));
        assert!(matches!(first_claim(&whole, start, 1_000), Some(1_299..=1_301)));
    }
}
