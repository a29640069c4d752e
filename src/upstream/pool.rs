//! Kept connections: at most so many, each used for one exchange at a time, on the runtime that opened it.

use super::attendant::Streams;
use super::connection::Connection;
use super::silence::Models;
use crate::config::types;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::{self, Handle};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections with nothing in flight that each runtime keeps.
const KEPT: usize = 64;

/// The Ollama behind, as long as the process lives.
#[derive(Debug)]
pub struct Upstream {
    idle: Mutex<HashMap<runtime::Id, VecDeque<Connection>>>,
    pub(super) streams: Streams,
    slots: Arc<Semaphore>,
    places: usize,
    /// The models that something is in flight on.
    pub models: Models,
}

/// What one exchange needs of the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) connect: Duration,
    pub(super) first_byte: Duration,
    pub(super) idle: Duration,
    pub(super) buffer: usize,
}

impl Bounds {
    pub(super) const fn of(config: &types::Upstream, buffer: usize) -> Self {
        Self {
            connect: config.connect_timeout,
            first_byte: config.first_byte_timeout,
            idle: config.idle_timeout,
            buffer,
        }
    }
}

impl Upstream {
    /// No connection is opened yet.
    #[must_use]
    pub fn new(config: &types::Upstream) -> Self {
        Self {
            idle: Mutex::default(),
            streams: Streams::default(),
            slots: Arc::new(Semaphore::new(config.max_connections)),
            places: config.max_connections,
            models: Models::default(),
        }
    }

    /// A place among the connections that may be open, if one is free.
    pub fn slot(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// How many of those places are taken.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.places.saturating_sub(self.slots.available_permits())
    }

    /// Whether Ollama accepts connections.
    ///
    /// # Errors
    /// What the connect said.
    pub async fn probe(config: &types::Upstream) -> io::Result<()> {
        let connect = tokio::net::TcpStream::connect(&config.address);
        tokio::time::timeout(config.connect_timeout, connect).await.map_err(io::Error::from)?.map(drop)
    }

    /// A kept connection to this address that still works; what does not is let go.
    pub(super) fn kept(&self, address: &str) -> Option<Connection> {
        let here = Handle::current().id();
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&here)?.pop_back()?;
            if kept.is_usable_for(address) {
                return Some(kept);
            }
        }
    }

    /// A new connection.
    pub(super) async fn fresh(address: &str, connect: Duration) -> io::Result<Connection> {
        tokio::time::timeout(connect, Connection::open(address)).await.map_err(io::Error::from)?
    }

    /// Takes a connection back after a complete exchange.
    pub(super) fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let here = idle.entry(connection.runtime().id()).or_default();
        // The longest idle one is looked at each time: one that Ollama has closed is not held for ever.
        let stale = here.front().is_some_and(|oldest| !oldest.is_open());
        if stale || here.len() >= KEPT {
            here.pop_front();
        }
        here.push_back(connection);
    }
}
