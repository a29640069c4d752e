//! Records that are written together: one look at the file and one write for those that are due at the same time.
//!
//! ```text
//! first one ─► opens a batch, and lets the thread's other tasks run ─► closes it, writes it, wakes the others
//! others    ─► join the batch that is open on their thread         ─► wait for the first one
//! ```
//!
//! Guarantees: a [`Soon`] is ready when its record is in the file, or was counted as lost, and not before; a first one that
//! is dropped writes its batch then, so that no other waits for it for ever, and no record is left out.
//! Does not: need a runtime of a certain kind, or a task of its own.

use super::Audit;
use super::chain::render;
use super::entry::Entry;
use std::cell::RefCell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

/// Records of one batch, after which the next one is opened.
const MOST: usize = 64;

thread_local! {
    static OPEN: RefCell<Option<Arc<Batch>>> = const { RefCell::new(None) };
}

/// Records that are due.
#[derive(Debug)]
struct Batch {
    audit: Arc<Audit>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// More may join.
    Open { records: Vec<String>, waiting: Vec<Waker> },
    /// It is in the file.
    Written,
}

/// A record that is about to be written.
#[derive(Debug)]
pub struct Soon {
    batch: Arc<Batch>,
    part: Part,
}

/// What one has to do for its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// To let others join.
    First,
    /// To write it.
    Writer,
    /// To wait.
    Other,
}

impl Audit {
    /// Writes a record with others that are due now. A fault is told as [`Audit::record`] tells it.
    #[must_use]
    pub fn record_soon(self: &Arc<Self>, entry: &Entry<'_>, now: SystemTime) -> Soon {
        let mut rendered = render(now, entry);
        OPEN.with_borrow_mut(|open| {
            if let Some(batch) = open.as_ref().filter(|batch| Arc::ptr_eq(&batch.audit, self)) {
                match batch.join(rendered) {
                    Ok(()) => return Soon { batch: Arc::clone(batch), part: Part::Other },
                    Err(Closed(back)) => rendered = back,
                }
            }
            let batch = Arc::new(Batch::begin(self, rendered));
            *open = Some(Arc::clone(&batch));
            Soon { batch, part: Part::First }
        })
    }
}

/// It takes no more; here is what it did not take.
struct Closed(String);

impl Batch {
    fn begin(audit: &Arc<Audit>, rendered: String) -> Self {
        let state = State::Open { records: vec![rendered], waiting: Vec::new() };
        Self { audit: Arc::clone(audit), state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn join(&self, rendered: String) -> Result<(), Closed> {
        match &mut *self.state() {
            State::Open { records, .. } if records.len() < MOST => {
                records.push(rendered);
                Ok(())
            }
            State::Open { .. } | State::Written => Err(Closed(rendered)),
        }
    }

    fn poll_written(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut *self.state() {
            State::Open { waiting, .. } => {
                waiting.push(cx.waker().clone());
                Poll::Pending
            }
            State::Written => Poll::Ready(()),
        }
    }

    fn write(&self) {
        let mut state = self.state();
        let State::Open { records, waiting } = std::mem::replace(&mut *state, State::Written) else { return };
        self.audit.write(&records, crate::telemetry::clock::now());
        drop(state); // whoever looked meanwhile sees that it is written
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Soon {
    /// Ready when it is written.
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self.part {
            Part::First => {
                self.part = Part::Writer;
                cx.waker().wake_by_ref(); // after all that can run now
                Poll::Pending
            }
            Part::Writer => {
                self.batch.write();
                Poll::Ready(())
            }
            Part::Other => self.batch.poll_written(cx),
        }
    }
}

impl Drop for Soon {
    fn drop(&mut self) {
        if matches!(self.part, Part::First | Part::Writer) {
            self.batch.write();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::log;
    use super::super::{Act, Files, Verified};
    use super::*;
    use crate::telemetry::clock;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn soon(audit: &Arc<Audit>) -> Soon {
        audit.record_soon(&Entry::act(Act::Request), clock::now())
    }

    /// Records in the file; the chain is whole.
    fn records(folder: &tempfile::TempDir) -> u64 {
        let mut found = Verified::default();
        for (path, content) in Files::of(folder.path()).unwrap().contents() {
            found.read(&path, content.unwrap()).unwrap();
        }
        assert_eq!(found.faults, []);
        found.lines
    }

    #[test]
    fn those_that_are_due_together_are_written_together_and_none_is_ready_before() {
        let (folder, audit) = log();
        let audit = Arc::new(audit);
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let cx = &mut Context::from_waker(&waker);
        let (mut first, mut second) = (soon(&audit), soon(&audit));
        assert!(first.poll(cx).is_pending() && second.poll(cx).is_pending());
        assert_eq!((woken.0.load(Ordering::SeqCst), records(&folder)), (1, 0), "the first one runs again by itself");
        let mut third = soon(&audit);
        assert!(first.poll(cx).is_ready());
        assert_eq!((woken.0.load(Ordering::SeqCst), records(&folder)), (2, 3), "the second one was woken");
        assert!(second.poll(cx).is_ready() && third.poll(cx).is_ready());
        drop((first, second, third));
        assert_eq!(records(&folder), 3, "and each once");
        let mut next = soon(&audit);
        assert!(next.poll(cx).is_pending() && next.poll(cx).is_ready());
        assert_eq!(records(&folder), 4);
    }

    #[test]
    fn one_that_is_dropped_leaves_its_record_and_holds_up_nobody() {
        let (folder, audit) = log();
        let audit = Arc::new(audit);
        let cx = &mut Context::from_waker(Waker::noop());
        let (first, mut second, third) = (soon(&audit), soon(&audit), soon(&audit));
        assert!(second.poll(cx).is_pending());
        drop(third);
        drop(first);
        assert!(second.poll(cx).is_ready());
        assert_eq!(records(&folder), 3);
    }

    #[test]
    fn a_batch_has_a_bound() {
        let (folder, audit) = log();
        let audit = Arc::new(audit);
        let all: Vec<Soon> = (0..=MOST).map(|_| soon(&audit)).collect();
        assert_eq!(all.iter().filter(|soon| soon.part == Part::First).count(), 2);
        drop(all);
        assert_eq!(records(&folder), MOST as u64 + 1);
    }
}
