//! The fair queue at work: waiting for a slot, and giving it back.
//!
//! Guarantees: a slot is given back when its [`Slot`] is dropped, wherever that happens, and goes to the next one at once;
//! who stops waiting, by deadline or by leaving, leaves the queue; no lock is held while anybody waits.
//! Does not: decide whose turn it is ([`super::queue`]).

use super::address::Subject;
use super::queue::{Arrival, Asker, FairQueue, QueueShape, Running, Ticket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// The slots of one Ollama. Cheap to clone: clones share them.
#[derive(Debug, Clone)]
pub struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    queue: Mutex<FairQueue<Grant>>,
    opened: Instant,
    /// Whether somebody looks again when the next model may be loaded.
    watched: AtomicBool,
}

/// What a waiting request is told: here is your slot, or (dropped) you were pushed out.
type Grant = oneshot::Sender<Slot>;

/// One slot; dropping it gives it back.
#[derive(Debug)]
#[must_use = "a dropped slot is free"]
pub struct Slot {
    shared: Arc<Shared>,
    running: Option<Running>,
}

/// A wait for a slot: known from its first moment on, so that who stops waiting has waited too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    position: usize,
    since: Instant,
    took: Option<Duration>,
}

impl Turn {
    fn begins(position: usize) -> Self {
        Self { position, since: Instant::now(), took: None }
    }

    fn is_over(&mut self) {
        self.took = Some(self.since.elapsed());
    }

    /// Which turn it was at first: 1 is the next one, 0 is one that did not wait.
    #[must_use]
    pub const fn position(&self) -> usize {
        self.position
    }

    /// How long it took, or has taken until now.
    #[must_use]
    pub fn time(&self) -> Duration {
        match self.took {
            Some(took) => took,
            None => self.since.elapsed(),
        }
    }
}

/// Why there is no slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoSlot {
    /// This caller has too many waiting: its own requests are in its way.
    #[error("too many requests of this caller wait")]
    TooManyWaiting {
        /// When a try may succeed.
        retry_after: Duration,
    },
    /// Its turn did not come in time.
    #[error("no slot became free in time")]
    TooLong {
        /// When a try may succeed.
        retry_after: Duration,
    },
}

impl Slots {
    /// All free.
    #[must_use]
    pub fn new(shape: QueueShape) -> Self {
        let queue = Mutex::new(FairQueue::new(shape));
        Self(Arc::new(Shared { queue, opened: Instant::now(), watched: AtomicBool::new(false) }))
    }

    /// Waits for a slot, for at most `wait`. Dropping the future leaves the queue. `turn` says at any time how it goes.
    ///
    /// # Errors
    /// [`NoSlot`]
    pub async fn take(&self, asker: &Asker, wait: Duration, turn: &mut Option<Turn>) -> Result<Slot, NoSlot> {
        let (grant, mut granted) = oneshot::channel();
        let arrival = self.0.lock().arrive(self.0.now(), asker, grant);
        let (ticket, position) = match arrival {
            Arrival::Runs(running, _) => {
                *turn = Some(Turn { position: 0, since: Instant::now(), took: Some(Duration::ZERO) });
                return Ok(self.0.slot(running));
            }
            Arrival::Waits { ticket, ahead, pushed_out } => {
                drop(pushed_out); // which tells it
                (ticket, ahead.saturating_add(1))
            }
            Arrival::Full => return Err(self.too_many_waiting(&asker.subject)),
        };
        let turn = turn.insert(Turn::begins(position));
        let place = Place { shared: &self.0, subject: &asker.subject, ticket };
        self.0.start_those_who_can(); // those before it may wait for a model only
        let answer = tokio::time::timeout(wait, &mut granted).await;
        drop(place);
        turn.is_over();
        match answer {
            Ok(Ok(slot)) => Ok(slot),
            Ok(Err(_)) => Err(self.too_many_waiting(&asker.subject)),
            // A slot that was given at this very moment is in `granted`, and free again when that is dropped.
            Err(_) => Err(NoSlot::TooLong { retry_after: self.0.lock().expected_wait(&asker.subject) }),
        }
    }

    fn too_many_waiting(&self, subject: &Subject) -> NoSlot {
        NoSlot::TooManyWaiting { retry_after: self.0.lock().expected_wait(subject) }
    }

    /// How long until one of this caller's own requests is over, probably.
    #[must_use]
    pub fn expected_return(&self, subject: &Subject) -> Duration {
        self.0.lock().expected_return(subject)
    }

    /// How long a request takes, from what they took lately.
    #[must_use]
    pub fn expected_time(&self) -> Duration {
        self.0.lock().expected_time()
    }

