//! Making keys and putting one in the place of another. Used by the commands and by `try`.
//!
//! Guarantees: the text of a key exists once, in the value that is returned; what is stored cannot be turned back
//! into it. Does not: know which roles there are; the caller has checked.

use super::keys::{NoRandomness, PresentedKey};
use super::pepper::Pepper;
use crate::config::secret::Secret;
use crate::store::key_bounds::{KeyBounds, PublicKey};
use crate::store::key_record::{KeyId, KeyName, KeyRecord, KeyState};
use crate::store::timestamp::Timestamp;
use crate::store::{Change, Revision, Rotation, Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// What a key is to be.
#[derive(Debug, Clone)]
pub struct KeyRequest {
    /// What people call it.
    pub name: KeyName,
    /// Its role, which exists.
    pub role: Arc<str>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// What narrows it further than its role.
    pub bounds: KeyBounds,
}

/// A key that was just made. Its text is shown once and is nowhere else.
#[derive(Debug)]
pub struct IssuedKey {
    /// What is kept.
    pub record: KeyRecord,
    /// What is shown.
    pub text: Secret,
}

/// The role of a key that bans whoever uses it. No role of a configuration can have this name.
pub const HONEY: &str = "!honey";

/// Why there is no new key.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// The store cannot do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to make one from.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// There is no such key to rotate.
    #[error("there is no key {0}: see `key list`")]
    Unknown(KeyId),
    /// It opens nothing any more, or another one has taken its place.
    #[error("the key {id} is {state}: only an active key can be rotated; make a new one with `key create`", state = state.as_str())]
    NotActive {
        /// Which.
        id: KeyId,
        /// What it is.
        state: KeyState,
    },
    /// Its owner has the other half.
    #[error("the key {0} is an SSH key: add the new one with `key add-ssh`, then revoke this one")]
    SshKey(KeyId),
    /// The SSH key is enrolled already.
    #[error("this SSH key is enrolled already, as {0}: see `key list`")]
    Enrolled(KeyId),
    /// Another process was quicker.
    #[error("the key {0} was changed by another process meanwhile: nothing was done, see `key list`")]
    Changed(KeyId),
}

/// Makes a key and stores its record.
///
/// # Errors
/// The store or the operating system refused; then there is no key.
pub async fn issue(
    store: &Store,
    pepper: &Pepper,
    wanted: KeyRequest,
    now: Timestamp,
) -> Result<IssuedKey, IssueError> {
    let issued = draw(pepper, wanted, now)?;
    store.insert_key(&issued.record).await?;
    Ok(issued)
}

/// Enrols an SSH key. What is stored has the hash of a secret that is thrown away: nothing but a signature opens it.
///
/// # Errors
/// It is enrolled already, or the store or the operating system refused.
pub async fn enrol(
    store: &Store,
    pepper: &Pepper,
    (wanted, public_key): (KeyRequest, PublicKey),
    now: Timestamp,
) -> Result<KeyRecord, IssueError> {
    let keys = store.keys_since(Revision::START).await?.keys;
    let same = keys.iter().find(|key| key.public_key == Some(public_key) && key.revoked_at.is_none());
    if let Some(same) = same {
        return Err(IssueError::Enrolled(same.id));
    }
    let mut record = draw(pepper, wanted, now)?.record;
    record.public_key = Some(public_key);
    store.insert_key(&record).await?;
    Ok(record)
}

/// Makes a key in the place of another one, with its name, its role and as long a life; the old one opens for
/// `overlap` yet, and never longer than it would have.
///
/// # Errors
/// The key is unknown or not active, or the store refused; then nothing has changed.
pub async fn rotate(store: &Store, pepper: &Pepper, turn: Turn) -> Result<IssuedKey, IssueError> {
    let old = store.key(turn.id).await?.ok_or(IssueError::Unknown(turn.id))?;
    match old.state(turn.now) {
        KeyState::Active => {}
        state @ (KeyState::Rotating | KeyState::Expired | KeyState::Revoked) => {
            return Err(IssueError::NotActive { id: old.id, state });
        }
    }
    if old.public_key.is_some() {
        return Err(IssueError::SshKey(old.id));
    }
    let mut new = draw(pepper, successor(&old, turn.now), turn.now)?;
    new.record.principal = old.principal;
    let old_expires_at = last_moment(&old, turn);
    match store.rotate_key(&Rotation { old: old.id, old_expires_at, new: &new.record }).await? {
        Change::Made => Ok(new),
        Change::NotMade => Err(IssueError::Changed(old.id)),
    }
}

/// One rotation.
#[derive(Debug, Clone, Copy)]
pub struct Turn {
    /// Which key goes.
    pub id: KeyId,
    /// How long it opens yet.
    pub overlap: Duration,
    /// The present.
    pub now: Timestamp,
}

fn draw(pepper: &Pepper, wanted: KeyRequest, now: Timestamp) -> Result<IssuedKey, IssueError> {
    let key = PresentedKey::generate()?;
    Ok(IssuedKey { record: wanted.record(&key, pepper, now), text: key.reveal() })
}

impl KeyRequest {
    /// The record of a key that was drawn for it.
    #[must_use]
    pub fn record(self, key: &PresentedKey, pepper: &Pepper, now: Timestamp) -> KeyRecord {
        KeyRecord {
            id: key.id(),
            principal: key.id(),
            name: self.name,
            role: self.role,
            hash: pepper.hash(key),
            created_at: now,
            expires_at: self.expires_at,
            revoked_at: None,
            replaced_by: None,
            bounds: self.bounds,
            public_key: None,
        }
    }
}

fn successor(old: &KeyRecord, now: Timestamp) -> KeyRequest {
    let life = old.expires_at.map(|end| end.since(old.created_at));
    // A life that would pass the year 9999 ends when the old one did.
    let expires_at = life.and_then(|life| now.after(life)).or(old.expires_at);
    KeyRequest { name: old.name.clone(), role: Arc::clone(&old.role), expires_at, bounds: old.bounds.clone() }
}

fn last_moment(old: &KeyRecord, turn: Turn) -> Timestamp {
    let wanted = turn.now.after(turn.overlap).unwrap_or(turn.now);
    old.expires_at.map_or(wanted, |end| end.min(wanted))
}
