//! What was spent goes to the store behind the calls.
//!
//! Guarantees: a call never waits for the store; what is spent is in the store within about a second, reservations
//! included, so that a crash makes nobody richer; a store that does not answer is told once, and tried again.

use super::ledger::Ledger;
use crate::store::{Store, StoreError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const EVERY: Duration = Duration::from_secs(1);

impl Ledger {
    /// Writes for ever. To be spawned once; `now` tells the time.
    pub async fn write_behind(self, store: Store, now: fn() -> SystemTime) {
        let mut failing = false;
        loop {
            tokio::time::sleep(EVERY).await;
            match self.write(&store, now()).await {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(event = "spending_not_written", %error, "what is spent is not in the store yet");
                }
                Err(_) => {}
            }
        }
    }

    /// Writes what the store does not know yet.
    ///
    /// # Errors
    /// The store does not take it; it is written the next time.
    pub async fn write(&self, store: &Store, now: SystemTime) -> Result<(), StoreError> {
        let _turn = self.writing.lock().await;
        let rows = self.changes(seconds(now));
        if !rows.is_empty() {
            self.written(&rows, &store.add_spending(&rows).await?);
        }
        Ok(())
    }

    /// Reads what was spent before this process began.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn read(&self, store: &Store, now: SystemTime) -> Result<(), StoreError> {
        self.restore(store.spending(seconds(now)).await?);
        Ok(())
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
