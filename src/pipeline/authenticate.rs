//! Third stage: who calls?
//!
//! Guarantees of [`Authenticated`]: a principal from exactly one credential, or the role `anonymous` where the policy
//! says so. A wrong secret, an unknown id, an expired and a revoked key get the same bytes by the same code path.
//! Failures are counted by address, and an address with too many is refused before its credential is looked at.
//! Answers `threats.md` §4.5, §5 items 19, 20.

use super::identify;
use super::record::Record;
use super::route::Routed;
use crate::config::types::Role;
use crate::gateway::{Gateway, Policy};
use crate::limits::{AddressPrefix, PrincipalId, Subject};
use crate::rejection::Rejection;
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
    /// A user, by a token.
    User(PrincipalId),
    /// The subject of a token that others signed with a key of ours.
    Outside(PrincipalId),
    /// Anybody.
    Anonymous,
}

impl Principal {
    /// Its id, where it has one.
    #[must_use]
    pub const fn id(&self) -> Option<&PrincipalId> {
        match self {
            Self::Key(id) | Self::Certificate(id) | Self::User(id) | Self::Outside(id) => Some(id),
            Self::Anonymous => None,
        }
    }

    /// What its limits are counted by.
    #[must_use]
    pub fn subject(&self, client: std::net::IpAddr) -> Subject {
        match self {
            Self::Key(id) | Self::Certificate(id) | Self::User(id) | Self::Outside(id) => {
                Subject::Principal(id.clone())
            }
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
    if !gateway.can_account() {
        return Err(Rejection::Overloaded { retry_after_s: 2 });
    }
    let address = AddressPrefix::from(record.client);
    let limiters = gateway.limiters();
    limiters.authentication_allowed(address).map_err(Rejection::AuthenticationThrottled)?;
    let identified = identify::identify(&routed, gateway, policy, record);
    if identified.as_ref().err().is_some_and(Rejection::is_wrong_credential) {
        limiters.authentication_failed(address);
    }
    let (principal, role) = identified?;
    record.role = Some(role.name.clone());
    Ok(Authenticated { routed, principal, role })
}
