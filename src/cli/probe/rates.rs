//! `[limits]`: each request rate, and the failed authentications.
//!
//! Guarantees: all of the burst but one is taken from the counters that serve; the request that takes the last one must
//! not be refused, one of those after it must, and by this limit.

use super::exchange::{Ask, Seen};
use super::ground::{Ground, Stand};
use super::{Table, Verdict, samples};
use crate::cli::CommandError;
use crate::config::types::Rate;
use crate::limits::{AddressPrefix, Subject};
use crate::ollama::endpoint::{Class, Endpoint, RateClass};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Requests that are sent where the limit should have been reached by the first.
const TRIES: usize = 32;

pub(super) async fn probe(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    let limits = &ground.stated.limits;
    of_callers(ground, RateClass::General, ("limits.general", limits.general), rows).await?;
    of_callers(ground, RateClass::Chat, ("limits.chat", limits.chat), rows).await?;
    health(ground, rows).await?;
    refusals(ground, rows).await?;
    failures(ground, rows).await
}

async fn of_callers(
    ground: &Ground,
    class: RateClass,
    (key, rate): (&str, Rate),
    rows: &mut Table,
) -> Result<(), CommandError> {
    let of_class = |e: &Endpoint| e.facts().rate == class && e.facts().class != Class::Public;
    let endpoints: Vec<_> = Endpoint::ALL.into_iter().filter(of_class).collect();
    let Some((caller, endpoint)) = ground.caller_of(&endpoints) else {
        rows.add(key, Verdict::Left("no role may call such a route".to_owned()));
        return Ok(());
    };
    let stand = ground.stand().await?;
    let subject = ground.subject(&caller);
    let mut count = Count::start(rate);
    fill(&stand, class, &subject, rate);
    let verdict = count.last_and_next(&stand, || ground.call(endpoint, &caller), ("rate_limited", name(class))).await;
    rows.add(key, verdict);
    Ok(())
}

async fn health(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    let rate = ground.stated.limits.health;
    let Some(from) = samples::address(&ground.stated, &[]) else { return nobody("limits.health", rows) };
    let stand = ground.stand().await?;
    let mut count = Count::start(rate);
    fill(&stand, RateClass::Health, &Subject::Address(AddressPrefix::from(from)), rate);
    let ask = || Ask::plain("GET", "/api/health", from);
    rows.add("limits.health", count.last_and_next(&stand, ask, ("rate_limited", name(RateClass::Health))).await);
    Ok(())
}

/// What is refused before anybody is known counts by address.
async fn refusals(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    const KEY: &str = "limits.general, refusals of one address";
    let rate = ground.stated.limits.general;
    let Some(from) = unbanned(ground) else { return nobody(KEY, rows) };
    let stand = ground.stand().await?;
    let mut count = Count::start(rate);
    fill(&stand, RateClass::General, &Subject::Address(AddressPrefix::from(from)), rate);
    let ask = || Ask::plain("POST", "/api/version", from);
    let verdict = count.last_and_next(&stand, ask, ("rate_limited", name(RateClass::General))).await;
    rows.add(KEY, verdict);
    Ok(())
}

async fn failures(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    const KEY: &str = "limits.authentication_failures";
    let rate = ground.stated.limits.authentication_failures;
    let Some(from) = unbanned(ground) else { return nobody(KEY, rows) };
    let stand = ground.stand().await?;
    let mut count = Count::start(rate);
    for _ in 1..rate.burst.get() {
        stand.gateway.limiters().authentication_failed(AddressPrefix::from(from));
    }
    let ask = || Ask::plain("GET", "/api/tags", from).with("authorization", "Bearer no-key-of-anybody");
    let verdict = count.last_and_next(&stand, ask, ("authentication_throttled", "authentication")).await;
    rows.add(KEY, verdict);
    Ok(())
}

/// An address that no ban meets before the limit does.
fn unbanned(ground: &Ground) -> Option<IpAddr> {
    let exempt = &ground.stated.bans.exempt;
    samples::address(&ground.stated, exempt).or_else(|| samples::address(&ground.stated, &[]))
}

fn nobody(key: &str, rows: &mut Table) -> Result<(), CommandError> {
    rows.add(key, Verdict::Silent("nobody is served: [bans] leaves no address".to_owned()));
    Ok(())
}

/// Takes all of the burst but one.
fn fill(stand: &Stand<'_>, class: RateClass, subject: &Subject, rate: Rate) {
    for _ in 1..rate.burst.get() {
        // A refusal here ends it: the requests that follow see it too.
        if stand.gateway.limiters().check(class, subject).is_err() {
            return;
        }
    }
}

const fn name(class: RateClass) -> &'static str {
    match class {
        RateClass::General => "general",
        RateClass::Chat => "chat",
        RateClass::Health => "health",
    }
}

/// A burst that is taken to its end, and what time has given back meanwhile.
pub(super) struct Count {
    rate: Rate,
    began: Instant,
    through: u32,
}

impl Count {
    /// To be called before the first one is taken.
    pub(super) fn start(rate: Rate) -> Self {
        Self { rate, began: Instant::now(), through: 0 }
    }

    /// The request that takes the last one, and those after it until one is refused with this code, by this limit.
    pub(super) async fn last_and_next(
        &mut self,
        stand: &Stand<'_>,
        ask: impl Fn() -> Ask,
        (code, policy): (&str, &str),
    ) -> Verdict {
        let mut seen = stand.ask(&ask()).await;
        if seen.code == code && (seen.policy.is_empty() || seen.policy == policy) {
            return Verdict::Silent(format!("refuses already within its burst of {}", self.rate.burst));
        }
        for _ in 0..TRIES {
            if seen.code == code || seen.code == "rate_limited" {
                break;
            }
            seen = stand.ask(&ask()).await;
            self.through = self.through.saturating_add(1);
        }
        self.judge(&seen, code, policy)
    }

    fn judge(&self, seen: &Seen, code: &str, policy: &str) -> Verdict {
        let Self { rate, through, .. } = *self;
        if seen.code != code {
            return Verdict::Silent(format!(
                "does not fire: {} requests at once, then {TRIES} more one after another, and {seen}; it gives one back \
                 every {}",
                rate.burst,
                length(rate.per / rate.count.get())
            ));
        }
        if !seen.policy.is_empty() && seen.policy != policy {
            return Verdict::Silent(format!("never fires: limits.{} refuses before it does", seen.policy));
        }
        // The last of them was refused.
        if f64::from(through.saturating_sub(1)) > self.given_back() + 1.0 {
            let more = through.saturating_sub(1);
            return Verdict::Silent(format!(
                "fires too late: {more} more than its burst of {} went before",
                rate.burst
            ));
        }
        let told = format!("{} {code}, after {} at once", seen.status, rate.burst);
        Verdict::Fired(format!("{told} ({} in {})", rate.count, length(rate.per)))
    }

    fn given_back(&self) -> f64 {
        self.began.elapsed().as_secs_f64() * f64::from(self.rate.count.get()) / self.rate.per.as_secs_f64()
    }
}

/// `1m`, `250ms`
pub(super) fn length(time: Duration) -> String {
    humantime::format_duration(time).to_string()
}
