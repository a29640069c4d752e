//! Whose credential is it, and what may its holder do? One way for each kind of credential.
//!
//! Guarantees: one credential of one kind; a key's own bounds hold for everything that was given out on its word too; a
//! role that the configuration no longer has gives no right at all.

use super::authenticate::Principal;
use super::ban;
use super::credential::{self, Credential};
use super::inspect::is_within;
use super::peer::SignedIn;
use super::record::Record;
use super::route::Routed;
use crate::config::types::{Anonymous, Role};
use crate::gateway::{Gateway, Policy};
use crate::identity::accounts::Identified;
use crate::identity::cli_signature::{PresentedSignature, Signed};
use crate::identity::issue::HONEY;
use crate::identity::key_ring::KeyRefusal;
use crate::identity::keys::PresentedKey;
use crate::identity::tokens::{PresentedToken, TokenRefusal};
use crate::limits::PrincipalId;
use crate::rejection::Rejection;
use crate::store::key_record::KeyRecord;
use crate::telemetry::clock;
use std::sync::Arc;

type Found = Result<(Principal, Arc<Role>), Rejection>;

/// Finds out who calls.
pub(super) fn identify(routed: &Routed, gateway: &Gateway, policy: &Policy, record: &mut Record) -> Found {
    let in_headers = credential::from_headers(routed.headers())?;
    let found = match (&in_headers, routed.inspected().path_key()) {
        (_, None) => &in_headers,
        (Credential::Missing, Some(in_path)) => in_path,
        (_, Some(_)) => return Err(Rejection::CredentialAmbiguous),
    };
    match found {
        Credential::Key(presented) => key(presented, gateway, policy, record),
        Credential::Token(presented) => token(presented, gateway, policy, record),
        Credential::Signature(presented) => signature(presented, routed, (gateway, policy), record),
        Credential::Malformed => Err(Rejection::CredentialInvalid { why: "malformed" }),
        Credential::Missing => match record.peer.signed_in.clone() {
            Some(who) => signed_in(&who, (gateway, policy), record),
            None => certificate(policy, record).map_or_else(|| anonymous(policy), Ok),
        },
    }
}

/// Somebody of the console's: as they are now, not as they were when they signed in.
fn signed_in(who: &SignedIn, (gateway, policy): (&Gateway, &Policy), record: &mut Record) -> Found {
    let over = || Rejection::CredentialInvalid { why: "session_over" };
    let (principal, role) = match who {
        SignedIn::Key(id) => {
            let key = gateway.keys.active(*id, clock::now()).ok_or_else(over)?;
            return holder(&key, (gateway, policy), record);
        }
        SignedIn::User { name, since } => {
            let role = gateway.accounts.standing(name, *since).ok_or_else(over)?;
            (Principal::User(PrincipalId::new(format!("user:{name}"))), role)
        }
        SignedIn::Outside { principal, role } => {
            (Principal::Outside(PrincipalId::new(principal.to_string())), Arc::clone(role))
        }
    };
    known(principal, &role, (gateway, policy), record)
}

