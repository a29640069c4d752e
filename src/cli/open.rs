//! From a checked configuration to a gateway that can serve.

use super::CommandError;
use crate::certificates::Certificates;
use crate::config::Config;
use crate::gateway::{Gateway, Policy};
use crate::identity::key_ring::KeyRing;
use crate::identity::pepper::Pepper;
use crate::store::Store;
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
    let keys = Arc::new(KeyRing::load(pepper, &store).await?);
    let certificates = Certificates::open(&config, clock::now)?;
    let gateway = Gateway::new(Policy::new(config)?, Arc::clone(&keys), Arc::clone(&certificates))?;
    gateway.ledger.read(&store, clock::now()).await?;
    tokio::spawn(gateway.ledger.clone().write_behind(store.clone(), clock::now));
    gateway.bans.read(&store, clock::now()).await?;
    let (bans, of_bans) = (Arc::clone(&gateway.bans), store.clone());
    tokio::spawn(async move { bans.watch(of_bans, clock::now).await });
    let follow = store.clone();
    tokio::spawn(async move { keys.watch(follow).await });
    let renewal = tokio::spawn(certificates.watch()).abort_handle();
    Ok(Opened { gateway: Arc::new(gateway), store, renewal })
}
