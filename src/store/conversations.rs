//! Who owns which conversation.

use super::accounts::{self as sql, Bind, Statement};
use super::timestamp::Timestamp;
use super::{Database, Store, StoreError, each};
use std::time::Duration;

/// An id that nobody has claimed for so long is free again.
const KEPT: Duration = Duration::from_secs(180 * 24 * 60 * 60);

impl Store {
    /// The owner of a conversation; the one who asks, where it has none.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn claim_conversation(&self, id: &str, owner: &str, now: Timestamp) -> Result<String, StoreError> {
        let doing = "reading a conversation";
        if let Some(owner) = each!(self, db => self.bounded(doing, db.conversation_owner(id)).await)? {
            return Ok(owner);
        }
        let binds = [Bind::Text(id), Bind::Text(owner), Bind::Number(now.seconds())];
        let forgotten = [Bind::Number(now.seconds().saturating_sub_unsigned(KEPT.as_secs()))];
        let all = [
            Statement { text: sql::CLAIM_CONVERSATION, binds: &binds },
            Statement { text: sql::FORGET_CONVERSATIONS, binds: &forgotten },
        ];
        each!(self, db => self.bounded("claiming a conversation", db.run_all(&all)).await)?;
        // Two that claim it at once: one was first.
        let first = each!(self, db => self.bounded(doing, db.conversation_owner(id)).await)?;
        Ok(first.unwrap_or_else(|| owner.to_owned()))
    }
}
