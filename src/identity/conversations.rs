//! Conversations: a client names one by `X-Conversation-Id`, and the first who does owns it.
//!
//! Guarantees: an id is a plain word of 64 characters at most; its owner never changes, so what is remembered of it is
//! never stale; what is remembered is bounded, the rest is asked from the store. Answers `threats.md` §6.3 (8.4.1).
//! Does not: keep what was said: Ollama has no conversations, its clients send them whole each time.

use crate::store::timestamp::Timestamp;
use crate::store::{Store, StoreError};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// Ids of one generation; two are remembered.
const GENERATION: usize = 16_384;

/// The id of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ConversationId(Arc<str>);

impl ConversationId {
    /// Reads an id: 1 to 64 letters, digits, `-`, `_`, `.`
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let fits = (1..=64).contains(&bytes.len()) && bytes.iter().all(allowed);
        std::str::from_utf8(bytes).ok().filter(|_| fits).map(|text| Self(text.into()))
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a conversation is the caller's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// It is, or it is now.
    Own,
    /// It is somebody else's.
    Another,
}

/// The owners of conversations. One for the life of the process.
#[derive(Debug)]
pub struct Conversations {
    store: Store,
    owners: Mutex<Owners>,
}

#[derive(Debug, Default)]
struct Owners {
    young: HashMap<ConversationId, Arc<str>>,
    old: HashMap<ConversationId, Arc<str>>,
}

impl Owners {
    fn get(&mut self, id: &ConversationId) -> Option<Arc<str>> {
        if let Some(owner) = self.young.get(id) {
            return Some(Arc::clone(owner));
        }
        let owner = self.old.remove(id)?;
        self.put(id.clone(), Arc::clone(&owner));
        Some(owner)
    }

    fn put(&mut self, id: ConversationId, owner: Arc<str>) {
        if self.young.len() >= GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(id, owner);
    }
}

impl Conversations {
    /// Of this store.
    #[must_use]
    pub fn new(store: Store) -> Self {
        Self { store, owners: Mutex::default() }
    }

    /// Whether the conversation is this caller's; a new one becomes it.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn claim(&self, id: &ConversationId, caller: &str, now: SystemTime) -> Result<Ownership, StoreError> {
        let known = self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(id);
        let owner = match known {
            Some(owner) => owner,
            None => {
                let owner: Arc<str> =
                    self.store.claim_conversation(id.as_str(), caller, Timestamp::from(now)).await?.into();
                self.owners.lock().unwrap_or_else(PoisonError::into_inner).put(id.clone(), Arc::clone(&owner));
                owner
            }
        };
        Ok(if *owner == *caller { Ownership::Own } else { Ownership::Another })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_plain_word() {
        for text in ["a", "7f9c-4e.b_2", &"x".repeat(64)] {
            assert!(ConversationId::parse(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["", "a b", "a/b", "é", "a\n", "'--", &"x".repeat(65)] {
            assert!(ConversationId::parse(text.as_bytes()).is_none(), "{text:?}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_used_stays() {
        let mut owners = Owners::default();
        let id = |number: usize| ConversationId::parse(number.to_string().as_bytes()).unwrap();
        for number in 0..5 * GENERATION {
            owners.put(id(number), "ana".into());
            assert!(owners.get(&id(0)).is_some(), "{number}");
        }
        assert!(owners.young.len() + owners.old.len() <= 2 * GENERATION);
        assert!(owners.get(&id(1)).is_none());
    }
}
