//! What an admin does with users and bans.
//!
//! Guarantees: nobody locks, bans or demotes themselves by mistake, so that somebody can still get in; a text that was typed as
//! the reason of a ban is printable and short. Running gateways follow within a second.

use super::Console;
use super::actions::{Done, Refused};
use super::form::Form;
use super::sessions::Session;
use crate::gateway::Gateway;
use crate::identity::banning;
use crate::pipeline::peer::SignedIn;
use crate::store::Change;
use crate::store::timestamp::Timestamp;
use crate::store::user_record::UserName;

const USERS: &str = "/console/users";
const BANS: &str = "/console/bans";

fn made(change: Change, back: &'static str, not: Refused) -> Result<Done, Refused> {
    match change {
        Change::Made => Ok(Done::Changed(back)),
        Change::NotMade => Err(not),
    }
}

fn another(session: &Session, form: &Form) -> Result<UserName, Refused> {
    let name = UserName::parse(form.get("id")).ok_or(Refused::User)?;
    match &session.who {
        SignedIn::User { name: own, .. } if **own == *name.as_str() => Err(Refused::Yourself),
        SignedIn::User { .. } | SignedIn::Key(_) | SignedIn::Outside { .. } => Ok(name),
    }
}

impl Console {
    pub(super) async fn lock(&self, session: &Session, form: &Form, now: Timestamp) -> Result<Done, Refused> {
        let name = another(session, form)?;
        made(self.store.lock_user(&name, now).await?, USERS, Refused::User)
    }

    pub(super) async fn unlock(&self, form: &Form, now: Timestamp) -> Result<Done, Refused> {
        let name = UserName::parse(form.get("id")).ok_or(Refused::User)?;
        made(self.store.unlock_user(&name, now).await?, USERS, Refused::User)
    }

    pub(super) async fn set_role(
        &self,
        gateway: &Gateway,
        (session, form): (&Session, &Form),
        now: Timestamp,
    ) -> Result<Done, Refused> {
        let name = another(session, form)?;
        let policy = gateway.policy();
        let role = policy.role(form.get("role")).filter(|role| role.name != "anonymous").ok_or(Refused::Role)?;
        made(self.store.set_role(&name, &role.name, now).await?, USERS, Refused::User)
    }

    pub(super) async fn ban(&self, session: &Session, form: &Form, now: Timestamp) -> Result<Done, Refused> {
        let mut ban = banning::ban((form.get("id"), form.get("time")), form.get("why"), now)?;
        if session.is_of(&ban.who) {
            return Err(Refused::Yourself);
        }
        if ban.why.is_empty() {
            ban.why = format!("by {}", session.name());
        }
        made(self.store.put_ban(&ban).await?, BANS, Refused::Longer)
    }

    pub(super) async fn lift(&self, form: &Form) -> Result<Done, Refused> {
        let who = banning::who(form.get("id"))?;
        made(self.store.remove_ban(&who).await?, BANS, Refused::Ban)
    }
}
