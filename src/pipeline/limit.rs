//! Fifth stage: is there something left of the caller's request rate?
//!
//! Guarantees of [`Limited`]: one request has been taken from the rate of its principal (of its address, for the
//! anonymous), before a byte of the body is read. Answers `field.md` E 26, `threats.md` §6.2 LLM10.

use super::authorize::Authorized;
use super::record::Record;
use super::route::Local;
use crate::gateway::Gateway;
use crate::limits::{AddressPrefix, Subject};
use crate::ollama::endpoint::RateClass;
use crate::rejection::{Connection, Rejection};

/// A request within its rate.
///
/// ```compile_fail
/// fn forge(authorized: ollama_gateway::pipeline::authorize::Authorized) -> ollama_gateway::pipeline::limit::Limited {
///     ollama_gateway::pipeline::limit::Limited { authorized }
/// }
/// ```
/// ```
/// fn read(l: &ollama_gateway::pipeline::limit::Limited) -> &ollama_gateway::pipeline::authorize::Authorized {
///     l.authorized()
/// }
/// ```
#[derive(Debug)]
pub struct Limited {
    authorized: Authorized,
}

impl Limited {
    /// The request.
    #[must_use]
    pub const fn authorized(&self) -> &Authorized {
        &self.authorized
    }

    pub(in crate::pipeline) fn into_inner(self) -> Authorized {
        self.authorized
    }
}

/// Takes one request from the caller's rate.
///
/// # Errors
/// [`Rejection::RateLimited`].
pub fn limit(authorized: Authorized, gateway: &Gateway, record: &mut Record) -> Result<Limited, Rejection> {
    let subject = authorized.principal().subject(record.client);
    take(gateway, authorized.routed().endpoint().facts().rate, &subject, record)?;
    Ok(Limited { authorized })
}

/// The same for what is answered here, by address.
///
/// # Errors
/// [`Rejection::RateLimited`].
pub fn limit_local(local: Local, gateway: &Gateway, record: &mut Record) -> Result<Local, Rejection> {
    let subject = Subject::Address(AddressPrefix::from(record.client));
    take(gateway, RateClass::Health, &subject, record)?;
    Ok(local)
}

/// The same for the routes of the gateway itself.
///
/// # Errors
/// [`Rejection::RateLimited`].
pub(super) fn limit_own(gateway: &Gateway, record: &mut Record) -> Result<(), Rejection> {
    let subject = Subject::Address(AddressPrefix::from(record.client));
    take(gateway, RateClass::General, &subject, record)
}

/// The same for what is refused before anybody is known: one address may not make this gateway refuse without end.
/// Wrong credentials have a limit of their own, which is lower.
pub(super) fn limit_refusal(rejection: Rejection, gateway: &Gateway, record: &mut Record) -> Rejection {
    let counted_already = rejection.is_wrong_credential()
        || matches!(rejection, Rejection::RateLimited(_) | Rejection::AuthenticationThrottled(_));
    // Where the connection has to end, nothing may be said instead that keeps it.
    if record.role.is_some() || counted_already || rejection.facts().connection == Connection::Close {
        return rejection;
    }
    let subject = Subject::Address(AddressPrefix::from(record.client));
    take(gateway, RateClass::General, &subject, record).err().unwrap_or(rejection)
}

fn take(gateway: &Gateway, class: RateClass, subject: &Subject, record: &mut Record) -> Result<(), Rejection> {
    match gateway.limiters().check(class, subject) {
        Ok(quota) => {
            record.quota = Some(quota);
            Ok(())
        }
        Err(exceeded) => {
            record.quota = Some(exceeded.quota);
            Err(Rejection::RateLimited(exceeded))
        }
    }
}
