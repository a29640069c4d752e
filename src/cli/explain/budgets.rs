//! What the caller's budgets would say.
//!
//! Guarantees: the store's figures, and the functions that serve decide on them; nothing is counted. A call that is under
//! way at a running gateway is in the figures after a second.
//! Does not: know how long Ollama takes: a budget of its time ends here only where it is used up.

use super::caller::Caller;
use super::{Ended, Stage, say};
use crate::config::types::{Budget, Resource};
use crate::limits::{Account, Ledger};
use crate::ollama::call::Call;
use crate::pipeline::budget;
use std::io::Write;
use std::time::Duration;

/// Tells of each budget what is left of it, and takes from a copy of them what the call needs.
pub(super) fn reserve(caller: &Caller, ledger: &Ledger, call: &Call, err: &mut (dyn Write + Send)) -> Stage<()> {
    let budgets = budget::budgets(&caller.subject, &caller.role);
    for (account, budget) in &budgets {
        let left = ledger.left(&[(account.clone(), *budget)], budget.resource, budget::now()).unwrap_or(0);
        say(err, "budget", &told(account, budget, left))?;
    }
    if !budgets.is_empty() {
        drop(budget::take(call, &budgets, ledger, Duration::ZERO).map_err(Ended::Refused)?);
    }
    Ok(())
}

fn told(account: &Account, budget: &Budget, left: u64) -> String {
    let whose = match account {
        Account::Caller(_) => "of this caller".to_owned(),
        Account::Role(name) => format!("of all callers with the role {name}"),
    };
    let (amount, left) = match budget.resource {
        Resource::Tokens | Resource::Requests => (budget.amount.get(), left),
        Resource::GpuTime => (budget.amount.get() / 1_000, left / 1_000),
    };
    format!("{left} of {amount} {} per {} are left {whose}", budget.resource.name(), budget.period.name())
}
