//! Serving and stopping.

use super::admin::{self, Pages};
use super::bind::{Bound, Origin};
use super::workers::Workers;
use super::{ServeFault, accept, connection, redirect, sandbox};
use crate::console::Console;
use crate::gateway::Gateway;
use crate::telemetry::clock;
use crate::telemetry::event::{About, SecurityEvent};
use crate::telemetry::metrics::metrics;
use sd_notify::NotifyState;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often counters that nobody uses are thrown away.
const SWEEP: Duration = Duration::from_secs(30);

/// Serves until `stop` is cancelled; then finishes what runs, for at most the drain time.
///
/// # Errors
/// The system has no thread left.
pub async fn serve(
    gateway: Arc<Gateway>,
    bound: Bound,
    console: Arc<Console>,
    stop: CancellationToken,
) -> Result<(), ServeFault> {
    let workers = Arc::new(Workers::start().map_err(ServeFault::Threads)?);
    if let Some(Ok(address)) = bound.https.first().map(TcpListener::local_addr) {
        gateway.listens_on(address.port());
    }
    metrics().begin(clock::now());
    sandbox::tell();
    let tracker = TaskTracker::new();
    for listener in bound.https {
        announce("https", &listener);
        spawn_https((&gateway, &workers), listener, (&tracker, &stop));
    }
    for listener in bound.http {
        announce("http", &listener);
        spawn_http(&gateway, listener, (&tracker, &stop));
    }
    let (admin_tracker, admin_stop) = admin_life(bound.origin, &tracker, &stop);
    if let Some(listener) = bound.admin {
        announce("admin", &listener);
        spawn_admin((&gateway, &workers), listener, Pages::All(console), (&admin_tracker, &admin_stop));
    }
    if let Some(listener) = bound.metrics {
        announce("metrics", &listener);
        spawn_admin((&gateway, &workers), listener, Pages::Measured, (&admin_tracker, &admin_stop));
    }
    SecurityEvent::Ready.report(&About::default());
    tell_systemd(&[NotifyState::Ready]);
    let sweeper = tokio::spawn(sweep(Arc::clone(&gateway)));
    let watchdog = tokio::spawn(watchdog());
    stop.cancelled().await;
    drain(&gateway, &tracker).await;
    sweeper.abort();
    watchdog.abort();
    Ok(())
}

fn announce(scheme: &'static str, listener: &TcpListener) {
    let address = listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
    tracing::info!(event = "listening", scheme, address);
}

fn spawn_https(
    (gateway, workers): (&Arc<Gateway>, &Arc<Workers>),
    listener: TcpListener,
    (tracker, stop): (&TaskTracker, &CancellationToken),
) {
    let (gateway, workers, tracker) = (Arc::clone(gateway), Arc::clone(workers), tracker.clone());
    let until = stop.clone();
    let Ok(address) = listener.local_addr() else { return };
    let each = move |socket, peer| {
        metrics().connections.increment(["https"]);
        let (gateway, stop) = (Arc::clone(&gateway), until.clone());
        let Some(slot) = accept::slot(&gateway, peer) else { return };
        workers.carry(&tracker, (socket, peer), move |socket, peer| async move {
            connection::serve(gateway, socket, (peer, address), stop).await;
            drop(slot);
        });
    };
    tokio::spawn(accept::accept(listener, stop.clone(), each));
}

fn spawn_http(gateway: &Arc<Gateway>, listener: TcpListener, (tracker, stop): (&TaskTracker, &CancellationToken)) {
    let (gateway, until, tracker) = (Arc::clone(gateway), stop.clone(), tracker.clone());
    let each = move |socket, peer| {
        metrics().connections.increment(["http"]);
        let (gateway, stop) = (Arc::clone(&gateway), until.clone());
        let Some(slot) = accept::slot(&gateway, peer) else { return };
        tracker.spawn(async move {
            redirect::serve(gateway, socket, peer, stop).await;
            drop(slot);
        });
    };
    tokio::spawn(accept::accept(listener, stop.clone(), each));
}

/// Where a successor answers on the same address, a process that drains must not, and finishes what it took; one without
/// goes on, so that `/ready` says that it drains, and nobody waits for its pages.
fn admin_life(origin: Origin, tracker: &TaskTracker, stop: &CancellationToken) -> (TaskTracker, CancellationToken) {
    match origin {
        Origin::Own => (TaskTracker::new(), CancellationToken::new()),
        Origin::Inherited => (tracker.clone(), stop.clone()),
    }
}

fn spawn_admin(
    (gateway, workers): (&Arc<Gateway>, &Arc<Workers>),
    listener: TcpListener,
    pages: Pages,
    (tracker, stop): (&TaskTracker, &CancellationToken),
) {
    let (gateway, workers, tracker) = (Arc::clone(gateway), Arc::downgrade(workers), tracker.clone());
    let each = move |socket, _| {
        tracker.spawn(admin::serve((Arc::clone(&gateway), Weak::clone(&workers)), socket, pages.clone()));
    };
    tokio::spawn(accept::accept(listener, stop.clone(), each));
}

async fn drain(gateway: &Gateway, tracker: &TaskTracker) {
    let within = gateway.policy().config.server.drain_timeout;
    SecurityEvent::Stopping.report(&About::default());
    tell_systemd(&[NotifyState::Stopping]);
    gateway.drain();
    tracker.close();
    if tokio::time::timeout(within, tracker.wait()).await.is_err() {
        tracing::warn!(event = "drain_deadline", connections = tracker.len());
    }
    SecurityEvent::Stopped.report(&About::default());
}

/// Tells systemd, where it listens.
pub fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(event = "notify_failed", error = %error);
    }
}

async fn sweep(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        gateway.limiters().sweep();
        gateway.misdeeds().sweep();
    }
}

/// Tells systemd twice in each of its periods that this runtime still runs tasks; one that does not is started anew.
async fn watchdog() {
    let Some(period) = sd_notify::watchdog_enabled() else { return };
    loop {
        tell_systemd(&[NotifyState::Watchdog]);
        tokio::time::sleep(period / 2).await;
    }
}
