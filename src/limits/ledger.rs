//! Who has used how much of which budget: reserved when a call is let through, settled when it is over.
//!
//! Guarantees: what is settled and what is reserved together are never more than a budget when something is let through,
//! in any order of calls; a reservation counts in the period in which it was made; what was spent survives a restart
//! (the rows of [`Ledger::changes`] are written behind the calls and read back at the start; what was reserved when the
//! process died counts as spent). Time is passed in. The number of accounts is bounded, and full means refused.
//! Answers `threats.md` §6.2 LLM10. Does not: know what a token is.

use super::address::Subject;
use crate::config::types::{Budget, Period, Resource};
use crate::store::Spending;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whose budget it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Account {
    /// One caller's.
    Caller(Subject),
    /// All callers' of a role.
    Role(Arc<str>),
}

impl Account {
    /// Its name in the store.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Caller(Subject::Principal(id)) => format!("key:{}", id.as_str()),
            Self::Caller(Subject::Address(prefix)) => format!("address:{prefix}"),
            Self::Role(name) => format!("role:{name}"),
        }
    }
}

/// One budget of one account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Line {
    account: String,
    resource: Resource,
    period: Period,
}

/// How far a line is used, in the period that began at `began`.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    began: u64,
    settled: u64,
    reserved: u64,
    /// What the store knows of this process.
    written: i64,
    /// What others have spent: other gateways, and this one before it was restarted.
    others: u64,
}

impl Tally {
    const fn used(&self) -> u64 {
        self.settled.saturating_add(self.reserved).saturating_add(self.others)
    }
}

/// A budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UsedUp {
    /// Which.
    pub budget: Budget,
    /// Seconds until its next period begins.
    pub retry_after_s: u64,
}

impl fmt::Display for UsedUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (amount, period) = (self.budget.amount.get(), self.budget.period.name());
        match self.budget.resource {
            Resource::Tokens => write!(f, "{amount} tokens per {period}"),
            Resource::Requests => write!(f, "{amount} requests per {period}"),
            Resource::GpuTime => write!(f, "{} seconds of the model server's time per {period}", amount / 1_000),
        }
    }
}

/// What a call needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Tokens.
    pub tokens: u64,
    /// Calls.
    pub requests: u64,
    /// Milliseconds of Ollama's time.
    pub gpu_ms: u64,
}

impl Amounts {
    pub(super) const fn of(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Tokens => self.tokens,
            Resource::Requests => self.requests,
            Resource::GpuTime => self.gpu_ms,
        }
    }

    const fn set(&mut self, resource: Resource, amount: u64) {
        match resource {
            Resource::Tokens => self.tokens = amount,
            Resource::Requests => self.requests = amount,
            Resource::GpuTime => self.gpu_ms = amount,
        }
    }
}

/// What was taken of one line.
#[derive(Debug)]
pub(super) struct Taken {
    line: Line,
    began: u64,
    pub(super) resource: Resource,
    pub(super) budget: Budget,
    pub(super) amount: u64,
    /// How much of it was taken in periods that are over.
    before: u64,
}

/// All budgets of this process. Cheap to clone: clones share them.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    lines: Arc<Mutex<HashMap<Line, Tally>>>,
    /// One write to the store at a time: a change that is on its way is not sent again.
    pub(super) writing: Arc<tokio::sync::Mutex<()>>,
}

