//! The PROXY protocol, before TLS, from trusted proxies only.
//!
//! Guarantees: the header is read within its deadline and its longest length, and no byte after it.
//! Source: HAProxy's `proxy-protocol.txt`, versions 1 and 2.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// A version 2 header with all its fields; version 1 has 107 bytes at most.
const LONGEST: usize = 536;

/// Whose connection it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Client {
    /// The proxy's client.
    At(IpAddr),
    /// The proxy's own: a health check, or a client that it knows no address of.
    TheProxy,
}

/// Reads the header; `None`: there is none, or it is none.
pub(super) async fn read(socket: &mut TcpStream, within: Duration) -> Option<Client> {
    tokio::time::timeout(within, read_header(socket)).await.ok()?
}

async fn read_header(socket: &mut TcpStream) -> Option<Client> {
    let mut peeked = [0_u8; LONGEST];
    let mut seen = 0;
    loop {
        let length = socket.peek(&mut peeked).await.ok()?;
        let bytes = peeked.get(..length)?;
        let parsed = ppp::HeaderResult::parse(bytes);
        if let Some((header_length, address)) = complete(&parsed) {
            let mut header = vec![0_u8; header_length];
            socket.read_exact(&mut header).await.ok()?;
            return Some(address.map_or(Client::TheProxy, Client::At));
        }
        let may_go_on = ppp::PartialResult::is_incomplete(&parsed) && length < LONGEST;
        if !may_go_on || length == 0 {
            return None;
        }
        if length == seen {
            // The same bytes again: wait a moment for more of the header, the deadline bounds it.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        seen = length;
    }
}

fn complete(parsed: &ppp::HeaderResult<'_>) -> Option<(usize, Option<IpAddr>)> {
    match parsed {
        ppp::HeaderResult::V1(Ok(header)) => Some((header.header.len(), v1(&header.addresses))),
        ppp::HeaderResult::V2(Ok(header)) => {
            let proxied = header.command == ppp::v2::Command::Proxy;
            Some((header.len(), proxied.then(|| v2(&header.addresses)).flatten()))
        }
        ppp::HeaderResult::V1(Err(_)) | ppp::HeaderResult::V2(Err(_)) => None,
    }
}

fn v1(addresses: &ppp::v1::Addresses) -> Option<IpAddr> {
    match addresses {
        ppp::v1::Addresses::Tcp4(tcp) => Some(IpAddr::V4(tcp.source_address)),
        ppp::v1::Addresses::Tcp6(tcp) => Some(IpAddr::V6(tcp.source_address).to_canonical()),
        ppp::v1::Addresses::Unknown => None,
    }
}

fn v2(addresses: &ppp::v2::Addresses) -> Option<IpAddr> {
    match addresses {
        ppp::v2::Addresses::IPv4(ip) => Some(IpAddr::V4(ip.source_address)),
        ppp::v2::Addresses::IPv6(ip) => Some(IpAddr::V6(ip.source_address).to_canonical()),
        ppp::v2::Addresses::Unspecified | ppp::v2::Addresses::Unix(_) => None,
    }
}

/// The address that a connection is counted and logged by.
pub(super) fn canonical(peer: SocketAddr) -> IpAddr {
    peer.ip().to_canonical()
}
