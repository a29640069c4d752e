//! What may be there at the same time: requests of one caller, the queue's slots and places, connections.
//!
//! Guarantees: all places but one are taken from the counters that serve; the last one is taken by a real request that
//! stays in flight, and the one after it must be refused.

use super::ground::{Caller, Ground, Stand};
use super::rates::length;
use super::stand_in::Manner;
use super::{Table, Verdict, refused, roles, samples};
use crate::cli::CommandError;
use crate::limits::{AddressPrefix, Asker, Slot};
use crate::ollama::endpoint::{Class, Endpoint};
use crate::server::connection_slot;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// A limit that is a time is waited for so long.
pub(super) const WAITED_FOR: Duration = Duration::from_secs(6);

pub(super) async fn probe(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    for role in ground.stated.roles.values().filter(|role| role.concurrent.is_some()) {
        if let Some(caller) = ground.caller(role) {
            concurrent(ground, &caller, rows).await?;
        }
    }
    let runs: Vec<_> = Endpoint::ALL.into_iter().filter(|e| e.facts().class == Class::Inference).collect();
    match ground.caller_of(&runs) {
        Some((caller, endpoint)) => {
            slots_can_be_taken(ground, rows);
            slots(ground, (&caller, endpoint), rows).await?;
            queue_length(ground, (&caller, endpoint), rows).await?;
            queue_wait(ground, (&caller, endpoint), rows).await?;
        }
        None => rows.add("[queue]", Verdict::Left("no role runs a model".to_owned())),
    }
    upstream_connections(ground, rows).await?;
    connections(ground, rows).await
}

async fn concurrent(ground: &Ground, caller: &Caller, rows: &mut Table) -> Result<(), CommandError> {
    let role = &caller.role;
    let (Some(most), Some(endpoint)) = (role.concurrent, roles::any_route(role)) else { return Ok(()) };
    let stand = ground.stand().await?;
    stand.upstream.behave(Manner::Silent);
    let subject = ground.subject(caller);
    let taken: Vec<_> = (1..most.get()).map(|_| stand.gateway.concurrency.acquire(&subject, None)).collect();
    let held = stand.hold(&ground.call(endpoint, caller)).await;
    let seen = stand.ask(&ground.call(endpoint, caller)).await;
    let what = format!("roles.{}.concurrent = {most}", role.name);
    rows.add(
        what,
        match held {
            Some(_) => refused(&seen, &["too_many_in_flight"]),
            None => Verdict::Silent("the last one that is allowed did not come through".to_owned()),
        },
    );
    drop(taken);
    Ok(())
}

/// More slots than there are connections to Ollama are never taken: requests are refused and do not wait.
fn slots_can_be_taken(ground: &Ground, rows: &mut Table) {
    let (slots, connections) = (ground.stated.queue.slots, ground.stated.upstream.max_connections);
    if slots > connections {
        let text =
            format!("can never all be taken: upstream.max_connections is {connections}, and who finds none is refused");
        rows.add(format!("queue.slots = {slots}"), Verdict::Silent(text));
    }
}

/// A real call takes a slot like everything else.
async fn slots(ground: &Ground, by: (&Caller, Endpoint), rows: &mut Table) -> Result<(), CommandError> {
    let (caller, endpoint) = by;
    let (stand, asker) = (ground.stand().await?, asker(ground, caller));
    let taken = take_slots(&stand, &asker, ground.stated.queue.slots.saturating_sub(1)).await;
    stand.upstream.behave(Manner::Silent);
    let held = stand.hold(&ground.call(endpoint, caller)).await;
    let free = stand.gateway.slots.take(&asker, Duration::ZERO, &mut None).await.is_ok();
    let verdict = match (held, free) {
        (Some(_), false) => Verdict::Fired("the next one waits".to_owned()),
        (Some(_), true) => Verdict::Silent("more run at the same time".to_owned()),
        (None, _) => Verdict::Silent("the last one that is allowed did not come through".to_owned()),
    };
    rows.add(format!("queue.slots = {}", ground.stated.queue.slots), verdict);
    drop(taken);
    Ok(())
}

