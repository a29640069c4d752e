//! What an admin does: signs in, makes keys, puts new ones in their place, takes them back.
//!
//! Guarantees: the same code as the commands (`identity::issue`); each try, each sign-in included, is a line of the log
//! and of the audit log, with who made it; where that cannot be written, nothing is changed.

use super::body::{Body, page, redirect};
use super::form::Form;
use super::sessions::Session;
use super::{ADMIN, Console, pages};
use crate::config::secret::Secret;
use crate::gateway::Gateway;
use crate::identity::issue::{self, IssueError, KeyRequest, Turn};
use crate::identity::keys::PresentedKey;
use crate::identity::pepper::{Pepper, PepperError};
use crate::limits::AddressPrefix;
use crate::store::key_bounds::KeyBounds;
use crate::store::key_record::{KeyId, KeyName};
use crate::store::timestamp::Timestamp;
use crate::store::{Change, StoreError};
use crate::telemetry::audit::{Act, Entry};
use crate::telemetry::clock;
use crate::telemetry::event::{About, SecurityEvent};
use http::{Response, StatusCode};
use std::net::{IpAddr, Ipv4Addr};

/// Everybody who guesses here counts as one, apart from clients of the other listeners: nobody comes from this address.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 255, 255, 254));

const COMPLETED: &str = "completed";
const FAILED: &str = "failed";
/// A sign-in, as the audit log has it.
const SIGN_IN: Entry<'static> = Entry { action: Some("console sign-in"), ..Entry::act(Act::Administration) };

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
    /// Something else, which the page shows.
    Changed,
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
    #[error("The audit log cannot be written, so nothing is changed.")]
    Unaccounted,
    #[error(transparent)]
    Issue(#[from] IssueError),
    #[error(transparent)]
    Pepper(#[from] PepperError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Console {
    /// An admin's key for a session.
    pub(super) fn sign_in(&self, gateway: &Gateway, form: &Form) -> Response<Body> {
        let (limiters, here) = (gateway.limiters(), AddressPrefix::from(HERE));
        if limiters.authentication_allowed(here).is_err() {
            return page(StatusCode::TOO_MANY_REQUESTS, pages::sign_in(Some("Too many failures. Wait a minute.")));
        }
        match self.admin(gateway, form.get("key")) {
            Ok(cookie) => redirect("/console", Some(cookie)),
            Err(reason) => {
                limiters.authentication_failed(here);
                let failed = Entry { detail: Some(reason), outcome: Some(FAILED), ..SIGN_IN };
                gateway.account(&failed);
                let about =
                    About { client: Some(Ipv4Addr::LOCALHOST.into()), reason: Some(reason), ..About::default() };
                SecurityEvent::AuthenticationFailure.report(&about);
                page(StatusCode::UNAUTHORIZED, pages::sign_in(Some("This is not the key of an admin.")))
            }
        }
    }

    fn admin(&self, gateway: &Gateway, text: &str) -> Result<String, &'static str> {
        let presented = PresentedKey::parse(text).map_err(|_| "malformed")?;
        let key = gateway.keys.verify(&presented, clock::now()).map_err(|refusal| refusal.as_str())?;
        if &*key.role != ADMIN {
            return Err("not_an_admin");
        }
        tracing::info!(event = "console_sign_in", key = key.id.as_str(), "an admin signed in to the console");
        let cookie = self.sessions.begin(key.id).ok_or("no_randomness")?;
        let (principal, role, outcome) = (Some(key.id.as_str()), Some(ADMIN), Some(COMPLETED));
        gateway.account(&Entry { principal, role, outcome, ..SIGN_IN });
        Ok(cookie)
    }

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
            _ => return Err(Refused::Unknown),
        };
        let by = session.key.as_str();
        account(gateway, (by, action, KeyId::parse(form.get("id"))), &done);
        let done = done?;
        tracing::info!(event = "console_change", path, by, id = form.get("id"), "an admin changed the keys");
        Ok(done)
    }

    async fn make(&self, gateway: &Gateway, form: &Form, now: Timestamp) -> Result<Done, Refused> {
        let name = KeyName::parse(form.get("name")).ok_or(Refused::Name)?;
        let policy = gateway.policy();
        let role = policy.role(form.get("role")).ok_or(Refused::Role)?;
        let expires_at = match form.get("expires") {
            "" => None,
            text => {
                let life = humantime::parse_duration(text).ok().filter(|life| !life.is_zero());
                Some(life.and_then(|life| now.after(life)).ok_or(Refused::Ends)?)
            }
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
            Change::Made | Change::NotMade => Ok(Done::Changed),
        }
    }
}

/// Writes down who did what to which key: the one that was made, or the one that the form names.
fn account(gateway: &Gateway, (by, action, named): (&str, &str, Option<KeyId>), done: &Result<Done, Refused>) {
    let object = match done {
        Ok(Done::Made { id, .. }) => Some(*id),
        Ok(Done::Changed) | Err(_) => named,
    };
    let error = done.as_ref().err().map(ToString::to_string);
    gateway.account(&Entry {
        principal: Some(by),
        role: Some(ADMIN),
        action: Some(action),
        object: object.as_ref().map(KeyId::as_str),
        detail: error.as_deref(),
        outcome: Some(if error.is_some() { FAILED } else { COMPLETED }),
        ..Entry::act(Act::Administration)
    });
}
