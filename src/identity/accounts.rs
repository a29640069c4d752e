//! Users and revoked tokens, in memory: what the subject of a token is checked against.
//!
//! Guarantees: [`Accounts::resolve`] waits for nothing and asks no database; a user that is locked, removed, has another
//! role or another password by now is noticed within a second, also when another process did it, and the tokens from
//! before are void; so are those of a key that was revoked. While the store cannot be read, the last known state holds.
//! Does not: check passwords (`identity::sign_in`).

use super::key_ring::KeyRing;
use super::passwords::Passwords;
use super::pepper::Pepper;
use super::tokens::{Claims, TokenRefusal};
use crate::limits::PrincipalId;
use crate::store::key_record::{KeyId, KeyRecord};
use crate::store::timestamp::Timestamp;
use crate::store::{Revision, Store, StoreError};
use crate::telemetry::clock;
use arc_swap::ArcSwap;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// How often the store is asked whether something changed.
const INTERVAL: Duration = Duration::from_millis(400);
/// The same while it does not answer.
const PAUSE: Duration = Duration::from_secs(2);

/// Who may have tokens. One for the life of the process.
#[derive(Debug)]
pub struct Accounts {
    pub(super) store: Store,
    pub(super) pepper: Pepper,
    pub(super) passwords: Passwords,
    snapshot: ArcSwap<Snapshot>,
}

#[derive(Debug)]
struct Snapshot {
    revision: Revision,
    users: HashMap<Arc<str>, Known>,
    revoked: HashSet<String>,
}

#[derive(Debug)]
struct Known {
    role: Arc<str>,
    valid_from: Timestamp,
    access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Open,
    Locked,
}

/// Who a subject is. A key's tokens count as the key, and are bound as it is.
#[derive(Debug, Clone)]
pub enum Identified {
    /// A service, by its key.
    Key(Arc<KeyRecord>),
    /// A user.
    User(PrincipalId),
}

/// What stands before a key's id in `sub`; no user's name has a colon.
pub(super) const KEY_SUBJECT: &str = "key:";

impl Accounts {
    /// Reads all of them.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn load(store: Store, pepper: Pepper) -> Result<Self, StoreError> {
        let snapshot = Snapshot::read(&store).await?;
        Ok(Self { store, pepper, passwords: Passwords::default(), snapshot: ArcSwap::from_pointee(snapshot) })
    }

    /// The store they are in.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Who the subject of a verified token of ours is.
    ///
    /// # Errors
    /// The token was taken back, or its subject may not call any more, or not as this.
    pub fn resolve(&self, claims: &Claims, keys: &KeyRing, now: SystemTime) -> Result<Identified, TokenRefusal> {
        let snapshot = self.snapshot.load();
        if snapshot.is_revoked(claims) {
            return Err(TokenRefusal::Revoked);
        }
        let found = match claims.subject.strip_prefix(KEY_SUBJECT) {
            Some(id) => of_key(id, &claims.role, (keys, now)),
            None => snapshot.of_user(claims),
        };
        found.ok_or(TokenRefusal::Subject)
    }

    /// The role of a user who signed in at `since` and may still be in.
    #[must_use]
    pub fn standing(&self, name: &str, since: Timestamp) -> Option<Arc<str>> {
        let snapshot = self.snapshot.load();
        let known = snapshot.users.get(name)?;
        (known.access == Access::Open && since >= known.valid_from).then(|| Arc::clone(&known.role))
    }

    /// Reads everything again, so that a change made here holds at once.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn renew(&self) -> Result<(), StoreError> {
        self.snapshot.store(Arc::new(Snapshot::read(&self.store).await?));
        Ok(())
    }

    /// Follows the store for ever. To be spawned once.
    pub async fn watch(&self) {
        let mut silent = false;
        loop {
            let pause = match self.follow().await {
                Ok(()) => {
                    silent = false;
                    INTERVAL
                }
                Err(error) => {
                    if !silent {
                        tracing::error!(event = "accounts_unreadable", %error, "the users cannot be read: the last known ones hold");
                    }
                    silent = true;
                    PAUSE
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads everything again where something has changed.
    pub(super) async fn follow(&self) -> Result<(), StoreError> {
        let theirs = self.store.accounts_revision().await?;
        if theirs == self.snapshot.load().revision { Ok(()) } else { self.renew().await }
    }
}

fn of_key(id: &str, role: &str, (keys, now): (&KeyRing, SystemTime)) -> Option<Identified> {
    keys.active(KeyId::parse(id)?, now).filter(|key| *key.role == *role).map(Identified::Key)
}

impl Snapshot {
    async fn read(store: &Store) -> Result<Self, StoreError> {
        // The revision first: what changes between the statements is then read again, not missed.
        let revision = store.accounts_revision().await?;
        let mut users = HashMap::new();
        for user in store.users().await? {
            let access = if user.locked_at.is_some() { Access::Locked } else { Access::Open };
            users.insert(user.name.shared(), Known { role: user.role, valid_from: user.valid_from, access });
        }
        let revoked = store.revoked_tokens(Timestamp::from(clock::now())).await?.into_iter().collect();
        Ok(Self { revision, users, revoked })
    }

    /// A token's id begins with the id of its sign-in: either may be on the list.
    fn is_revoked(&self, claims: &Claims) -> bool {
        let Some(id) = &claims.id else { return false };
        let family = id.split_once('-').map_or(id.as_str(), |(family, _)| family);
        self.revoked.contains(id) || self.revoked.contains(family)
    }

    fn of_user(&self, claims: &Claims) -> Option<Identified> {
        let (name, known) = self.users.get_key_value(claims.subject.as_str())?;
        let current = known.access == Access::Open && claims.issued_at >= known.valid_from.seconds();
        (current && *known.role == claims.role).then(|| Identified::User(principal(name)))
    }
}

/// A user's name could be the text of a key's id: the two are told apart.
pub(super) fn principal(user: &str) -> PrincipalId {
    PrincipalId::new(format!("user:{user}"))
}
