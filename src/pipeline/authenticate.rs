//! Third stage: who calls?
//!
//! Guarantees of [`Authenticated`]: a principal from exactly one credential, or the role `anonymous` where the policy
//! says so. A wrong secret, an unknown id, an expired and a revoked key get the same bytes by the same code path.
//! Failures are counted by address, and an address with too many is refused before its credential is looked at.
//! Answers `threats.md` §4.5, §5 items 19, 20.

use super::ban;
use super::credential::{self, Credential};
use super::record::Record;
use super::route::Routed;
use crate::config::types::{Anonymous, Role};
use crate::gateway::{Gateway, Policy};
use crate::identity::issue::HONEY;
use crate::identity::key_ring::KeyRefusal;
use crate::limits::{AddressPrefix, PrincipalId, Subject};
use crate::rejection::Rejection;
use crate::telemetry::clock;
use std::sync::Arc;

/// A request whose caller is known.
///
/// ```compile_fail
/// fn forge(routed: ollama_gateway::pipeline::route::Routed, role: std::sync::Arc<ollama_gateway::config::types::Role>)
///     -> ollama_gateway::pipeline::authenticate::Authenticated {
///     ollama_gateway::pipeline::authenticate::Authenticated { routed, role,
///         principal: ollama_gateway::pipeline::authenticate::Principal::Anonymous }
/// }
/// ```
/// ```
/// fn read(a: &ollama_gateway::pipeline::authenticate::Authenticated)
///     -> &ollama_gateway::pipeline::authenticate::Principal { a.principal() }
/// ```
#[derive(Debug)]
pub struct Authenticated {
    routed: Routed,
    principal: Principal,
    role: Arc<Role>,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// The holder of an API key: its public id.
    Key(PrincipalId),
    /// The holder of a client certificate that the configuration names.
    Certificate(PrincipalId),
    /// Anybody.
    Anonymous,
}

impl Principal {
    /// What its limits are counted by.
    #[must_use]
    pub fn subject(&self, client: std::net::IpAddr) -> Subject {
        match self {
            Self::Key(id) | Self::Certificate(id) => Subject::Principal(id.clone()),
            Self::Anonymous => Subject::Address(AddressPrefix::from(client)),
        }
    }
}

impl Authenticated {
    /// The request.
    #[must_use]
    pub const fn routed(&self) -> &Routed {
        &self.routed
    }

    /// Who calls.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The caller's role.
    #[must_use]
    pub const fn role(&self) -> &Arc<Role> {
        &self.role
    }

    pub(in crate::pipeline) fn into_parts(self) -> (Routed, Principal, Arc<Role>) {
        (self.routed, self.principal, self.role)
    }
}

/// Finds out who calls.
///
/// # Errors
/// 401, or 429 for an address that failed too often.
pub fn authenticate(
    routed: Routed,
    gateway: &Gateway,
    policy: &Policy,
    record: &mut Record,
) -> Result<Authenticated, Rejection> {
    let address = AddressPrefix::from(record.client);
    let limiters = gateway.limiters();
    limiters.authentication_allowed(address).map_err(Rejection::AuthenticationThrottled)?;
    let identified = identify(&routed, gateway, policy, record);
    if let Err(rejection) = &identified
        && matches!(rejection, Rejection::CredentialInvalid { .. } | Rejection::CredentialAmbiguous)
    {
        limiters.authentication_failed(address);
    }
    let (principal, role) = identified?;
    record.role = Some(role.name.clone());
    Ok(Authenticated { routed, principal, role })
}

fn identify(
    routed: &Routed,
    gateway: &Gateway,
    policy: &Policy,
    record: &mut Record,
) -> Result<(Principal, Arc<Role>), Rejection> {
    match credential::from_headers(routed.headers())? {
        Credential::Key(presented) => {
            let key = gateway.keys.verify(&presented, clock::now()).map_err(|refusal| {
                record.principal = known_id(refusal, &presented);
                Rejection::CredentialInvalid { why: refusal.as_str() }
            })?;
            record.principal = Some(Arc::from(key.id.as_str()));
            if &*key.role == HONEY {
                ban::honey(gateway, policy, record);
                return Err(Rejection::CredentialInvalid { why: "honey" });
            }
            if [key.id, key.principal].iter().any(|id| gateway.bans.has_key(id.as_str(), clock::now())) {
                return Err(Rejection::Banned);
            }
            // Limits count by the first key of a chain of rotations: a new key is no new budget.
            let principal = PrincipalId::new(key.principal.as_str());
            // A role that the configuration no longer has gives no right at all.
            let role = policy.role(&key.role).ok_or(Rejection::EndpointForbidden)?;
            Ok((Principal::Key(principal), Arc::clone(role)))
        }
        Credential::Malformed => Err(Rejection::CredentialInvalid { why: "malformed" }),
        Credential::Missing => match certificate(policy, record) {
            Some(known) => Ok(known),
            None => anonymous(policy),
        },
    }
}

/// The certificate that the connection was opened with. It counts where no other credential is sent: one request has one
/// principal, and a wrong key is not made good by a certificate.
fn certificate(policy: &Policy, record: &mut Record) -> Option<(Principal, Arc<Role>)> {
    let shown = record.peer.certificate.as_ref()?;
    let principals = &policy.config.tls.client.as_ref()?.principals;
    let known = principals.iter().find(|principal| principal.name.fits(shown))?;
    let role = policy.role(&known.role)?;
    let id = format!("certificate:{}", known.name.as_str());
    record.principal = Some(Arc::from(id.as_str()));
    Some((Principal::Certificate(PrincipalId::new(id)), Arc::clone(role)))
}

/// The log may name a key that exists; an id that does not is the client's text.
fn known_id(refusal: KeyRefusal, presented: &crate::identity::keys::PresentedKey) -> Option<Arc<str>> {
    match refusal {
        KeyRefusal::Unknown => None,
        KeyRefusal::WrongSecret | KeyRefusal::Expired | KeyRefusal::Revoked => {
            Some(Arc::from(presented.id().to_string()))
        }
    }
}

fn anonymous(policy: &Policy) -> Result<(Principal, Arc<Role>), Rejection> {
    match policy.config.auth.anonymous {
        Anonymous::Deny => Err(Rejection::CredentialMissing),
        Anonymous::Allow => {
            let role = policy.role("anonymous").ok_or(Rejection::CredentialMissing)?;
            Ok((Principal::Anonymous, Arc::clone(role)))
        }
    }
}
