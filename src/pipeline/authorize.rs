//! Fourth stage: may this caller call this, from there?
//!
//! Guarantees of [`Authorized`]: the role names the endpoint or its class, and the client's address is one of the role's.
//! Which models, fields and options it may use is decided where they are read (`admit`).
//! Answers `threats.md` §6.1 API5.

use super::authenticate::{Authenticated, Principal};
use super::inspect::is_within;
use super::record::Record;
use super::route::Routed;
use crate::config::types::Role;
use crate::rejection::Rejection;
use std::sync::Arc;

/// A request that the caller may make.
///
/// ```compile_fail
/// fn forge(authenticated: ollama_gateway::pipeline::authenticate::Authenticated)
///     -> ollama_gateway::pipeline::authorize::Authorized {
///     ollama_gateway::pipeline::authorize::Authorized { authenticated }
/// }
/// ```
/// ```
/// fn read(a: &ollama_gateway::pipeline::authorize::Authorized) -> &ollama_gateway::config::types::Role { a.role() }
/// ```
#[derive(Debug)]
pub struct Authorized {
    authenticated: Authenticated,
}

impl Authorized {
    /// The request.
    #[must_use]
    pub const fn routed(&self) -> &Routed {
        self.authenticated.routed()
    }

    /// Who calls.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        self.authenticated.principal()
    }

    /// The caller's role.
    #[must_use]
    pub const fn role(&self) -> &Arc<Role> {
        self.authenticated.role()
    }

    pub(in crate::pipeline) fn into_parts(self) -> (Routed, Principal, Arc<Role>) {
        self.authenticated.into_parts()
    }
}

/// Decides by the role.
///
/// # Errors
/// 403.
pub fn authorize(authenticated: Authenticated, record: &Record) -> Result<Authorized, Rejection> {
    let role = authenticated.role();
    if !role.addresses.is_empty() && !is_within(record.client, &role.addresses) {
        return Err(Rejection::AddressForbidden);
    }
    if !role.endpoints.contains(authenticated.routed().endpoint()) {
        return Err(Rejection::EndpointForbidden);
    }
    Ok(Authorized { authenticated })
}
