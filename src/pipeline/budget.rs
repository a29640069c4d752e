//! Budgets on the path: what a call may still use, what it takes, what it cost.
//!
//! Guarantees: an answer is asked for no longer than the budget has room for, so that Ollama itself ends it; what a call
//! takes is taken before it waits for its turn, and rides with the permits to the end of the answer.

use super::admit::Admitted;
use super::record::Record;
use crate::config::types::{Budget, Resource, Role};
use crate::gateway::Gateway;
use crate::limits::{Account, Cut, Ledger, Need, Reservation, Subject};
use crate::ollama::call::{AnswerShape, Call};
use crate::ollama::endpoint::Class;
use crate::rejection::Rejection;
use crate::telemetry::clock;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of text that make a token, about: settled by what Ollama says.
const BYTES_A_TOKEN: u64 = 4;

/// Tokens of a text of this length, about.
pub(super) const fn estimate(length: usize) -> u64 {
    (length as u64).div_ceil(BYTES_A_TOKEN)
}

/// The present, in seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    clock::unix_seconds(clock::now())
}

/// The caller's own budgets, and those of its role.
#[must_use]
pub fn budgets(subject: &Subject, role: &Role) -> Vec<(Account, Budget)> {
    if role.budgets.is_empty() && role.together.is_empty() {
        return Vec::new();
    }
    let own = role.budgets.iter().map(|budget| (Account::Caller(subject.clone()), *budget));
    let name: Arc<str> = Arc::from(role.name.as_str());
    let together = role.together.iter().map(|budget| (Account::Role(Arc::clone(&name)), *budget));
    own.chain(together).collect()
}

/// The role, with the longest answer lowered to what is left of its tokens after a prompt of this length.
#[must_use]
pub fn lowered(role: &Arc<Role>, subject: &Subject, ledger: &Ledger, length: usize) -> Arc<Role> {
    let budgets = budgets(subject, role);
    if budgets.is_empty() {
        return Arc::clone(role);
    }
    let left = ledger.left(&budgets, Resource::Tokens, now());
    let room = left.map_or(u64::MAX, |left| left.saturating_sub(estimate(length)).max(1));
    let room = u32::try_from(room).unwrap_or(u32::MAX);
    if room >= role.options.num_predict_max {
        return Arc::clone(role);
    }
    let mut lowered = Role::clone(role);
    lowered.options.num_predict_max = room;
    lowered.options.num_predict_default = lowered.options.num_predict_default.min(room);
    Arc::new(lowered)
}

/// Takes what the call needs of every budget; `None` where there is none.
pub(super) fn reserve(
    admitted: &Admitted,
    gateway: &Gateway,
    record: &Record,
) -> Result<Option<Reservation>, Rejection> {
    let runs = matches!(admitted.endpoint().facts().class, Class::Inference);
    let budgets = budgets(&admitted.principal().subject(record.client), admitted.role());
    let Some(call) = admitted.call().filter(|_| runs && !budgets.is_empty()) else { return Ok(None) };
    take(call, &budgets, &gateway.ledger, gateway.slots.expected_time()).map(Some)
}

/// Takes what one call needs of these budgets.
///
/// # Errors
/// 429: one is used up.
pub fn take(
    call: &Call,
    budgets: &[(Account, Budget)],
    ledger: &Ledger,
    expected: Duration,
) -> Result<Reservation, Rejection> {
    let need = Need {
        prompt: estimate(call.prompt_chars()),
        answer: u64::from(call.max_tokens().unwrap_or(0)),
        cut: match call.shape() {
            AnswerShape::Stream => Cut::Possible,
            AnswerShape::Whole => Cut::Impossible,
        },
        time: expected,
    };
    Reservation::make(ledger, budgets, &need, now()).map_err(Rejection::BudgetUsedUp)
}