/// Somebody who is known by a name and not by a key: a user, or whom an issuer vouches for.
fn known(principal: Principal, role: &str, (gateway, policy): (&Gateway, &Policy), record: &mut Record) -> Found {
    record.principal = principal.id().map(|id| id.as_str().into());
    if principal.id().is_some_and(|id| gateway.bans.has_principal(id.as_str(), clock::now())) {
        return Err(Rejection::Banned);
    }
    Ok((principal, named_role(role, policy)?))
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

fn key(presented: &PresentedKey, gateway: &Gateway, policy: &Policy, record: &mut Record) -> Found {
    let key = gateway.keys.verify(presented, clock::now()).map_err(|refusal| {
        record.principal = known_id(refusal, presented);
        Rejection::CredentialInvalid { why: refusal.as_str() }
    })?;
    holder(&key, (gateway, policy), record)
}

fn signature(
    presented: &PresentedSignature,
    routed: &Routed,
    (gateway, policy): (&Gateway, &Policy),
    record: &mut Record,
) -> Found {
    let inspected = routed.inspected();
    let signed = Signed {
        method: inspected.method().as_str(),
        path: inspected.path(),
        query: inspected.query(),
        connection: record.peer.number,
    };
    let key = gateway.signatures.verify(&gateway.keys, presented, &signed, clock::now());
    let key = key.map_err(|refusal| Rejection::CredentialInvalid { why: refusal.as_str() })?;
    holder(&key, (gateway, policy), record)
}

/// The holder of a key, bound as the key is.
fn holder(key: &KeyRecord, (gateway, policy): (&Gateway, &Policy), record: &mut Record) -> Found {
    record.principal = Some(Arc::from(key.id.as_str()));
    if &*key.role == HONEY {
        ban::honey(gateway, policy, record);
        return Err(Rejection::CredentialInvalid { why: "honey" });
    }
    if gateway.bans.has_key(key, clock::now()) {
        return Err(Rejection::Banned);
    }
    let role = policy.role(&key.role).ok_or(Rejection::EndpointForbidden)?;
    let bounds = &key.bounds;
    if !bounds.addresses.is_empty() && !is_within(record.client, &bounds.addresses) {
        return Err(Rejection::AddressForbidden);
    }
    let role = if bounds.models.is_empty() {
        Arc::clone(role)
    } else {
        Arc::new(Role { subset: bounds.models.clone(), ..Role::clone(role) })
    };
    // Limits count by the first key of a chain of rotations: a new key is no new budget.
    Ok((Principal::Key(PrincipalId::new(key.principal.as_str())), role))
}

/// A token of ours is as good as its subject is now; of one that others sign with our key, its role is known and named.
fn token(presented: &PresentedToken, gateway: &Gateway, policy: &Policy, record: &mut Record) -> Found {
    let invalid = |refusal: TokenRefusal| Rejection::CredentialInvalid { why: refusal.as_str() };
    if let Some(found) = gateway.issuers().verify(presented, clock::now()) {
        let outsider = found.map_err(invalid)?;
        let principal = Principal::Outside(PrincipalId::new(outsider.principal));
        return known(principal, &outsider.role, (gateway, policy), record);
    }
    let claims = policy.tokens.verify(presented, clock::now()).map_err(invalid)?;
    let principal = if policy.tokens.issues() {
        match gateway.accounts.resolve(&claims, &gateway.keys, clock::now()).map_err(invalid)? {
            Identified::Key(key) => return holder(&key, (gateway, policy), record),
            Identified::User(id) => Principal::User(id),
        }
    } else {
        Principal::Outside(PrincipalId::new(format!("token:{}", claims.subject)))
    };
    known(principal, &claims.role, (gateway, policy), record)
}

/// A role that a token names; nobody is anonymous by a token.
fn named_role(name: &str, policy: &Policy) -> Result<Arc<Role>, Rejection> {
    let role = policy.role(name).filter(|role| role.name != "anonymous");
    role.cloned().ok_or(Rejection::CredentialInvalid { why: "token_role_unknown" })
}

/// The log may name a key that exists; an id that does not is the client's text.
fn known_id(refusal: KeyRefusal, presented: &PresentedKey) -> Option<Arc<str>> {
    match refusal {
        KeyRefusal::Unknown => None,
        KeyRefusal::WrongSecret | KeyRefusal::Expired | KeyRefusal::Revoked => {
            Some(Arc::from(presented.id().to_string()))
        }
    }
}

fn anonymous(policy: &Policy) -> Found {
    match policy.config.auth.anonymous {
        Anonymous::Deny => Err(Rejection::CredentialMissing),
        Anonymous::Allow => {
            let role = policy.role("anonymous").ok_or(Rejection::CredentialMissing)?;
            Ok((Principal::Anonymous, Arc::clone(role)))
        }
    }
}
