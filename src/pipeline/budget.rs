//! Budgets on the path: what a call may still use, what it takes, what it cost.
//!
//! Guarantees: an answer is asked for no longer than the budget has room for, so that Ollama itself ends it; what a call
//! takes is taken before it waits for its turn, and rides with the permits to the end of the answer.

use super::admit::Admitted;
use super::authenticate::Principal;
use super::record::Record;
use crate::config::types::{Budget, Resource, Role};
use crate::gateway::Gateway;
use crate::limits::{Account, Cut, Need, Reservation};
use crate::ollama::call::AnswerShape;
use crate::ollama::endpoint::Class;
use crate::rejection::Rejection;
use crate::telemetry::clock;
use std::net::IpAddr;
use std::sync::Arc;

/// Bytes of text that make a token, about: settled by what Ollama says.
const BYTES_A_TOKEN: u64 = 4;

/// Tokens of a text of this length, about.
pub(super) const fn estimate(length: usize) -> u64 {
    (length as u64).div_ceil(BYTES_A_TOKEN)
}

/// The present, in seconds since 1970.
pub(super) fn now() -> u64 {
    clock::unix_seconds(clock::now())
}

/// The caller's own budgets, and those of its role.
fn budgets(principal: &Principal, role: &Role, client: IpAddr) -> Vec<(Account, Budget)> {
    let own = role.budgets.iter().map(|budget| (Account::Caller(principal.subject(client)), *budget));
    let name: Arc<str> = Arc::from(role.name.as_str());
    let together = role.together.iter().map(|budget| (Account::Role(Arc::clone(&name)), *budget));
    own.chain(together).collect()
}

/// The role, with the longest answer lowered to what is left of its tokens after a prompt of this length.
pub(super) fn lowered(
    role: &Arc<Role>,
    principal: &Principal,
    gateway: &Gateway,
    (client, length): (IpAddr, usize),
) -> Arc<Role> {
    let left = gateway.ledger.left(&budgets(principal, role, client), Resource::Tokens, now());
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
    let budgets = budgets(admitted.principal(), admitted.role(), record.client);
    let Some(call) = admitted.call().filter(|_| runs && !budgets.is_empty()) else { return Ok(None) };
    let need = Need {
        prompt: estimate(call.prompt_chars()),
        answer: u64::from(call.max_tokens().unwrap_or(0)),
        cut: match call.shape() {
            AnswerShape::Stream => Cut::Possible,
            AnswerShape::Whole => Cut::Impossible,
        },
        time: gateway.slots.expected_time(),
    };
    Reservation::make(&gateway.ledger, &budgets, &need, now()).map(Some).map_err(Rejection::BudgetUsedUp)
}
