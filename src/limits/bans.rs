//! Who is refused whatever they send, and what gets one there.
//!
//! Guarantees: a look at the list costs a read of memory, no lock and no database; a ban of this process holds from the
//! next request on, one of another process or of a command within a second; who fails or probes too often is banned for
//! a while; the list is bounded, and full means that the oldest automatic bans of memory give way. Time is passed in.
//! Answers `threats.md` §5 item 20. Does not: ban those whom the configuration exempts.

use super::address::AddressPrefix;
use super::bucket::Bucket;
use super::failures::Failures;
use crate::config::types::Bans as Config;
use crate::store::key_record::KeyRecord;
use crate::store::timestamp::Timestamp;
use crate::store::{Ban, Banned, Revision, Store, StoreError};
use arc_swap::ArcSwap;
use governor::clock::DefaultClock;
use ipnet::IpNet;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// The bans of the moment.
#[derive(Debug)]
pub struct BanList {
    snapshot: ArcSwap<Snapshot>,
    made_here: mpsc::Sender<Ban>,
    to_write: Mutex<Option<mpsc::Receiver<Ban>>>,
}

#[derive(Debug, Clone, Default)]
struct Snapshot {
    revision: Option<Revision>,
    addresses: HashMap<AddressPrefix, Timestamp>,
    networks: Vec<(IpNet, Timestamp)>,
    /// Ids of keys, and users with `user:` before their names: as principals are called.
    principals: HashMap<String, Timestamp>,
}

/// Automatic bans on their way to the store.
const UNWRITTEN: usize = 1024;
/// Addresses that are kept in memory.
const MAX_ADDRESSES: usize = 100_000;
/// How often the store is asked.
const EVERY: Duration = Duration::from_millis(300);

impl Default for BanList {
    fn default() -> Self {
        let (made_here, receiver) = mpsc::channel(UNWRITTEN);
        Self { snapshot: ArcSwap::default(), made_here, to_write: Mutex::new(Some(receiver)) }
    }
}

impl Snapshot {
    fn add(&mut self, ban: &Ban) {
        match &ban.who {
            Banned::Key(id) => {
                self.principals.insert(id.clone(), ban.ends_at);
            }
            Banned::User(_) => {
                self.principals.insert(ban.who.to_string(), ban.ends_at);
            }
            Banned::Network(network) if is_one(network) => {
                if self.addresses.len() >= MAX_ADDRESSES {
                    self.addresses.retain(|_, ends| *ends > ban.made_at);
                }
                self.addresses.insert(AddressPrefix::from(network.addr()), ban.ends_at);
            }
            Banned::Network(network) => self.networks.push((*network, ban.ends_at)),
        }
    }
}

/// Whether it is what limits count as one address: an IPv4 address, an IPv6 address or its /64.
fn is_one(network: &IpNet) -> bool {
    match network {
        IpNet::V4(network) => network.prefix_len() == 32,
        IpNet::V6(network) => network.prefix_len() >= 64,
    }
}

impl BanList {
    /// Whether an address is banned at `now`.
    #[must_use]
    pub fn has_address(&self, address: IpAddr, now: SystemTime) -> bool {
        let bans = self.snapshot.load();
        if bans.addresses.is_empty() && bans.networks.is_empty() {
            return false;
        }
        let now = Timestamp::from(now);
        bans.addresses.get(&AddressPrefix::from(address)).is_some_and(|ends| *ends > now)
            || bans.networks.iter().any(|(network, ends)| *ends > now && network.contains(&address))
    }

    /// Whether the holder of a key, or a user, is banned at `now`.
    #[must_use]
    pub fn has_principal(&self, id: &str, now: SystemTime) -> bool {
        self.snapshot.load().principals.get(id).is_some_and(|ends| *ends > Timestamp::from(now))
    }

    /// Whether the holder of a key is banned at `now`, by this key or by the first of its rotations.
    #[must_use]
    pub fn has_key(&self, key: &KeyRecord, now: SystemTime) -> bool {
        [key.id, key.principal].iter().any(|id| self.has_principal(id.as_str(), now))
    }

    /// Bans at once; the store learns it a moment later.
    pub fn ban(&self, ban: Ban) {
        self.snapshot.rcu(|bans| {
            let mut bans = Snapshot::clone(bans);
            bans.add(&ban);
            bans
        });
        // A full channel means a store that does not answer: the ban holds in this process all the same.
        drop(self.made_here.try_send(ban));
    }

    /// Follows the store for ever, and writes to it what was made here. To be spawned once.
    pub async fn watch(&self, store: Store, now: fn() -> SystemTime) {
        let to_write = self.to_write.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut to_write) = to_write else { return };
        let mut failing = false;
        loop {
            let step = async {
                if let Ok(Some(ban)) = tokio::time::timeout(EVERY, to_write.recv()).await {
                    store.put_ban(&ban).await?; // a longer one that is there stays
                }
                self.catch_up(&store, now()).await
            };
            match step.await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(event = "bans_unreadable", %error, "the bans cannot be read: the last known ones hold");
                }
                Err(_) => tokio::time::sleep(EVERY).await,
            }
        }
    }

    async fn catch_up(&self, store: &Store, now: SystemTime) -> Result<(), StoreError> {
        if self.snapshot.load().revision == Some(store.bans_revision().await?) {
            return Ok(());
        }
        self.read(store, now).await
    }

    /// Reads all bans.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn read(&self, store: &Store, now: SystemTime) -> Result<(), StoreError> {
        let (revision, bans) = store.bans(Timestamp::from(now)).await?;
        let mut snapshot = Snapshot { revision: Some(revision), ..Snapshot::default() };
        bans.iter().for_each(|ban| snapshot.add(ban));
        self.snapshot.store(Arc::new(snapshot));
        Ok(())
    }
}

/// What gets an address banned.
#[derive(Debug)]
pub struct Misdeeds {
    failures: Option<Failures<DefaultClock>>,
    probes: Option<Failures<DefaultClock>>,
    made_from: Config,
}

/// One thing that somebody should not do too often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misdeed {
    /// A credential that was refused.
    Credential,
    /// A route that is not there.
    UnknownRoute,
}

impl Misdeeds {
    /// Nothing was done yet.
    #[must_use]
    pub fn new(config: &Config, cap: usize) -> Self {
        let counter = |name, rate: Option<crate::config::types::Rate>| {
            rate.map(|rate| Failures::new(Bucket::new(name, rate), cap, DefaultClock::default()))
        };
        let failures = counter("failures", config.failures);
        Self { failures, probes: counter("unknown_routes", config.unknown_routes), made_from: config.clone() }
    }

    /// Whether these counters fit the configuration.
    #[must_use]
    pub fn same(&self, config: &Config) -> bool {
        self.made_from == *config
    }

    /// Counts one; the address is to be banned now, for so long.
    #[must_use]
    pub fn count(&self, misdeed: Misdeed, address: IpAddr) -> Option<Duration> {
        let counter = match misdeed {
            Misdeed::Credential => self.failures.as_ref()?,
            Misdeed::UnknownRoute => self.probes.as_ref()?,
        };
        if self.made_from.exempt.iter().any(|network| network.contains(&address)) {
            return None;
        }
        let prefix = AddressPrefix::from(address);
        counter.failed(prefix);
        counter.allowed(prefix).is_err().then_some(self.made_from.time)
    }

    /// Forgets those who have behaved since.
    pub fn sweep(&self) {
        for counter in [&self.failures, &self.probes].into_iter().flatten() {
            counter.sweep();
        }
    }
}