    /// How many run, and how many wait.
    #[must_use]
    pub fn load(&self) -> (usize, usize) {
        self.0.lock().load()
    }

    /// A reload: those who run or wait stay.
    pub fn reshape(&self, shape: QueueShape) {
        self.0.lock().reshape(shape);
        self.0.start_those_who_can();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, FairQueue<Grant>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Duration {
        self.opened.elapsed()
    }

    fn slot(self: &Arc<Self>, running: Running) -> Slot {
        Slot { shared: Arc::clone(self), running: Some(running) }
    }

    /// Gives free slots to those whose turn it is. One who has just left gives his back, which starts the next one.
    fn start_those_who_can(self: &Arc<Self>) {
        loop {
            let next = self.lock().next(self.now());
            let Some((running, grant)) = next else { return self.watch() };
            drop(grant.send(self.slot(running)));
        }
    }
}

impl Shared {
    /// Looks again when the next model may be loaded, where that alone is waited for. One task at most.
    fn watch(self: &Arc<Self>) {
        let Some(at) = self.lock().opens_at() else { return };
        // Without a runtime nobody waits.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.watched.swap(true, Ordering::AcqRel) {
            return;
        }
        let (shared, until) = (Arc::downgrade(self), self.opened + at);
        runtime.spawn(async move {
            tokio::time::sleep_until(until).await;
            let Some(shared) = shared.upgrade() else { return };
            shared.watched.store(false, Ordering::Release);
            shared.start_those_who_can();
        });
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(running) = self.running.take() else { return };
        self.shared.lock().release(self.shared.now(), running);
        self.shared.start_those_who_can();
    }
}

/// A place in the queue, left when the waiting ends in whatever way.
struct Place<'a> {
    shared: &'a Shared,
    subject: &'a Subject,
    ticket: Ticket,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.lock().leave(self.subject, self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::super::PrincipalId;
    use super::*;
    use std::num::NonZeroU32;

    fn asker(id: &str) -> Asker {
        Asker { subject: Subject::Principal(PrincipalId::new(id)), weight: NonZeroU32::MIN, model: None }
    }

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(10);

    #[tokio::test]
    async fn whoever_stops_waiting_leaves_and_slots_come_back() {
        let slots = Slots::new(QueueShape { slots: 1, length: 10, switches: None });
        let (mut runs, mut late, mut left) = (None, None, None);
        let held = slots.take(&asker("a"), LONG, &mut runs).await.unwrap();
        assert_eq!(runs.map(|turn| (turn.position(), turn.time())), Some((0, Duration::ZERO)));
        let refused = slots.take(&asker("b"), SHORT, &mut late).await.unwrap_err();
        assert!(matches!(refused, NoSlot::TooLong { .. }));
        let gone = tokio::time::timeout(SHORT, slots.take(&asker("b"), LONG, &mut left)).await;
        assert!(gone.is_err());
        for turn in [late, left].map(Option::unwrap) {
            assert!(turn.position() == 1 && turn.time() >= SHORT, "{turn:?}");
        }
        assert!(late.unwrap().took.is_some() && left.unwrap().took.is_none());
        assert_eq!(slots.load(), (1, 0));
        drop(held);
        assert_eq!(slots.load(), (0, 0));
    }

    #[tokio::test]
    async fn a_slot_given_to_one_who_just_left_goes_to_the_next() {
        let slots = Slots::new(QueueShape { slots: 1, length: 10, switches: None });
        let held = slots.take(&asker("a"), LONG, &mut None).await.unwrap();
        let mut gone = Box::pin(async { slots.take(&asker("b"), LONG, &mut None).await });
        assert!(futures_util::poll!(&mut gone).is_pending());
        let mut next = Box::pin(async { slots.take(&asker("c"), LONG, &mut None).await });
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(held); // b has the slot in its channel now
        assert_eq!(slots.load(), (1, 1));
        drop(gone);
        drop(next.await.unwrap());
        assert_eq!(slots.load(), (0, 0));
    }

    #[tokio::test]
    async fn a_longer_list_of_slots_starts_those_who_wait() {
        let slots = Slots::new(QueueShape { slots: 1, length: 10, switches: None });
        let _held = slots.take(&asker("a"), LONG, &mut None).await.unwrap();
        let mut next = Box::pin(async { slots.take(&asker("b"), LONG, &mut None).await });
        assert!(futures_util::poll!(&mut next).is_pending());
        slots.reshape(QueueShape { slots: 2, length: 10, switches: None });
        assert!(next.await.is_ok());
    }
}