/// With every slot and every place taken, a call is refused at once.
async fn queue_length(ground: &Ground, by: (&Caller, Endpoint), rows: &mut Table) -> Result<(), CommandError> {
    let (caller, endpoint) = by;
    let (stand, asker) = (ground.stand().await?, asker(ground, caller));
    let taken = take_slots(&stand, &asker, ground.stated.queue.slots).await;
    let mut waiting = Vec::new();
    for _ in 0..ground.stated.queue.length {
        let mut place = Box::pin(async { stand.gateway.slots.take(&asker, FOREVER, &mut None).await });
        if futures_util::poll!(&mut place).is_pending() {
            waiting.push(place);
        }
    }
    let seen = stand.ask(&ground.call(endpoint, caller)).await;
    rows.add(format!("queue.length = {}", ground.stated.queue.length), refused(&seen, &["too_many_waiting"]));
    drop((waiting, taken));
    Ok(())
}

/// With every slot taken, a call is refused after the wait.
async fn queue_wait(ground: &Ground, by: (&Caller, Endpoint), rows: &mut Table) -> Result<(), CommandError> {
    let (caller, endpoint) = by;
    let queue = ground.stated.queue;
    let what = format!("queue.wait = {}", length(queue.wait));
    if queue.wait > WAITED_FOR || queue.length == 0 {
        let why = if queue.length == 0 { "queue.length = 0: nobody waits" } else { "not waited for" };
        rows.add(what, Verdict::Left(why.to_owned()));
        return Ok(());
    }
    let (stand, asker) = (ground.stand().await?, asker(ground, caller));
    let taken = take_slots(&stand, &asker, queue.slots).await;
    let seen = stand.ask(&ground.call(endpoint, caller)).await;
    rows.add(what, refused(&seen, &["overloaded"]));
    drop(taken);
    Ok(())
}

/// Longer than the probe takes.
const FOREVER: Duration = Duration::from_hours(1);

fn asker(ground: &Ground, caller: &Caller) -> Asker {
    Asker { subject: ground.subject(caller), weight: caller.role.weight, model: None }
}

async fn take_slots(stand: &Stand<'_>, asker: &Asker, count: usize) -> Vec<Slot> {
    let mut taken = Vec::new();
    for _ in 0..count {
        taken.extend(stand.gateway.slots.take(asker, Duration::ZERO, &mut None).await.ok());
    }
    taken
}

async fn upstream_connections(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    let most = ground.stated.upstream.max_connections;
    let what = format!("upstream.max_connections = {most}");
    let onward: Vec<_> = Endpoint::ALL.into_iter().filter(|e| e.facts().class != Class::Public).collect();
    let Some((caller, endpoint)) = ground.caller_of(&onward) else {
        rows.add(what, Verdict::Left("no role calls anything".to_owned()));
        return Ok(());
    };
    let stand = ground.stand().await?;
    let taken: Vec<_> = (0..most).map_while(|_| stand.gateway.upstream.slot()).collect();
    let seen = stand.ask(&ground.call(endpoint, &caller)).await;
    rows.add(what, refused(&seen, &["overloaded"]));
    drop(taken);
    Ok(())
}

async fn connections(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    let (each, all) = (ground.stated.limits.connections_per_address, ground.stated.server.max_connections);
    let trusted = &ground.stated.server.trusted_proxies;
    let (Some(one), Some(other)) = (samples::anywhere_outside(trusted), other_outside(trusted)) else {
        rows.add("connections", Verdict::Left("every address is a trusted proxy's".to_owned()));
        return Ok(());
    };
    let stand = ground.stand().await?;
    let slots = &stand.gateway.connections;
    let taken: Vec<_> = (0..each).map_while(|_| slots.acquire(AddressPrefix::from(one)).ok()).collect();
    let refused = connection_slot(&stand.gateway, SocketAddr::new(one, 1)).is_none();
    let what = format!("limits.connections_per_address = {each}");
    rows.add(what, closed(refused && taken.len() == each, each));
    drop(taken);
    let taken: Vec<_> = (0..all).map_while(|_| slots.acquire_of_many().ok()).collect();
    let refused = connection_slot(&stand.gateway, SocketAddr::new(other, 1)).is_none();
    rows.add(format!("server.max_connections = {all}"), closed(refused && taken.len() == all, all));
    Ok(())
}

fn other_outside(networks: &[ipnet::IpNet]) -> Option<IpAddr> {
    let first = samples::anywhere_outside(networks)?;
    let mut without = networks.to_vec();
    without.push(first.into());
    samples::anywhere_outside(&without)
}

fn closed(as_promised: bool, count: usize) -> Verdict {
    if as_promised {
        return Verdict::Fired("the next one is closed without a word".to_owned());
    }
    Verdict::Silent(format!("not exactly {count} were taken: one more was, or one fewer"))
}
