//! `[tls.client]`: which certificates clients show, and who they then are.
//!
//! Guarantees: every role that a certificate gives is one of the configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

/// `[tls.client]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificates {
    /// The CA that signs the clients' certificates, PEM file.
    pub ca: PathBuf,
    /// Its revocation lists, PEM files; one for each CA of a chain.
    pub crls: Vec<PathBuf>,
    /// Whether a client needs one.
    pub mode: ClientMode,
    /// The addresses of `server.https` that ask for one; empty: all.
    pub listeners: Vec<SocketAddr>,
    /// Whose certificate is a credential; the first that fits counts.
    pub principals: Vec<ClientPrincipal>,
}

/// A client without a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientMode {
    /// Is served, and has to show another credential.
    Optional,
    /// Gets a TLS alert.
    Required,
}

/// Whose certificate is a credential, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientPrincipal {
    /// By what the certificate is known.
    pub name: ClientName,
    /// The role that it gives.
    pub role: String,
}

/// By what a certificate is known; compared byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientName {
    /// The one common name of its subject.
    Common(String),
    /// One of its alternative names: DNS, mail or URI.
    Alternative(String),
}

impl ClientName {
    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Common(name) | Self::Alternative(name) => name,
        }
    }
}
