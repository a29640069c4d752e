//! What one call has taken of its budgets.
//!
//! Guarantees: dropped, in whatever state, it is settled: with nothing for a call that was never sent, otherwise with what
//! Ollama said it cost, or else with an estimate that is no more than was seen. Answers `threats.md` §6.2 LLM10.

use super::ledger::{Account, Amounts, Ledger, Taken, UsedUp};
use crate::config::types::{Budget, Resource};
use std::time::{Duration, Instant};

/// What one call has taken; dropping it settles.
#[derive(Debug)]
#[must_use = "a dropped reservation is settled"]
pub struct Reservation {
    ledger: Ledger,
    taken: Vec<Taken>,
    prompt: u64,
    used: Amounts,
    sent: Option<Instant>,
}

/// What a call will need, as far as one can tell.
#[derive(Debug, Clone, Copy)]
pub struct Need {
    /// Tokens of the prompt, estimated.
    pub prompt: u64,
    /// Tokens of the answer at most.
    pub answer: u64,
    /// Whether an answer may be cut where the budget ends.
    pub cut: Cut,
    /// Ollama's time, from what calls took lately.
    pub time: Duration,
}

/// Whether an answer may be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A stream: what is left is enough to begin.
    Possible,
    /// One value: all of it has to fit.
    Impossible,
}

/// What an answer has cost so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cost {
    /// Tokens of the prompt, where Ollama said so.
    pub prompt: Option<u64>,
    /// Tokens of the answer, where Ollama said so; otherwise what was seen of them.
    pub answer: u64,
    /// Ollama's time, where it said so; otherwise it is measured.
    pub time: Option<Duration>,
}

/// How much of Ollama's time is taken at once when a call takes longer than was thought.
const SLICE_MS: u64 = 5_000;

impl Reservation {
    /// Takes what a call needs of all these budgets.
    ///
    /// # Errors
    /// One is used up.
    pub fn make(ledger: &Ledger, budgets: &[(Account, Budget)], need: &Need, now: u64) -> Result<Self, UsedUp> {
        let all = need.prompt.saturating_add(need.answer);
        let tokens = match need.cut {
            Cut::Possible => need.prompt.saturating_add(1).min(all),
            Cut::Impossible => all,
        };
        let least = Amounts { tokens, requests: 1, gpu_ms: 1 };
        let most = Amounts { tokens: all, requests: 1, gpu_ms: millis(need.time).max(1) };
        let taken = ledger.take(budgets, (least, most), now)?;
        let used = Amounts::default();
        Ok(Self { ledger: ledger.clone(), taken, prompt: need.prompt, used, sent: None })
    }

    /// The call is sent: from now on it costs at least its prompt, and Ollama's time.
    pub fn sent(&mut self) {
        self.sent = Some(Instant::now());
        self.used = Amounts { tokens: self.prompt, requests: 1, gpu_ms: 0 };
    }

    /// Ollama did not take the call: it costs the time that this took.
    pub const fn refused(&mut self) {
        self.used = Amounts { tokens: 0, requests: 0, gpu_ms: 0 };
    }

    /// Notes what the call has cost so far.
    ///
    /// # Errors
    /// A budget ends here.
    pub fn spend(&mut self, cost: &Cost, now: u64) -> Result<(), UsedUp> {
        let tokens = cost.prompt.unwrap_or(self.prompt).saturating_add(cost.answer);
        self.used = Amounts { tokens, requests: 1, gpu_ms: cost.time.map_or_else(|| self.elapsed(), millis) };
        for taken in &mut self.taken {
            match taken.resource {
                Resource::Requests => {}
                // Ollama itself stops at the answer's bound; here is only what it does not know of.
                Resource::Tokens if self.prompt.saturating_add(cost.answer) <= taken.amount => {}
                Resource::Tokens => self.ledger.take_more(taken, 1, now)?,
                Resource::GpuTime if self.used.gpu_ms < taken.amount => {}
                Resource::GpuTime => self.ledger.take_more(taken, SLICE_MS, now)?,
            }
        }
        Ok(())
    }

    fn elapsed(&self) -> u64 {
        self.sent.map_or(0, |sent| millis(sent.elapsed()))
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.used.gpu_ms == 0 {
            self.used.gpu_ms = self.elapsed();
        }
        for taken in &self.taken {
            self.ledger.settle(taken, self.used.of(taken.resource));
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
