//! `serve`: the service, its signals, its reloads.
//!
//! Guarantees: a configuration with a fault does not start; a reload swaps everything or nothing, and says why not; a
//! stop signal finishes what runs, up to the drain time, and ends with 0.

use super::CommandError;
use super::open::open;
use crate::config::types::{Log, LogFormat};
use crate::config::{Environment, Faults};
use crate::console::Console;
use crate::gateway::{Gateway, Policy};
use crate::server;
use crate::telemetry::event::{About, SecurityEvent};
use crate::telemetry::logs;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Serves until a stop signal.
pub(super) async fn run(file: &Path) -> Result<(), CommandError> {
    let environment = Environment::from_process();
    let config = match crate::config::load(file, &environment) {
        Ok(config) => config,
        Err(faults) => {
            logs::init(&Log { format: LogFormat::Json, level: "info".to_owned() })?;
            report(SecurityEvent::ConfigurationError, &faults);
            return Err(CommandError::Configuration(faults));
        }
    };
    logs::init(&config.log)?;
    let bound = server::bind(&config, &socket_names(&environment))?;
    let opened = open(config).await?;
    if opened.gateway.keys.is_empty() {
        tracing::warn!(event = "no_keys", "there is no key yet: `ollama-gateway key create --role user --name NAME`");
    }
    let stop = CancellationToken::new();
    tokio::spawn(until_signal(stop.clone()));
    let (stopping, renewal) = (stop.clone(), opened.renewal.clone());
    tokio::spawn(async move {
        stopping.cancelled().await;
        renewal.abort();
    });
    tokio::spawn(reload_on_signal(file.to_path_buf(), Arc::clone(&opened.gateway)));
    let console = Console::new(opened.store.clone(), &opened.gateway.policy().config);
    server::serve(opened.gateway, bound, console, stop).await;
    drop(opened.store);
    Ok(())
}

fn socket_names(environment: &Environment) -> server::SocketNames {
    let names = environment.get("LISTEN_FDNAMES").unwrap_or("");
    server::SocketNames(names.split(':').map(str::to_owned).collect())
}

/// Cancels the token at SIGTERM or SIGINT. The signals are taken over now, not when the future is first polled: until
/// then they would end the process.
pub(super) fn until_signal(stop: CancellationToken) -> impl Future<Output = ()> + Send {
    let taken = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    async move {
        let (Ok(mut terminate), Ok(mut interrupt)) = taken else { return };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    }
}

/// Reloads at SIGHUP, which is taken over now.
fn reload_on_signal(file: std::path::PathBuf, gateway: Arc<Gateway>) -> impl Future<Output = ()> + Send {
    let hangup = signal(SignalKind::hangup());
    async move {
        let Ok(mut hangup) = hangup else { return };
        while hangup.recv().await.is_some() {
            server::tell_systemd(&[sd_notify::NotifyState::Reloading]);
            match reload(&file, &gateway) {
                Ok(()) => SecurityEvent::PolicyReloaded.report(&About::default()),
                Err(CommandError::Configuration(faults)) => report(SecurityEvent::PolicyReloadFailed, &faults),
                Err(error) => SecurityEvent::PolicyReloadFailed
                    .report(&About { detail: Some(&error.to_string()), ..About::default() }),
            }
            server::tell_systemd(&[sd_notify::NotifyState::Ready]);
        }
    }
}

/// Reads everything anew; the first thing that is wrong leaves all as it was.
fn reload(file: &Path, gateway: &Gateway) -> Result<(), CommandError> {
    let config = crate::config::load(file, &Environment::from_process()).map_err(CommandError::Configuration)?;
    warn_of_restart(&gateway.policy().config, &config);
    let policy = Policy::new(config)?;
    gateway.certificates.reload(&policy.config)?;
    gateway.adopt(policy)?;
    Ok(())
}

/// Sockets and the state folder are opened once.
fn warn_of_restart(old: &crate::config::Config, new: &crate::config::Config) {
    let same = old.server.https == new.server.https
        && old.server.http == new.server.http
        && old.server.state == new.server.state
        && old.admin.listen == new.admin.listen
        && old.admin.metrics == new.admin.metrics;
    if !same {
        tracing::warn!(event = "restart_needed", "addresses and the state folder change with a restart only");
    }
}

fn report(event: SecurityEvent, faults: &Faults) {
    for fault in &faults.0 {
        event.report(&About { detail: Some(&fault.to_string()), ..About::default() });
    }
}
