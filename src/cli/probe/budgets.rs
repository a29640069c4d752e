//! `tokens`, `requests` and `gpu_seconds` of each role, for one caller and for all together.
//!
//! Guarantees: a budget that has all been spent (as the store would say it after a restart) refuses the next real call,
//! and names itself; one that has not does not; one that the request rates, the size of a request or the slots never let
//! anybody use up is an error.

use super::exchange::Reached;
use super::ground::{Caller, Ground};
use super::rates::length;
use super::{Table, Verdict};
use crate::cli::CommandError;
use crate::config::Config;
use crate::config::types::{Budget, Rate, Resource, Role};
use crate::limits::{Account, UsedUp};
use crate::ollama::endpoint::{Class, Endpoint, RateClass};
use crate::pipeline::admit;
use crate::store::Spending;
use crate::telemetry::clock;
use std::sync::Arc;
use std::time::Duration;

/// Whose budget.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Caller,
    Together,
}

pub(super) async fn probe(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    for role in ground.stated.roles.values() {
        let Some(caller) = ground.caller(role) else { continue };
        let own = role.budgets.iter().map(|budget| (*budget, Whose::Caller));
        let together = role.together.iter().map(|budget| (*budget, Whose::Together));
        for (budget, whose) in own.chain(together) {
            let table = if whose == Whose::Caller { "" } else { ".together" };
            let what = format!("roles.{}{table}.{} per {}", role.name, budget.resource.name(), budget.period.name());
            let verdict = match reachable(&ground.stated, role, &budget, whose) {
                Ok(()) => spent(ground, &caller, budget, whose).await?,
                Err(why) => Verdict::Silent(why),
            };
            rows.add(what, verdict);
        }
    }
    if rows.rows.is_empty() {
        rows.add("budgets", Verdict::Left("no role has one".to_owned()));
    }
    Ok(())
}

async fn spent(ground: &Ground, caller: &Caller, budget: Budget, whose: Whose) -> Result<Verdict, CommandError> {
    let runs = |e: &Endpoint| e.facts().class == Class::Inference && caller.role.endpoints.contains(*e);
    let Some(endpoint) = Endpoint::ALL.into_iter().find(runs) else {
        return Ok(Verdict::Silent("never counts: the role runs no model".to_owned()));
    };
    let before = ground.stand().await?.ask(&ground.call(endpoint, caller)).await;
    if before.reached == Reached::No {
        return Ok(Verdict::Silent(format!("with nothing spent, a call was to go through, but {before}")));
    }
    let mut verdict = Verdict::Silent(String::new());
    // A period may have ended between the two: then once more.
    for _ in 0..2 {
        verdict = next_call(ground, caller, (budget, whose), endpoint).await?;
        if matches!(verdict, Verdict::Fired(_)) {
            break;
        }
    }
    Ok(verdict)
}

async fn next_call(
    ground: &Ground,
    caller: &Caller,
    (budget, whose): (Budget, Whose),
    endpoint: Endpoint,
) -> Result<Verdict, CommandError> {
    let stand = ground.stand().await?;
    let now = clock::unix_seconds(clock::now());
    let account = match whose {
        Whose::Caller => Account::Caller(ground.subject(caller)),
        Whose::Together => Account::Role(Arc::from(caller.role.name.as_str())),
    };
    stand.gateway.ledger.restore([Spending {
        account: account.name(),
        resource: budget.resource,
        period: budget.period,
        began: now - now % budget.period.seconds(),
        change: i64::try_from(budget.amount.get()).unwrap_or(i64::MAX),
    }]);
    let seen = stand.ask(&ground.call(endpoint, caller)).await;
    let named = UsedUp { budget, retry_after_s: 1 }.to_string();
    Ok(match (seen.code.as_str(), seen.text.contains(&named)) {
        ("budget_used_up", true) => Verdict::Fired(format!("429 budget_used_up, {named}")),
        ("budget_used_up", false) => Verdict::Silent(format!("another budget fires instead of it: {}", seen.text)),
        _ => Verdict::Silent(format!("with all of it spent, 429 budget_used_up was to be the answer, but {seen}")),
    })
}

/// Whether one caller could use it up at all.
fn reachable(config: &Config, role: &Role, budget: &Budget, whose: Whose) -> Result<(), String> {
    if whose == Whose::Together {
        return Ok(()); // of as many callers as there are keys
    }
    let period = Duration::from_secs(budget.period.seconds());
    let calls = calls_within(config, role, period);
    let (most, by) = match budget.resource {
        Resource::Requests => (calls, "[limits] lets no more calls through"),
        Resource::Tokens => (
            calls.saturating_mul(tokens_of_one(config, role)),
            "[limits], validation.max_body and num_predict let no more through",
        ),
        Resource::GpuTime => {
            let at_once = role.concurrent.map_or(u64::MAX, |most| u64::from(most.get()));
            let at_once = at_once.min(config.queue.slots as u64);
            (at_once.saturating_mul(budget.period.seconds()).saturating_mul(1_000), "so many run at once at most")
        }
    };
    if most >= budget.amount.get() {
        return Ok(());
    }
    let shown = |amount: u64| if budget.resource == Resource::GpuTime { amount / 1_000 } else { amount };
    let (most, amount) = (shown(most), shown(budget.amount.get()));
    Err(format!("can never be used up: of {amount}, one caller can use {most} in {} ({by})", length(period)))
}

/// Calls that run a model of one caller in a period, at most.
fn calls_within(config: &Config, role: &Role, period: Duration) -> u64 {
    let runs = |e: &Endpoint| e.facts().class == Class::Inference && role.endpoints.contains(*e);
    let unhurried = Endpoint::ALL.into_iter().filter(runs).any(|e| e.facts().rate == RateClass::General);
    let within = |rate: Rate| {
        let refilled = u64::from(rate.count.get()) as f64 * period.as_secs_f64() / rate.per.as_secs_f64();
        u64::from(rate.burst.get()).saturating_add(refilled as u64)
    };
    let general = within(config.limits.general);
    if unhurried { general } else { general.min(within(config.limits.chat)) }
}

/// Tokens of one call at most: a token of a prompt has a byte at least.
fn tokens_of_one(config: &Config, role: &Role) -> u64 {
    let prompt = admit::cap(Endpoint::Chat, &config.validation) as u64;
    prompt.saturating_add(u64::from(role.options.num_predict_max))
}
