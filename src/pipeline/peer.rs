//! Who is at the other end of a connection, as far as the connection itself tells.

use crate::certificates::ClientIdentity;
use crate::pipeline::activity::Activity;
use crate::store::key_record::KeyId;
use crate::store::timestamp::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The HTTP version that ALPN chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (or 1.0)
    Http1,
    /// HTTP/2
    Http2,
}

impl Protocol {
    /// Its name in the log: as in ALPN (RFC 7301 §6).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
        }
    }
}

/// One connection.
#[derive(Debug)]
pub struct Peer {
    /// The client's address: the socket's, or what a trusted proxy's PROXY header said.
    pub address: IpAddr,
    /// Whether `address` is a trusted proxy's own, so that `X-Forwarded-For` may be believed.
    pub via: Via,
    /// The name that TLS was opened for, lower case.
    pub sni: Option<String>,
    /// The certificate that the client showed, verified.
    pub certificate: Option<ClientIdentity>,
    /// The HTTP version.
    pub protocol: Protocol,
    /// Who is at the other end, where that was found out before: a session of the console.
    pub signed_in: Option<SignedIn>,
    /// Its number: no two connections of a process have the same.
    pub number: u64,
    /// What is in flight on it.
    pub activity: Arc<Activity>,
}

/// Somebody whom the console signed in. What they may do is looked up at each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SignedIn {
    /// The holder of a key.
    Key(KeyId),
    /// A user.
    User {
        /// The name.
        name: Arc<str>,
        /// Since when: a change of the user ends it.
        since: Timestamp,
    },
    /// The subject of an outside issuer.
    Outside {
        /// Its id.
        principal: Arc<str>,
        /// Its role.
        role: Arc<str>,
    },
}

/// What stands between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Nothing that is believed.
    Direct,
    /// A trusted proxy that writes `X-Forwarded-For`.
    ForwardingProxy,
}

/// A number for a connection that opens.
pub fn next_number() -> u64 {
    static NUMBERS: AtomicU64 = AtomicU64::new(0);
    NUMBERS.fetch_add(1, Ordering::Relaxed)
}
