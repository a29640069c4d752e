//! All keys, in memory: what a request is checked against.
//!
//! Guarantees: [`KeyRing::verify`] waits for nothing and asks no database; an unknown id and a wrong secret do the same
//! work (one HMAC, one constant-time comparison), and only the holder of the secret learns that a key is expired or
//! revoked. [`KeyRing::watch`] notices a change made by another process within a second. While the store cannot be
//! read, the last known keys hold: a broken database does not lock everybody out, and it does not let anybody new in.
//! Does not: notice a revocation while the store cannot be read; that is logged as an error, `keys_unreadable`.
//! Memory: about 250 bytes a key (measured with a million). Answers `threats.md` §4.5 (key timing oracle).

use super::key_map::KeyMap;
use super::keys::PresentedKey;
use super::pepper::Pepper;
use crate::store::key_bounds::PublicKey;
use crate::store::key_record::{KeyHash, KeyId, KeyRecord, KeyState};
use crate::store::timestamp::Timestamp;
use crate::store::{Changes, KeyChanges, Revision, Store, StoreError};
use arc_swap::ArcSwap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use subtle::ConstantTimeEq;
use tokio::sync::watch;

/// The keys. One for the life of the process.
#[derive(Debug)]
pub struct KeyRing {
    pepper: Pepper,
    snapshot: ArcSwap<Snapshot>,
    reloads: watch::Sender<Reload>,
}

/// Why a well-formed key opens nothing. The client is told the same for all of them; the log is told which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRefusal {
    /// No key has this id.
    Unknown,
    /// The id is known, the rest is wrong.
    WrongSecret,
    /// Right, but too late.
    Expired,
    /// Right, but taken back.
    Revoked,
}

impl KeyRefusal {
    /// For the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::WrongSecret => "wrong_secret",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// The state of the ring after a reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reload {
    /// Of the store.
    pub revision: Revision,
    /// How many keys there are, in whatever state.
    pub keys: usize,
}

#[derive(Debug)]
struct Snapshot {
    revision: Revision,
    keys: KeyMap,
}

impl Snapshot {
    fn summary(&self) -> Reload {
        Reload { revision: self.revision, keys: self.keys.len() }
    }
}

