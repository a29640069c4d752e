//! The queue in front of Ollama.
//!
//! Guarantees: there is at least one slot.

use std::num::NonZeroU32;
use std::time::Duration;

/// `[queue]`: how many requests run a model at the same time, and how the others wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Queue {
    /// Requests that Ollama has at the same time.
    pub slots: usize,
    /// Requests that wait for a slot.
    pub length: usize,
    /// The longest wait.
    pub wait: Duration,
    /// How often Ollama may be made to load another model; `None`: as often as callers like.
    pub switches: Option<ModelSwitches>,
}

/// `model_switches_per_minute` and `loaded_models`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelSwitches {
    /// Switches within a minute.
    pub per_minute: NonZeroU32,
    /// Models that fit in memory at the same time. Not 0.
    pub loaded: usize,
}

impl ModelSwitches {
    /// The time between two of them: rounded up, so that no minute has room for one more.
    #[must_use]
    pub fn every(&self) -> Duration {
        Duration::from_nanos(60_000_000_000_u64.div_ceil(u64::from(self.per_minute.get())))
    }
}
