//! Connections at the same time: of all peers, and of one address.
//!
//! Guarantees: never more than either bound; a slot is given back when it is dropped; the map holds only addresses with
//! an open connection, so it is no larger than the first bound. Answers `threats.md` §4.4 (connection floods).

use super::address::AddressPrefix;
use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts open connections.
#[derive(Debug, Clone)]
pub struct ConnectionSlots(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    open: AtomicUsize,
    by_address: DashMap<AddressPrefix, usize>,
    max_total: AtomicUsize,
    max_per_address: AtomicUsize,
}

/// No slot is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// All of them are taken.
    #[error("too many connections")]
    Total,
    /// This address has all it may have.
    #[error("too many connections of one address")]
    Address,
}

/// One open connection; dropping it gives the slot back.
#[derive(Debug)]
#[must_use = "a dropped slot counts no connection"]
pub struct ConnectionSlot {
    counts: Arc<Counts>,
    address: Option<AddressPrefix>,
}

impl ConnectionSlots {
    /// None is taken.
    #[must_use]
    pub fn new(max_total: usize, max_per_address: usize) -> Self {
        Self(Arc::new(Counts {
            open: AtomicUsize::new(0),
            by_address: DashMap::new(),
            max_total: AtomicUsize::new(max_total),
            max_per_address: AtomicUsize::new(max_per_address),
        }))
    }

    /// Other bounds from now on; connections that are open stay, and count.
    pub fn resize(&self, max_total: usize, max_per_address: usize) {
        self.0.max_total.store(max_total, Ordering::Release);
        self.0.max_per_address.store(max_per_address, Ordering::Release);
    }

    /// Takes a slot.
    ///
    /// # Errors
    /// [`Full`]
    pub fn acquire(&self, address: AddressPrefix) -> Result<ConnectionSlot, Full> {
        let mut slot = self.acquire_of_many()?;
        if self.0.add(address) {
            slot.address = Some(address);
            return Ok(slot);
        }
        Err(Full::Address)
    }

    /// Takes a slot for an address that many clients share, such as a trusted proxy's: only the first bound holds.
    ///
    /// # Errors
    /// [`Full::Total`]
    pub fn acquire_of_many(&self) -> Result<ConnectionSlot, Full> {
        let max_total = self.0.max_total.load(Ordering::Acquire);
        let one_more = |open: usize| open.checked_add(1).filter(|after| *after <= max_total);
        self.0.open.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).map_err(|_| Full::Total)?;
        Ok(ConnectionSlot { counts: Arc::clone(&self.0), address: None })
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Acquire)
    }

    /// From how many addresses.
    #[must_use]
    pub fn addresses(&self) -> usize {
        self.0.by_address.len()
    }
}

impl Counts {
    fn add(&self, address: AddressPrefix) -> bool {
        let max = self.max_per_address.load(Ordering::Acquire);
        match self.by_address.entry(address) {
            Entry::Occupied(there) if *there.get() >= max => false,
            Entry::Vacant(_) if max == 0 => false,
            entry @ (Entry::Occupied(_) | Entry::Vacant(_)) => {
                let mut open = entry.or_insert(0);
                *open = open.saturating_add(1);
                true
            }
        }
    }
}

impl Drop for ConnectionSlot {
    fn drop(&mut self) {
        if let Some(address) = self.address
            && let Entry::Occupied(mut there) = self.counts.by_address.entry(address)
        {
            *there.get_mut() = there.get().saturating_sub(1);
            if *there.get() == 0 {
                there.remove();
            }
        }
        self.counts.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    fn address(last: u8) -> AddressPrefix {
        AddressPrefix::from(IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)))
    }

    #[test]
    fn each_bound_is_kept_and_told() {
        let slots = ConnectionSlots::new(3, 2);
        let mine: Vec<_> = (0..2).map(|_| slots.acquire(address(1)).unwrap()).collect();
        assert_eq!(slots.acquire(address(1)).unwrap_err(), Full::Address);
        let other = slots.acquire(address(2)).unwrap();
        assert_eq!(slots.acquire(address(3)).unwrap_err(), Full::Total);
        slots.resize(4, 2);
        drop((slots.acquire(address(3)).unwrap(), mine, other));
        assert_eq!((slots.open(), slots.addresses()), (0, 0));
    }

    #[test]
    fn threads_never_hold_more_than_the_bounds() {
        let slots = ConnectionSlots::new(6, 4);
        std::thread::scope(|scope| {
            for worker in 0..4_u8 {
                let slots = &slots;
                scope.spawn(move || {
                    for _ in 0..500 {
                        let held = slots.acquire(address(worker % 2));
                        assert!(slots.open() <= 6);
                        drop(held);
                    }
                });
            }
        });
        assert_eq!((slots.open(), slots.addresses()), (0, 0));
    }

    proptest! {
        #[test]
        fn what_is_open_is_what_is_held(steps in proptest::collection::vec((0..5_u8, any::<bool>()), 0..200)) {
            let slots = ConnectionSlots::new(7, 3);
            let mut held: Vec<ConnectionSlot> = Vec::new();
            for (who, takes) in steps {
                if takes {
                    held.extend(slots.acquire(address(who)));
                } else if let Some(at) = held.iter().position(|slot| slot.address == Some(address(who))) {
                    drop(held.swap_remove(at));
                }
                prop_assert_eq!(slots.open(), held.len());
                prop_assert!(held.len() <= 7);
                let of_one = held.iter().filter(|slot| slot.address == Some(address(who))).count();
                prop_assert!(of_one <= 3);
            }
            drop(held);
            prop_assert_eq!((slots.open(), slots.addresses()), (0, 0));
        }
    }
}
