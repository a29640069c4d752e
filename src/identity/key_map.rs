//! Keys by id, in shares, so that a changed copy costs one share and not all.
//!
//! Guarantees: a clone costs 256 reference counts however many keys there are; with a million keys, one new key copies
//! some 4 000 entries. Does not: lock. A clone is changed, then put in the place of the old one.

use crate::store::key_record::{KeyId, KeyRecord};
use std::collections::HashMap;
use std::sync::Arc;

const SHARES: usize = 256;

/// The map.
#[derive(Debug, Clone)]
pub(super) struct KeyMap {
    shares: Vec<Arc<HashMap<KeyId, Arc<KeyRecord>>>>,
}

impl KeyMap {
    /// The record of an id.
    pub(super) fn get(&self, id: KeyId) -> Option<&Arc<KeyRecord>> {
        self.shares.get(share(id))?.get(&id)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.shares.iter().map(|share| share.len()).sum()
    }
}

impl Default for KeyMap {
    fn default() -> Self {
        Self { shares: vec![Arc::default(); SHARES] }
    }
}

impl Extend<Arc<KeyRecord>> for KeyMap {
    fn extend<I: IntoIterator<Item = Arc<KeyRecord>>>(&mut self, records: I) {
        for record in records {
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
