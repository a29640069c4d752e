//! What an admin does with keys; where an action of another page goes.
//!
//! Guarantees: the same code as the commands (`identity::issue`, `store`); each action, done or refused, is a line of the
//! log and a record of the audit log, with who did it.

use super::Console;
use super::form::Form;
use super::sessions::Session;
use crate::config::secret::Secret;
use crate::gateway::Gateway;
use crate::identity::banning::WrongBan;
use crate::identity::issue::{self, IssueError, KeyRequest, Turn};
use crate::identity::pepper::{Pepper, PepperError};
use crate::store::key_bounds::KeyBounds;
use crate::store::key_record::{KeyId, KeyName};
use crate::store::timestamp::Timestamp;
use crate::store::{Change, StoreError};
use crate::telemetry::clock;

/// What was done.
pub(super) enum Done {
    /// A key, to be shown once.
    Made {
        /// Its id.
        id: KeyId,
        /// Its name.
        name: String,
        /// Its text.
        key: Secret,
    },
    /// Something else, which that page shows.
    Changed(&'static str),
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("There is no such action.")]
    Unknown,
    #[error("A name is 1 to 64 printable characters.")]
    Name,
    #[error("The configuration has no such role.")]
    Role,
    #[error("A key ends after a time such as 90d, or never, if the field is empty.")]
    Ends,
    #[error("There is no such key.")]
    Key,
    #[error("There is no such user, or it is so already.")]
    User,
    #[error("You cannot lock yourself out.")]
    Yourself,
    #[error("An address, a network, the id of a key, or user:NAME.")]
    Who,
    #[error("A ban lasts a time such as 1h or 30d.")]
    Time,
    #[error("A reason is at most 200 printable characters.")]
    Why,
    #[error("There is a ban already that lasts at least as long.")]
    Longer,
    #[error("There is no such ban any more.")]
    Ban,
    #[error("The audit log cannot be written, so nothing is changed.")]
    Unaccounted,
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Pepper(#[from] PepperError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<WrongBan> for Refused {
    fn from(wrong: WrongBan) -> Self {
        match wrong {
            WrongBan::Who => Self::Who,
            WrongBan::Time => Self::Time,
            WrongBan::Why => Self::Why,
        }
    }
}

impl Console {
    /// Does what a form says.
    pub(super) async fn act(
        &self,
        gateway: &Gateway,
        session: &Session,
        (path, form): (&str, &Form),
    ) -> Result<Done, Refused> {
        if !gateway.can_account() {
            return Err(Refused::Unaccounted);
        }
        let now = Timestamp::from(clock::now());
        let (action, done) = match path {
            "/console/keys" => ("key create", self.make(gateway, form, now).await),
            "/console/keys/rotate" => ("key rotate", self.rotate(form, now).await),
            "/console/keys/revoke" => ("key revoke", self.revoke(form, now).await),
            "/console/users/lock" => ("user lock", self.lock(session, form, now).await),
            "/console/users/unlock" => ("user unlock", self.unlock(form, now).await),
            "/console/users/role" => ("user role", self.set_role(gateway, (session, form), now).await),
            "/console/bans" => ("ban add", self.ban(session, form, now).await),
            "/console/bans/lift" => ("ban remove", self.lift(form).await),
            _ => return Err(Refused::Unknown),
        };
        let (by, outcome) = (session.name(), if done.is_ok() { "completed" } else { "refused" });
        // The key that was made, or what the form names.
        let object = match &done {
            Ok(Done::Made { id, .. }) => id.as_str(),
            // What names nobody may be a whole key.
            Err(Refused::Who | Refused::Key | Refused::Name) => "",
            Ok(Done::Changed(_)) | Err(_) => form.get("id"),
        };
        tracing::info!(event = "console_change", action, by, object, outcome, "an admin changed something");
        self.account(gateway, &by, (action, Some(object).filter(|object| !object.is_empty())), outcome);
        done
    }

    async fn make(&self, gateway: &Gateway, form: &Form, now: Timestamp) -> Result<Done, Refused> {
        let name = KeyName::parse(form.get("id")).ok_or(Refused::Name)?;
        let policy = gateway.policy();
        let role = policy.role(form.get("role")).ok_or(Refused::Role)?;
        let expires_at = match form.get("expires") {
            "" => None,
            text => Some(now.later(text).ok_or(Refused::Ends)?),
        };
        let wanted = KeyRequest { name, role: role.name.as_str().into(), expires_at, bounds: KeyBounds::default() };
        let pepper = Pepper::open(&self.state, &self.store).await?;
        let issued = issue::issue(&self.store, &pepper, wanted, now).await?;
        Ok(Done::Made { id: issued.record.id, name: issued.record.name.as_str().to_owned(), key: issued.text })
    }

    async fn rotate(&self, form: &Form, now: Timestamp) -> Result<Done, Refused> {
        let id = KeyId::parse(form.get("id")).ok_or(Refused::Key)?;
        let overlap = humantime::parse_duration(form.get("overlap")).map_err(|_| Refused::Ends)?;
        let pepper = Pepper::open(&self.state, &self.store).await?;
        let issued = issue::rotate(&self.store, &pepper, Turn { id, overlap, now }).await?;
        Ok(Done::Made { id: issued.record.id, name: issued.record.name.as_str().to_owned(), key: issued.text })
    }

    async fn revoke(&self, form: &Form, now: Timestamp) -> Result<Done, Refused> {
        let id = KeyId::parse(form.get("id")).ok_or(Refused::Key)?;
        match self.store.revoke_key(id, now).await? {
            Change::Made | Change::NotMade => Ok(Done::Changed("/console/keys")),
        }
    }
}
