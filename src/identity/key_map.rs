//! Keys by id, in shares, so that a changed copy costs one share and not all.
//!
//! Guarantees: a clone costs 256 reference counts however many keys there are; with a million keys, one new key copies
//! some 4 000 entries. Does not: lock. A clone is changed, then put in the place of the old one.

use crate::store::key_bounds::PublicKey;
use crate::store::key_record::{KeyId, KeyRecord};
use std::collections::HashMap;
use std::sync::Arc;

const SHARES: usize = 256;

/// The map.
#[derive(Debug, Clone)]
pub(super) struct KeyMap {
    shares: Vec<Arc<HashMap<KeyId, Arc<KeyRecord>>>>,
    signers: Arc<HashMap<PublicKey, KeyId>>,
}

impl KeyMap {
    /// The record of an id.
    pub(super) fn get(&self, id: KeyId) -> Option<&Arc<KeyRecord>> {
        self.shares.get(share(id))?.get(&id)
    }

    /// The record of an SSH key.
    pub(super) fn signer(&self, key: PublicKey) -> Option<&Arc<KeyRecord>> {
        self.get(*self.signers.get(&key)?)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.shares.iter().map(|share| share.len()).sum()
    }
}

impl Default for KeyMap {
    fn default() -> Self {
        Self { shares: vec![Arc::default(); SHARES], signers: Arc::default() }
    }
}

impl Extend<Arc<KeyRecord>> for KeyMap {
    fn extend<I: IntoIterator<Item = Arc<KeyRecord>>>(&mut self, records: I) {
        for record in records {
            self.note_signer(&record);
            if let Some(share) = self.shares.get_mut(share(record.id)) {
                Arc::make_mut(share).insert(record.id, record);
            }
        }
    }
}

impl FromIterator<Arc<KeyRecord>> for KeyMap {
    fn from_iter<I: IntoIterator<Item = Arc<KeyRecord>>>(records: I) -> Self {
        let mut map = Self::default();
        map.extend(records);
        map
    }
}

impl KeyMap {
    /// A key that was revoked may be enrolled again: the one that opens counts.
    fn note_signer(&mut self, record: &KeyRecord) {
        let Some(key) = record.public_key else { return };
        let signers = Arc::make_mut(&mut self.signers);
        if record.revoked_at.is_none() {
            signers.insert(key, record.id);
        } else {
            signers.entry(key).or_insert(record.id);
        }
    }
}

/// Ids are random: any of their characters spread well.
fn share(id: KeyId) -> usize {
    id.as_str().bytes().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte))) % SHARES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::keys::PresentedKey;

    #[test]
    fn shares_are_even() {
        let mut counts = vec![0; SHARES];
        for _ in 0..SHARES * 40 {
            counts[share(PresentedKey::generate().unwrap().id())] += 1;
        }
        assert!(counts.iter().all(|count| (5..=100).contains(count)), "{counts:?}");
    }
}
