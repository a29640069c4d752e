//! Is Ollama reachable by another address than the one that the gateway uses?
//!
//! Guarantees: what is reported answered as Ollama does. Does not: see through a firewall from outside.

use super::{Finding, Machine};
use crate::cli::plain_get;
use crate::config::types::Upstream;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

const CHECK: &str = "exposure";
/// A connect within one machine takes no longer.
const NEAR: Duration = Duration::from_secs(1);

/// Tries every address of this machine that is not loopback.
pub(super) async fn look(machine: &Machine, upstream: &Upstream) -> Vec<Finding> {
    let Some((host, port)) = upstream.address.rsplit_once(':').and_then(|(h, p)| Some((h, p.parse().ok()?))) else {
        return Vec::new();
    };
    if !is_loopback(host) {
        let found = format!("Ollama is at {}, not on this machine's loopback", upstream.address);
        let remedy = "make sure that only the gateway reaches it: a firewall, a NetworkPolicy, a network of their own";
        return vec![Finding::unknown(CHECK, found, remedy)];
    }
    let addresses: Vec<_> = addresses(machine).into_iter().filter(|address| !address.is_loopback()).collect();
    let open = open(&addresses, port).await;
    if open.is_empty() {
        let found = format!("port {port} answers on loopback only ({} other addresses tried)", addresses.len());
        return vec![Finding::ok(CHECK, found)];
    }
    let found = format!("Ollama answers on {}: everybody who reaches it walks past the gateway", joined(&open));
    vec![Finding::wrong(
        CHECK,
        found,
        "set OLLAMA_HOST=127.0.0.1 for Ollama's service and restart it; do not publish its port from a container",
    )]
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The addresses where something answers as Ollama does.
async fn open(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    let mut open = Vec::new();
    for address in addresses {
        let address = SocketAddr::new(*address, port);
        let answer = plain_get::get(address, "/api/version", NEAR).await;
        // An Ollama that refuses a Host is one that listens there.
        let is_ollama = answer.is_ok_and(|a| a.status == 403 || a.body.contains("\"version\""));
        if is_ollama {
            open.push(address);
        }
    }
    open
}

fn joined(addresses: &[SocketAddr]) -> String {
    addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The addresses of this machine, as the kernel lists them. Link-local ones need a zone, and are left out.
pub(super) fn addresses(machine: &Machine) -> BTreeSet<IpAddr> {
    let v4 = machine.read("/proc/net/fib_trie").unwrap_or_default();
    let v6 = machine.read("/proc/net/if_inet6").unwrap_or_default();
    v4_addresses(&v4).map(IpAddr::V4).chain(v6_addresses(&v6).map(IpAddr::V6)).collect()
}

/// `|-- 10.0.0.5`, and below it `/32 host LOCAL`.
fn v4_addresses(trie: &str) -> impl Iterator<Item = Ipv4Addr> {
    let below = trie.lines().skip(1);
    trie.lines().zip(below).filter(|(_, below)| below.contains("/32 host LOCAL")).filter_map(|(line, _)| {
        let text = line.trim().strip_prefix("|-- ")?;
        text.parse().ok()
    })
}

/// `fd00…0001 02 40 00 80 eth0`: 32 digits first.
fn v6_addresses(table: &str) -> impl Iterator<Item = Ipv6Addr> {
    let bits = |line: &str| u128::from_str_radix(line.split(' ').next()?, 16).ok();
    table.lines().filter_map(bits).map(Ipv6Addr::from_bits).filter(|address| !address.is_unicast_link_local())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    #[test]
    fn the_kernels_lists_are_read() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 10.0.0.0\n        \
                    /24 link UNICAST\n     |-- 10.0.0.255\n        /32 link BROADCAST\n";
        assert_eq!(v4_addresses(trie).collect::<Vec<_>>(), [Ipv4Addr::new(10, 0, 0, 5)]);
        let table = "00000000000000000000000000000001 01 80 10 80 lo\nfe800000000000000000000000000001 02 40 20 80 eth0\n\
                     fd000000000000000000000000000007 02 40 00 80 eth0\n";
        let found: Vec<_> = v6_addresses(table).map(|address| address.to_string()).collect();
        assert_eq!(found, ["::1", "fd00::7"]);
    }

    #[tokio::test]
    async fn an_ollama_on_another_address_is_found_and_another_server_is_not() {
        let serve = |answer: &'static str| async move {
            let listener = TcpListener::bind("127.0.0.2:0").await.unwrap();
            let port = listener.local_addr().unwrap().port();
            tokio::spawn(async move {
                let (mut socket, _) = listener.accept().await.unwrap();
                assert!(socket.read(&mut [0; 512]).await.unwrap() > 0);
                socket.write_all(answer.as_bytes()).await.unwrap();
            });
            port
        };
        let other = [IpAddr::from([127, 0, 0, 2])];
        let ollama = serve("HTTP/1.0 200 OK\r\n\r\n{\"version\":\"0.30.0\"}").await;
        assert_eq!(open(&other, ollama).await.len(), 1);
        let web = serve("HTTP/1.0 404 Not Found\r\n\r\nno").await;
        assert_eq!(open(&other, web).await, []);
        assert!(is_loopback("[::1]") && is_loopback("127.0.0.1") && !is_loopback("0.0.0.0") && !is_loopback("ollama"));
    }
}
