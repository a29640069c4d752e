//! From a checked configuration to a gateway that can serve.

use super::CommandError;
use crate::certificates::Certificates;
use crate::config::Config;
use crate::config::types::AuditPolicy;
use crate::gateway::{Gateway, Parts, Policy};
use crate::identity::accounts::Accounts;
use crate::identity::key_ring::KeyRing;
use crate::identity::pepper::Pepper;
use crate::store::Store;
use crate::telemetry::audit::Audit;
use crate::telemetry::clock;
use std::sync::Arc;

/// A gateway and the store behind its keys.
pub(super) struct Opened {
    pub(super) gateway: Arc<Gateway>,
    pub(super) store: Store,
    /// Follows files and renews certificates. A process that drains must not order any more: another one may do so.
    pub(super) renewal: tokio::task::AbortHandle,
}

/// Opens the store, reads the keys and certificates, and begins to follow their changes.
pub(super) async fn open(config: Config) -> Result<Opened, CommandError> {
    let state = config.server.state.clone();
    let store = Store::open(&config.store, &state).await?;
    let pepper = Pepper::open(&state, &store).await?;
    let keys = Arc::new(KeyRing::load(pepper.clone(), &store).await?);
    let audit = audit(&config, &pepper)?;
    let accounts = Arc::new(Accounts::load(store.clone(), pepper).await?);
    let certificates = Certificates::open(&config, clock::now)?;
    let parts = Parts {
        keys: Arc::clone(&keys),
        accounts: Arc::clone(&accounts),
        audit: audit.clone(),
        certificates: Arc::clone(&certificates),
    };
    let gateway = Gateway::new(Policy::new(config)?, parts)?;
    gateway.ledger.read(&store, clock::now()).await?;
    tokio::spawn(gateway.ledger.clone().write_behind(store.clone(), clock::now));
    gateway.bans.read(&store, clock::now()).await?;
    let (bans, of_bans) = (Arc::clone(&gateway.bans), store.clone());
    tokio::spawn(async move { bans.watch(of_bans, clock::now).await });
    let follow = store.clone();
    tokio::spawn(async move { keys.watch(follow).await });
    tokio::spawn(async move { accounts.watch().await });
    let renewal = tokio::spawn(certificates.watch()).abort_handle();
    let gateway = Arc::new(gateway);
    if let Some(audit) = audit {
        let of_audit = Arc::clone(&gateway);
        tokio::spawn(audit.keep(move || of_audit.policy().config.audit.files));
    }
    let of_retention = Arc::clone(&gateway);
    let retention = move || of_retention.policy().config.usage.retention;
    tokio::spawn(Arc::clone(&gateway.usage).write_behind(store.clone(), retention));
    let of_traces = Arc::clone(&gateway);
    tokio::spawn(async move { of_traces.traces.export(|| of_traces.policy().config.traces.clone()).await });
    Ok(Opened { gateway, store, renewal })
}

fn audit(config: &Config, pepper: &Pepper) -> Result<Option<Arc<Audit>>, CommandError> {
    let key = pepper.derive(b"hashes of prompts");
    let key = match config.audit.policy {
        AuditPolicy::Off => return Ok(None),
        AuditPolicy::On => None,
        AuditPolicy::WithPromptHash => Some(&*key),
    };
    Ok(Some(Arc::new(Audit::open(&config.server.state, key)?)))
}
