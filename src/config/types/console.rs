//! `[admin]`: its listeners, and who may sign in to the console.

use super::auth::Oidc;
use crate::config::secret::Secret;
use std::net::SocketAddr;

/// `[admin]`: health, readiness, metrics, the console.
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where; plain HTTP on a loopback address. `None`: off.
    pub listen: Option<SocketAddr>,
    /// Health, readiness and metrics alone, on any address: for a Prometheus elsewhere. `None`: off.
    pub metrics: Option<SocketAddr>,
    /// The roles whose holders may sign in to the console.
    pub roles: Vec<String>,
    /// Sign-in to the console by an outside issuer.
    pub oidc: Option<SignOn>,
}

/// An outside issuer that signs admins in.
#[derive(Debug, Clone)]
pub struct SignOn {
    /// The issuer; its `audience` is the client id.
    pub issuer: Oidc,
    /// Of a confidential client; a public one has PKCE alone.
    pub client_secret: Option<Secret>,
    /// What is asked for besides `openid`.
    pub scopes: Vec<String>,
}

impl PartialEq for SignOn {
    fn eq(&self, other: &Self) -> bool {
        let secret = |of: &Self| of.client_secret.as_ref().map(|secret| secret.expose().to_owned());
        self.issuer == other.issuer && self.scopes == other.scopes && secret(self) == secret(other)
    }
}