/// Lines that are remembered at most.
const MAX_LINES: usize = 1_000_000;

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, HashMap<Line, Tally>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is left of a resource under all these budgets at `now`, in seconds since 1970; `None`: no budget counts it.
    #[must_use]
    pub fn left(&self, budgets: &[(Account, Budget)], resource: Resource, now: u64) -> Option<u64> {
        let lines = self.lock();
        let counted = budgets.iter().filter(|(_, budget)| budget.resource == resource);
        counted.map(|(account, budget)| left(&lines, &line(account, budget), budget, now)).min()
    }

    /// How many budgets something is reserved of.
    #[must_use]
    pub fn reservations(&self) -> usize {
        self.lock().values().filter(|tally| tally.reserved > 0).count()
    }

    /// Takes at least `least` and at most `most` of every budget, or nothing.
    pub(super) fn take(
        &self,
        budgets: &[(Account, Budget)],
        (least, most): (Amounts, Amounts),
        now: u64,
    ) -> Result<Vec<Taken>, UsedUp> {
        let mut lines = self.lock();
        let mut granted = most;
        for (account, budget) in budgets {
            let left = left(&lines, &line(account, budget), budget, now);
            if left < least.of(budget.resource).max(1) || lines.len() >= MAX_LINES {
                return Err(used_up(*budget, now));
            }
            granted.set(budget.resource, granted.of(budget.resource).min(left));
        }
        let take = |(account, budget): &(Account, Budget)| {
            let (line, amount) = (line(account, budget), granted.of(budget.resource));
            let tally = current(&mut lines, &line, now);
            tally.reserved = tally.reserved.saturating_add(amount);
            Taken { began: tally.began, line, resource: budget.resource, budget: *budget, amount, before: 0 }
        };
        Ok(budgets.iter().map(take).collect())
    }

    /// Takes more of one line: up to so much, out of the period of now.
    pub(super) fn take_more(&self, taken: &mut Taken, wanted: u64, now: u64) -> Result<(), UsedUp> {
        let mut lines = self.lock();
        let amount = wanted.min(left(&lines, &taken.line, &taken.budget, now));
        if amount == 0 {
            return Err(used_up(taken.budget, now));
        }
        let tally = current(&mut lines, &taken.line, now);
        if tally.began != taken.began {
            taken.began = tally.began;
            taken.before = taken.amount;
        }
        tally.reserved = tally.reserved.saturating_add(amount);
        taken.amount = taken.amount.saturating_add(amount);
        Ok(())
    }

    /// A call is over: what it really used takes the place of what was reserved, in the period in which it was.
    pub(super) fn settle(&self, taken: &Taken, used: u64) {
        if let Some(tally) = self.lock().get_mut(&taken.line).filter(|tally| tally.began == taken.began) {
            tally.reserved = tally.reserved.saturating_sub(taken.amount.saturating_sub(taken.before));
            tally.settled = tally.settled.saturating_add(used.saturating_sub(taken.before));
        }
    }

    /// What the store does not know yet. Lines of periods that are over are forgotten.
    #[must_use]
    pub fn changes(&self, now: u64) -> Vec<Spending> {
        let mut lines = self.lock();
        lines.retain(|line, tally| tally.began.saturating_add(line.period.seconds()) > now);
        lines.iter().filter_map(|(line, tally)| change(line, tally)).collect()
    }

    /// The store has taken these rows, and says what it holds now, row by row.
    pub fn written(&self, rows: &[Spending], totals: &[i64]) {
        let mut lines = self.lock();
        for (row, total) in rows.iter().zip(totals) {
            let line = Line { account: row.account.clone(), resource: row.resource, period: row.period };
            if let Some(tally) = lines.get_mut(&line).filter(|tally| tally.began == row.began) {
                tally.written = tally.written.saturating_add(row.change);
                tally.others = u64::try_from(total.saturating_sub(tally.written)).unwrap_or(0);
            }
        }
    }

    /// Takes in what the store holds, at the start: each row's `change` is all that was spent.
    pub fn restore(&self, rows: impl IntoIterator<Item = Spending>) {
        let mut lines = self.lock();
        for row in rows {
            let others = u64::try_from(row.change).unwrap_or(0);
            let line = Line { account: row.account, resource: row.resource, period: row.period };
            lines.insert(line, Tally { began: row.began, others, ..Tally::default() });
        }
    }
}

fn change(line: &Line, tally: &Tally) -> Option<Spending> {
    let own = i64::try_from(tally.settled.saturating_add(tally.reserved)).unwrap_or(i64::MAX);
    let change = own.saturating_sub(tally.written);
    (change != 0).then(|| Spending {
        account: line.account.clone(),
        resource: line.resource,
        period: line.period,
        began: tally.began,
        change,
    })
}

fn line(account: &Account, budget: &Budget) -> Line {
    Line { account: account.name(), resource: budget.resource, period: budget.period }
}

const fn begin_of(period: Period, now: u64) -> u64 {
    now - now % period.seconds()
}

fn left(lines: &HashMap<Line, Tally>, line: &Line, budget: &Budget, now: u64) -> u64 {
    let tally = lines.get(line).filter(|tally| tally.began >= begin_of(line.period, now));
    budget.amount.get().saturating_sub(tally.map_or(0, Tally::used))
}

/// The tally of the period that `now` is in. A clock that went back goes on in the later one.
fn current<'a>(lines: &'a mut HashMap<Line, Tally>, line: &Line, now: u64) -> &'a mut Tally {
    let began = begin_of(line.period, now);
    let tally = lines.entry(line.clone()).or_insert(Tally { began, ..Tally::default() });
    if tally.began < began {
        *tally = Tally { began, ..Tally::default() };
    }
    tally
}

const fn used_up(budget: Budget, now: u64) -> UsedUp {
    let period = budget.period.seconds();
    UsedUp { budget, retry_after_s: period - now % period }
}
