//! `serve`: the service, its signals, its reloads.
//!
//! Guarantees: a configuration with a fault does not start; a reload swaps everything or nothing, and says why not; a
//! stop signal finishes what runs, up to the drain time, and ends with 0.

use super::CommandError;
use super::open::open;
use crate::config::types::{Log, LogFormat};
use crate::config::{Config, Environment, Faults};
use crate::console::Console;
use crate::gateway::{Gateway, Policy};
use crate::server;
use crate::server::sandbox::{self, Confined, Wanted};
use crate::store::{StoreError, private_files};
use crate::telemetry::audit::{Act, Entry};
use crate::telemetry::event::{About, SecurityEvent};
use crate::telemetry::logs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What is there before the runtime.
pub(super) struct Prepared {
    environment: Environment,
    config: Config,
    sockets: server::Sockets,
    confined: Confined,
}

/// Reads the configuration, opens the sockets, and gives up what serving does not need.
pub(super) fn prepare(file: &Path) -> Result<Prepared, CommandError> {
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
    let sockets = server::bind(&config, &socket_names(&environment))?;
    // Landlock names folders that are there.
    private_files::ensure_folder(&config.server.state).map_err(StoreError::from)?;
    let confined = sandbox::confine(&config, &wanted(file, &environment).with(&config));
    Ok(Prepared { environment, config, sockets, confined })
}

fn wanted(file: &Path, environment: &Environment) -> Wanted {
    Wanted::of_text(file, &std::fs::read_to_string(file).unwrap_or_default(), environment)
}

/// Serves until a stop signal.
pub(super) async fn run(file: &Path, prepared: Prepared) -> Result<(), CommandError> {
    let Prepared { environment, config, sockets, confined } = prepared;
    // Before it says that it is ready: until they are caught, both signals would end it at once.
    let (stop, hangup) = (stop_signal()?, caught(SignalKind::hangup())?);
    let bound = sockets.into_bound()?;
    let opened = open(config).await?;
    if opened.gateway.keys.is_empty() {
        tracing::warn!(event = "no_keys", "there is no key yet: `ollama-gateway key create --role user --name NAME`");
    }
    let (stopping, renewal) = (stop.clone(), opened.renewal.clone());
    tokio::spawn(async move {
        stopping.cancelled().await;
        renewal.abort();
    });
    let ground = Ground { file: file.to_path_buf(), environment, confined, gateway: Arc::clone(&opened.gateway) };
    tokio::spawn(reload_on_signal(hangup, ground));
    let ledger = opened.gateway.ledger.clone();
    let gateway = Arc::clone(&opened.gateway);
    gateway.account(&Entry::act(Act::Started));
    let console = Console::new(opened.store.clone(), &gateway.policy().config);
    server::serve(opened.gateway, bound, console, stop).await?;
    gateway.account(&Entry::act(Act::Stopped));
    gateway.usage.write(&opened.store).await?;
    ledger.write(&opened.store, crate::telemetry::clock::now()).await?;
    Ok(())
}

fn socket_names(environment: &Environment) -> server::SocketNames {
    server::SocketNames::parse(environment.get("LISTEN_FDNAMES").unwrap_or(""))
}

/// A token that is cancelled at SIGTERM or SIGINT. From now on they are caught.
pub(super) fn stop_signal() -> Result<CancellationToken, CommandError> {
    let (mut terminate, mut interrupt) = (caught(SignalKind::terminate())?, caught(SignalKind::interrupt())?);
    let stop = CancellationToken::new();
    let until = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        until.cancel();
    });
    Ok(stop)
}

fn caught(kind: SignalKind) -> Result<Signal, CommandError> {
    signal(kind).map_err(|error| CommandError::System { doing: "catching signals", error })
}

/// What a reload works with.
struct Ground {
    file: PathBuf,
    environment: Environment,
    confined: Confined,
    gateway: Arc<Gateway>,
}

async fn reload_on_signal(mut hangup: Signal, ground: Ground) {
    while hangup.recv().await.is_some() {
        server::tell_systemd(&[sd_notify::NotifyState::Reloading]);
        let reloaded = reload(&ground);
        let outcome = if reloaded.is_ok() { "completed" } else { "failed" };
        ground.gateway.account(&Entry { outcome: Some(outcome), ..Entry::act(Act::Reload) });
        match reloaded {
            Ok(()) => SecurityEvent::PolicyReloaded.report(&About::default()),
            Err(CommandError::Configuration(faults)) => report(SecurityEvent::PolicyReloadFailed, &faults),
            Err(error) => SecurityEvent::PolicyReloadFailed
                .report(&About { detail: Some(&error.to_string()), ..About::default() }),
        }
        server::tell_systemd(&[sd_notify::NotifyState::Ready]);
    }
}

/// Reads everything anew; the first thing that is wrong leaves all as it was.
fn reload(ground: &Ground) -> Result<(), CommandError> {
    let Ground { file, environment, confined, gateway } = ground;
    let wanted = wanted(file, environment);
    confined.permits(&wanted)?;
    let config = crate::config::load(file, environment).map_err(CommandError::Configuration)?;
    confined.permits(&wanted.with(&config))?;
    warn_of_restart(&gateway.policy().config, &config);
    let policy = Policy::new(config)?;
    // What cannot be used is found before anything is swapped.
    drop(gateway.certificates.server_config(&policy.config.tls)?);
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
