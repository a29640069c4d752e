//! `tokens`, `requests` and `gpu_seconds` of a role: how much each of its keys may use, and all of them together.
//!
//! A budget that another one makes unreachable is a fault, since somebody counts on it.

use std::num::NonZeroU64;

use crate::config::error::Wrong;
use crate::config::quantity::quoted;
use crate::config::raw::{Item, Section};
use crate::config::types::{Budget, Period, Resource};

const MOST: u64 = 1_000_000_000_000;

/// The budgets that are written in a table.
pub(super) fn budgets(section: &mut Section<'_>) -> Vec<Budget> {
    [Resource::Tokens, Resource::Requests, Resource::GpuTime]
        .into_iter()
        .flat_map(|resource| of_resource(section, resource))
        .collect()
}

fn of_resource(section: &mut Section<'_>, resource: Resource) -> Vec<Budget> {
    let Some(item) = section.item(resource.name()) else { return Vec::new() };
    let items = match item.text() {
        Ok(_) => vec![item],
        Err(_) => item
            .read(|item| item.items().map_err(|_| item.type_fault("a budget").hint(hint(resource))))
            .unwrap_or_default(),
    };
    let mut budgets: Vec<Budget> = Vec::new();
    for item in &items {
        let Some(budget) = item.read(|item| budget(item, resource)) else { continue };
        if let Some(other) = budgets.iter().find(|other| unreachable(&budget, other) || unreachable(other, &budget)) {
            let text = format!("makes no difference beside the one per {}", other.period.name());
            item.wrong(
                Wrong::new(text).hint("the longer period has the larger amount, and less of it in each short one"),
            );
        }
        budgets.push(budget);
    }
    budgets
}

/// A budget that the other one never lets anybody reach.
fn unreachable(this: &Budget, other: &Budget) -> bool {
    let shorter = other.period <= this.period;
    let times = this.period.seconds() / other.period.seconds().max(1);
    if shorter {
        // Even all of the shorter ones together do not reach it.
        other.amount.get().saturating_mul(times) <= this.amount.get()
    } else {
        // The longer one is used up first.
        other.amount <= this.amount
    }
}

fn budget(item: &Item<'_>, resource: Resource) -> Result<Budget, Wrong> {
    let text = item.text().map_err(|_| item.type_fault("a budget").hint(hint(resource)))?;
    let malformed = || Wrong::new(format!("{} is no budget", quoted(text))).hint(hint(resource));
    let (amount, period) = text.split_once('/').ok_or_else(malformed)?;
    let period = match period.trim() {
        "m" | "min" | "minute" => Period::Minute,
        "h" | "hour" => Period::Hour,
        "d" | "day" => Period::Day,
        _ => return Err(malformed()),
    };
    let amount: u64 = amount.trim().parse().map_err(|_| malformed())?;
    if !(1..=MOST).contains(&amount) {
        return Err(Wrong::new(format!("{amount} is not in 1..={MOST}")).hint("leave it out for no budget"));
    }
    let units = if resource == Resource::GpuTime { amount.saturating_mul(1_000) } else { amount };
    Ok(Budget { resource, amount: NonZeroU64::new(units).ok_or_else(malformed)?, period })
}

fn hint(resource: Resource) -> String {
    let example = match resource {
        Resource::Tokens => "\"200000/day\", or [\"5000/minute\", \"200000/day\"]",
        Resource::Requests => "\"500/day\"",
        Resource::GpuTime => "\"600/hour\"",
    };
    format!("for example {} = {example}", resource.name())
}
