//! `[limits]`, and the variables that override its rates.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::Environment;
use crate::config::error::{Fault, Place, Wrong};
use crate::config::quantity;
use crate::config::raw::{Item, Section};
use crate::config::types::{Limits, Rate, Server};

const MINUTE: Duration = Duration::from_secs(60);
const MAX_BURST: u64 = 10_000;

/// One rate: its key, the variable that overrides it, and what holds where neither is written.
struct Rule {
    key: &'static str,
    variable: Option<&'static str>,
    count: u32,
    /// At most the count.
    burst: u32,
}

const GENERAL: Rule = Rule { key: "general", variable: Some("RATE_LIMIT_GENERAL"), count: 100, burst: 20 };
const CHAT: Rule = Rule { key: "chat", variable: Some("RATE_LIMIT_CHAT"), count: 10, burst: 5 };
const HEALTH: Rule = Rule { key: "health", variable: Some("RATE_LIMIT_HEALTH"), count: 1_000, burst: u32::MAX };
const FAILURES: Rule = Rule { key: "authentication_failures", variable: None, count: 10, burst: 5 };

pub(super) fn limits(mut limits: Section<'_>, server: &Server, environment: &Environment) -> Limits {
    let checked = Limits {
        general: GENERAL.read(&mut limits, environment),
        chat: CHAT.read(&mut limits, environment),
        health: HEALTH.read(&mut limits, environment),
        authentication_failures: FAILURES.read(&mut limits, environment),
        connections_per_address: limits.number(
            "connections_per_address",
            64.min(server.max_connections),
            1..=1_000_000,
        ),
        tracked_keys: limits.number("tracked_keys", 100_000, 1_000..=10_000_000),
    };
    chat_can_fire(&limits, &checked, environment);
    connections_can_fire(&limits, &checked, server);
    checked
}

/// A count in a period, and a burst where one is written.
type Written = ((NonZeroU32, Duration), Option<NonZeroU32>);

impl Rule {
    fn read(&self, limits: &mut Section<'_>, environment: &Environment) -> Rate {
        let written = limits.item(self.key).and_then(|item| self.written(&item));
        let (rate, burst) = written.unwrap_or(((non_zero(self.count), MINUTE), None));
        let told = self.variable.and_then(|name| environment.read(limits.source(), name, quantity::rate));
        // A written burst still holds for a rate it was not written for, unless it would let a whole period through at once.
        let burst = told.map_or(burst, |(count, _)| burst.map(|burst| burst.min(count)));
        let (count, per) = told.unwrap_or(rate);
        Rate { count, per, burst: burst.unwrap_or_else(|| non_zero(self.burst).min(count)) }
    }

    /// `"100/minute"`, or `{ rate = "100/minute", burst = 20 }`.
    fn written(&self, item: &Item<'_>) -> Option<Written> {
        let example = format!("{{ rate = \"{}/minute\", burst = {} }}", self.count, self.burst.min(self.count));
        let hint = format!("for example {example}");
        let Some(mut table) = item.section() else {
            let text = item.text().map_err(|_| item.type_fault("a rate").hint(hint));
            return item.read(|_| quantity::rate(text?)).map(|rate| (rate, None));
        };
        table.missing("rate", &hint);
        let rate = table.item("rate").and_then(|item| item.read(|item| quantity::rate(item.text()?)));
        let burst = table.item("burst").and_then(|item| item.read(|item| self.burst(item)));
        rate.map(|rate| (rate, burst))
    }

    fn burst(&self, item: &Item<'_>) -> Result<NonZeroU32, Wrong> {
        let default = self.burst.min(self.count);
        let burst = item.integer(&(1..=MAX_BURST));
        let burst = burst.map_err(|wrong| wrong.or_hint(|| format!("leave it out for the default, {default}")))?;
        Ok(non_zero(u32::try_from(burst).unwrap_or(u32::MAX)))
    }
}

fn non_zero(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

/// A chat counts in both rates: where the general one is used up first in every case, the other is only decoration.
fn chat_can_fire(limits: &Section<'_>, checked: &Limits, environment: &Environment) {
    let told = |rule: &Rule| rule.variable.filter(|name| environment.get(name).is_some());
    let (chat, general) = (checked.chat, checked.general);
    let written = limits.has(CHAT.key) || told(&CHAT).is_some();
    if !written || per_day(chat) <= per_day(general) || chat.burst < general.burst {
        return;
    }
    let text = "can never be reached: every chat also counts in limits.general, which is used up first";
    let wrong = Wrong::new(text).hint("lower its rate or burst below that of limits.general");
    match told(&CHAT).or(told(&GENERAL)) {
        Some(name) => limits.source().note(Fault::new(Place::Environment, name, wrong)),
        None => limits.fault_of(CHAT.key, wrong),
    }
}

fn per_day(rate: Rate) -> u64 {
    u64::from(rate.count.get()) * 86_400 / rate.per.as_secs().max(1)
}

fn connections_can_fire(limits: &Section<'_>, checked: &Limits, server: &Server) {
    let (each, all) = (checked.connections_per_address, server.max_connections);
    if each > all {
        let text = format!("{each} can never be reached: server.max_connections is {all}");
        let hint = "keep it below, so that one address cannot take them all";
        limits.fault_of("connections_per_address", Wrong::new(text).hint(hint));
    }
}
