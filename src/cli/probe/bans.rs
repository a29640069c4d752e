//! `[bans]`: its lists, and what gets an address or a key banned.

use super::exchange::Ask;
use super::ground::{Ground, Stand};
use super::rates::Count;
use super::{Table, Verdict, refused, roles, samples};
use crate::cli::CommandError;
use crate::config::types::Rate;
use crate::identity::issue::HONEY;
use crate::limits::Misdeed;
use crate::store::timestamp::Timestamp;
use crate::store::{Ban, Banned};
use crate::telemetry::clock;
use std::net::IpAddr;
use std::time::Duration;

pub(super) async fn probe(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    lists(ground, rows).await?;
    made_by_hand(ground, rows).await?;
    let bans = &ground.stated.bans;
    let Some(from) = samples::bannable(&ground.stated) else {
        for (key, rate) in [("bans.failures", bans.failures), ("bans.unknown_routes", bans.unknown_routes)] {
            if rate.is_some() {
                rows.add(key, Verdict::Silent("bans nobody: every address that is served is exempt".to_owned()));
            }
        }
        return Ok(());
    };
    match bans.failures {
        None => rows.add("bans.failures", Verdict::Left("off".to_owned())),
        Some(rate) => failures(ground, from, rate, rows).await?,
    }
    match bans.unknown_routes {
        None => rows.add("bans.unknown_routes", Verdict::Left("off".to_owned())),
        Some(rate) => {
            let ask = Ask::plain("GET", "/of-no-route", from);
            let verdict = after(&ground.stand().await?, Misdeed::UnknownRoute, rate, &ask).await;
            rows.add("bans.unknown_routes", verdict);
        }
    }
    honey(ground, from, rows).await
}

async fn lists(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    let bans = &ground.stated.bans;
    for network in &bans.deny {
        let ask = Ask::plain("GET", "/api/health", samples::address_in(network));
        rows.add(format!("bans.deny {network}"), refused(&ground.stand().await?.ask(&ask).await, &["banned"]));
    }
    if !bans.allow.is_empty() {
        let verdict = match samples::anywhere_outside(&bans.allow) {
            None => Verdict::Silent("makes no difference: every address is in it".to_owned()),
            Some(from) => {
                let ask = Ask::plain("GET", "/api/health", from);
                refused(&ground.stand().await?.ask(&ask).await, &["banned"])
            }
        };
        rows.add("bans.allow: another address", verdict);
    }
    Ok(())
}

/// What `ban add` does, but for the store.
async fn made_by_hand(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    let made_at = Timestamp::from(clock::now());
    let Some(ends_at) = made_at.after(Duration::from_hours(1)) else { return Ok(()) };
    let ban = |who| Ban { who, why: "probe".to_owned(), made_at, ends_at };
    if let Some(from) = samples::address(&ground.stated, &[]) {
        let stand = ground.stand().await?;
        stand.gateway.bans.ban(ban(Banned::Network(from.into())));
        let seen = stand.ask(&Ask::plain("GET", "/api/health", from)).await;
        rows.add("ban add ADDRESS", refused(&seen, &["banned"]));
    }
    let mut keyed = ground.stated.roles.values().filter(|role| role.name != super::ground::ANONYMOUS);
    let found = keyed.find_map(|role| Some((ground.caller(role)?, roles::any_route(role)?)));
    if let Some((caller, endpoint)) = found {
        let stand = ground.stand().await?;
        stand.gateway.bans.ban(ban(Banned::Key(ground.key_id(&caller.role.name))));
        let seen = stand.ask(&ground.call(endpoint, &caller)).await;
        rows.add("ban add KEY", refused(&seen, &["banned"]));
    }
    Ok(())
}

fn wrong_key(from: IpAddr) -> Ask {
    Ask::plain("GET", "/api/tags", from).with("authorization", "Bearer no-key-of-anybody")
}

async fn failures(ground: &Ground, from: IpAddr, rate: Rate, rows: &mut Table) -> Result<(), CommandError> {
    let throttle = ground.stated.limits.authentication_failures;
    let per_hour = |rate: Rate| f64::from(rate.count.get()) * 3_600.0 / rate.per.as_secs_f64();
    if throttle.burst < rate.burst && per_hour(throttle) <= per_hour(rate) {
        let text = "bans nobody: limits.authentication_failures never lets one address fail so often";
        rows.add("bans.failures", Verdict::Silent(text.to_owned()));
        return Ok(());
    }
    let verdict = after(&ground.stand().await?, Misdeed::Credential, rate, &wrong_key(from)).await;
    rows.add("bans.failures", verdict);
    Ok(())
}

/// All of the misdeeds but one are counted; the next requests do the rest.
async fn after(stand: &Stand<'_>, misdeed: Misdeed, rate: Rate, ask: &Ask) -> Verdict {
    let mut count = Count::start(rate);
    for _ in 1..rate.burst.get() {
        if stand.gateway.misdeeds().count(misdeed, ask.from).is_some() {
            return Verdict::Silent(format!("bans before {} of them", rate.burst));
        }
    }
    count.last_and_next(stand, || ask.clone(), ("banned", "")).await
}

async fn honey(ground: &Ground, from: IpAddr, rows: &mut Table) -> Result<(), CommandError> {
    let stand = ground.stand().await?;
    let ask = Ask::plain("GET", "/api/tags", from).with("authorization", format!("Bearer {}", ground.key(HONEY)));
    let first = stand.ask(&ask).await;
    let seen = stand.ask(&Ask::plain("GET", "/api/health", from)).await;
    let verdict = if first.code == "credential_invalid" {
        refused(&seen, &["banned"])
    } else {
        Verdict::Silent(format!("it was to be a wrong key to whoever uses it, but {first}"))
    };
    rows.add("a honey key", verdict);
    Ok(())
}