impl KeyRing {
    /// Reads all keys.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(pepper: Pepper, store: &Store) -> Result<Self, StoreError> {
        let KeyChanges { revision, keys } = store.keys_since(Revision::START).await?;
        Ok(Self::of(pepper, Snapshot { revision, keys: keys.into_iter().collect() }))
    }

    /// A ring of given keys: for tests, and where there is no store.
    #[must_use]
    pub fn of_records(pepper: Pepper, records: Vec<KeyRecord>) -> Self {
        let keys = records.into_iter().map(Arc::new).collect();
        Self::of(pepper, Snapshot { revision: Revision::START, keys })
    }

    fn of(pepper: Pepper, snapshot: Snapshot) -> Self {
        let (reloads, _) = watch::channel(snapshot.summary());
        Self { pepper, snapshot: ArcSwap::from_pointee(snapshot), reloads }
    }

    /// Whose key it is, if it opens at `now`.
    ///
    /// # Errors
    /// [`KeyRefusal`]; the client is not told which.
    pub fn verify(&self, presented: &PresentedKey, now: SystemTime) -> Result<Arc<KeyRecord>, KeyRefusal> {
        let known = self.snapshot.load().keys.get(presented.id()).cloned();
        // An id that nobody has is compared too, with a hash that no key has: the time tells nothing.
        let expected = known.as_ref().map_or(NO_KEY, |record| record.hash);
        let same: bool = self.pepper.hash(presented).as_bytes().ct_eq(expected.as_bytes()).into();
        let record = known.ok_or(KeyRefusal::Unknown)?;
        if !same {
            return Err(KeyRefusal::WrongSecret);
        }
        match record.state(Timestamp::from(now)) {
            KeyState::Active | KeyState::Rotating => Ok(record),
            KeyState::Expired => Err(KeyRefusal::Expired),
            KeyState::Revoked => Err(KeyRefusal::Revoked),
        }
    }

    /// The record of an SSH key, if it opens at `now`.
    #[must_use]
    pub fn signer(&self, key: PublicKey, now: SystemTime) -> Option<Arc<KeyRecord>> {
        let record = self.snapshot.load().keys.signer(key).cloned()?;
        record.state(Timestamp::from(now)).opens().then_some(record)
    }

    /// The key of an id, if it opens at `now`: for what was given out on its word.
    #[must_use]
    pub fn active(&self, id: KeyId, now: SystemTime) -> Option<Arc<KeyRecord>> {
        let record = self.snapshot.load().keys.get(id).cloned()?;
        record.state(Timestamp::from(now)).opens().then_some(record)
    }

    /// How many keys there are, in whatever state.
    #[must_use]
    pub fn len(&self) -> usize {
        self.snapshot.load().keys.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Tells of reloads to come.
    #[must_use]
    pub fn reloads(&self) -> watch::Receiver<Reload> {
        self.reloads.subscribe()
    }

    /// Follows the store for ever. To be spawned once; it may be dropped at any point.
    pub async fn watch(&self, store: Store) {
        let mut streak = FailureStreak::default();
        loop {
            let Err(error) = self.follow(&store, &mut streak).await;
            streak.failed(&error);
            tokio::time::sleep(streak.pause()).await;
        }
    }

    async fn follow(&self, store: &Store, streak: &mut FailureStreak) -> Result<Infallible, StoreError> {
        let mut changes = store.changes().await?;
        loop {
            self.catch_up(store, &mut changes).await?;
            streak.recovered();
            tokio::time::sleep(changes.interval()).await;
        }
    }

    async fn catch_up(&self, store: &Store, changes: &mut Changes) -> Result<(), StoreError> {
        let ours = self.snapshot.load().revision;
        let theirs = changes.revision().await?;
        if theirs == ours {
            return Ok(());
        }
        // A store that went back is another one (a backup was restored): what is known of the old one is void.
        let since = if theirs > ours { ours } else { Revision::START };
        self.adopt(since, store.keys_since(since).await?);
        Ok(())
    }

    fn adopt(&self, since: Revision, changes: KeyChanges) {
        let changed = changes.keys.len();
        let mut keys = if since == Revision::START { KeyMap::default() } else { self.snapshot.load().keys.clone() };
        keys.extend(changes.keys);
        let snapshot = Snapshot { revision: changes.revision, keys };
        let summary = snapshot.summary();
        self.snapshot.store(Arc::new(snapshot));
        self.reloads.send_replace(summary);
        let revision = summary.revision.number();
        tracing::info!(event = "keys_reloaded", keys = summary.keys, changed, revision, "keys reloaded");
    }
}

/// What an unknown id is compared with.
const NO_KEY: KeyHash = KeyHash::new([0; 32]);

/// One log line when the store stops answering, one when it does again, and longer and longer pauses between.
#[derive(Debug, Default)]
struct FailureStreak(u32);

impl FailureStreak {
    fn failed(&mut self, error: &StoreError) {
        if self.0 == 0 {
            tracing::error!(
                event = "keys_unreadable",
                %error,
                "the store of keys cannot be read: the last known keys hold, changes and revocations are not noticed"
            );
        } else {
            tracing::debug!(event = "keys_still_unreadable", %error, "the store of keys still cannot be read");
        }
        self.0 = self.0.saturating_add(1);
    }

    fn recovered(&mut self) {
        if self.0 > 0 {
            tracing::info!(event = "keys_readable", failures = self.0, "the store of keys can be read again");
            self.0 = 0;
        }
    }

    /// 0.5 s, 1 s, 2 s, 4 s, 5 s: short enough that a revocation is soon noticed once the store is back.
    fn pause(&self) -> Duration {
        let half_seconds = 2_u64.saturating_pow(self.0.saturating_sub(1)).min(10);
        Duration::from_millis(half_seconds.saturating_mul(500))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_five_seconds() {
        let pauses = [1, 2, 3, 4, 5, 40].map(|failures| FailureStreak(failures).pause().as_millis());
        assert_eq!(pauses, [500, 1000, 2000, 4000, 5000, 5000]);
    }
}
