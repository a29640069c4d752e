//! Budgets: how much in how long.
//!
//! Guarantees: an amount is not zero.

use std::num::NonZeroU64;

/// One budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Of what.
    pub resource: Resource,
    /// How much: tokens, calls, or milliseconds of Ollama's time.
    pub amount: NonZeroU64,
    /// In how long.
    pub period: Period,
}

/// What is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Resource {
    /// Tokens, of prompts and answers.
    Tokens,
    /// Calls that run a model.
    Requests,
    /// Ollama's time, in milliseconds.
    GpuTime,
}

impl Resource {
    /// Its key in the configuration, and its name in the store and the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Requests => "requests",
            Self::GpuTime => "gpu_seconds",
        }
    }
}

/// How long a budget lasts. Each period begins at a whole one of UTC: a day at midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Period {
    /// 60 seconds
    Minute,
    /// 60 minutes
    Hour,
    /// 24 hours
    Day,
}

impl Period {
    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// How long it is.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3_600,
            Self::Day => 86_400,
        }
    }
}
