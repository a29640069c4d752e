//! Who is at the other end of a connection, as far as the connection itself tells.

use crate::certificates::ClientIdentity;
use crate::pipeline::activity::Activity;
use std::net::IpAddr;
use std::sync::Arc;

/// The HTTP version that ALPN chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1 (or 1.0)
    Http1,
    /// HTTP/2
    Http2,
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
    /// Its number: no two connections of a process have the same.
    pub number: u64,
    /// What is in flight on it.
    pub activity: Arc<Activity>,
}

/// What stands between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    /// Nothing that is believed.
    Direct,
    /// A trusted proxy that writes `X-Forwarded-For`.
    ForwardingProxy,
}
