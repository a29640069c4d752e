//! Who would call: a key with its own bounds, or a role.
//!
//! Guarantees: what ends a key ends it here too: its end, a ban, a trap, an address that is not its own; its models
//! narrow those of its role.

use super::{Ended, ExplainArguments, Stage, say};
use crate::config::types::Role;
use crate::gateway::Policy;
use crate::identity::issue::HONEY;
use crate::limits::{AddressPrefix, BanList, PrincipalId, Subject};
use crate::pipeline::ban::BansAt;
use crate::pipeline::inspect::is_within;
use crate::rejection::Rejection;
use crate::store::Store;
use crate::store::key_record::KeyRecord;
use crate::store::timestamp::Timestamp;
use ipnet::IpNet;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::SystemTime;

/// Who calls.
pub(super) struct Caller {
    pub(super) role: Arc<Role>,
    /// What its budgets are counted by.
    pub(super) subject: Subject,
}

impl ExplainArguments {
    /// Where it comes from; without a word on it, from here.
    pub(super) fn client(&self) -> IpAddr {
        self.from.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
    }

    /// Whether it comes from one of these networks. Where nothing was said, it does not.
    pub(super) fn is_from(&self, networks: &[IpNet]) -> bool {
        self.from.is_some_and(|from| is_within(from, networks))
    }
}

/// Finds out who calls.
pub(super) async fn authenticate(
    wanted: &ExplainArguments,
    (policy, store): (&Policy, &Store),
    now: SystemTime,
    err: &mut (dyn Write + Send),
) -> Stage<Caller> {
    let bans = BanList::default();
    bans.read(store, now).await.map_err(|error| Ended::Failed(error.into()))?;
    if let Some(from) = wanted.from {
        let at = BansAt { list: &bans, now };
        at.admit(from.to_canonical(), &policy.config.bans).map_err(Ended::Refused)?;
    }
    let Some(id) = &wanted.key else { return without_key(wanted, policy, err) };
    let id = id.parse().map_err(|error| Ended::Failed(error.into()))?;
    let key = store.key(id).await.map_err(|error| Ended::Failed(error.into()))?;
    let key = key.ok_or(Ended::Refused(Rejection::CredentialInvalid { why: "unknown" }))?;
    let state = key.state(Timestamp::from(now));
    say(err, "authenticate", &format!("the key {id} ({}) is {}", key.name.as_str(), state.as_str()))?;
    if !state.opens() {
        return Err(Ended::Refused(Rejection::CredentialInvalid { why: state.as_str() }));
    }
    if &*key.role == HONEY {
        say(err, "", "it is a trap: whoever uses it is banned")?;
        return Err(Ended::Refused(Rejection::CredentialInvalid { why: "honey" }));
    }
    if bans.has_key(&key, now) {
        return Err(Ended::Refused(Rejection::Banned));
    }
    bound(&key, wanted, policy, err)
}

/// The holder of a key, bound as the key is.
fn bound(key: &KeyRecord, wanted: &ExplainArguments, policy: &Policy, err: &mut (dyn Write + Send)) -> Stage<Caller> {
    say(err, "", &format!("the role of the key, {}", key.role))?;
    let role = policy.role(&key.role).ok_or(Ended::Refused(Rejection::EndpointForbidden))?;
    let addresses = &key.bounds.addresses;
    if !addresses.is_empty() {
        say(err, "", &format!("the key opens only from {}", listed(addresses)))?;
        if !wanted.is_from(addresses) {
            return Err(Ended::Refused(Rejection::AddressForbidden));
        }
    }
    let mut role = Arc::clone(role);
    if !key.bounds.models.is_empty() {
        let models: Vec<_> = key.bounds.models.iter().map(|pattern| pattern.as_str().to_owned()).collect();
        say(err, "", &format!("of its role's models, the key has {}", models.join(", ")))?;
        role = Arc::new(Role { subset: key.bounds.models.clone(), ..Role::clone(&role) });
    }
    Ok(Caller { role, subject: Subject::Principal(PrincipalId::new(key.principal.as_str())) })
}

fn without_key(wanted: &ExplainArguments, policy: &Policy, err: &mut (dyn Write + Send)) -> Stage<Caller> {
    let (who, role) = match &wanted.role {
        Some(role) => (format!("the role {role}"), role.as_str()),
        None if policy.role("anonymous").is_some() => ("without a key: anonymous".to_owned(), "anonymous"),
        None => return Err(Ended::Refused(Rejection::CredentialMissing)),
    };
    say(err, "authenticate", &who)?;
    let role = policy.role(role).cloned().ok_or(Ended::Refused(Rejection::EndpointForbidden))?;
    Ok(Caller { role, subject: Subject::Address(AddressPrefix::from(wanted.client())) })
}

/// Networks, with commas.
pub(super) fn listed(networks: &[IpNet]) -> String {
    let texts: Vec<_> = networks.iter().map(ToString::to_string).collect();
    texts.join(", ")
}
