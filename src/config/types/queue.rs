//! The queue in front of Ollama.
//!
//! Guarantees: there is at least one slot.

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
}
