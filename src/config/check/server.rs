//! `[server]` and `[admin]`: names, listeners, deadlines of connections.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use super::address::{listener, network, served_name};
use crate::config::error::Wrong;
use crate::config::quantity::quoted;
use crate::config::raw::{Item, Section};
use crate::config::types::{ClientAddress, Sandbox, Server};

const HOUR: Duration = Duration::from_secs(3_600);
const DEFAULT_STATE: &str = "/var/lib/ollama-gateway";

/// The listeners of `[admin]`.
pub(super) struct Listeners {
    pub(super) listen: Option<SocketAddr>,
    pub(super) metrics: Option<SocketAddr>,
}

/// Reads both, since no two of their listeners may be the same.
pub(super) fn listeners(mut server: Section<'_>, admin: &mut Section<'_>) -> (Server, Listeners) {
    let mut taken = Vec::new();
    let https = addresses(&mut server, "https", 443, &mut taken);
    let http = addresses(&mut server, "http", 80, &mut taken);
    let listen = admin_listener(admin, &mut taken);
    let metrics = metrics_listener(admin, &mut taken);
    if server.is_empty_list("https") {
        server.fault_of("https", Wrong::new("is empty").hint("leave it out for \"0.0.0.0:443\" and \"[::]:443\""));
    }
    let (client_address, trusted_proxies) = proxies(&mut server);
    let server = Server {
        names: names(&mut server),
        https,
        http,
        state: state(&mut server),
        trusted_proxies,
        client_address,
        max_connections: server.number("max_connections", 4096, 1..=1_000_000),
        handshake_timeout: server.duration("handshake_timeout", Duration::from_secs(5), HOUR),
        head_timeout: server.duration("head_timeout", Duration::from_secs(10), HOUR),
        idle_timeout: server.duration("idle_timeout", Duration::from_secs(60), HOUR),
        write_stall_timeout: server.duration("write_stall_timeout", Duration::from_secs(30), HOUR),
        body_min_rate: server.size("body_min_rate", 1024, 1..=1 << 30),
        body_grace: server.duration("body_grace", Duration::from_secs(5), HOUR),
        drain_timeout: server.duration("drain_timeout", Duration::from_secs(30), HOUR),
        sandbox: server.switch("sandbox", Sandbox::On, Sandbox::Off, Sandbox::On),
    };
    (server, Listeners { listen, metrics })
}

fn names(server: &mut Section<'_>) -> Vec<String> {
    let hint = "the names that clients use, for example names = [\"ai.example.org\"]; no other Host is served";
    let Some(names) = server.list("names", |item| served_name(item.text()?)) else {
        server.missing("names", hint);
        return Vec::new();
    };
    if server.is_empty_list("names") {
        server.fault_of("names", Wrong::new("is empty").hint(hint));
    }
    if let Some(twice) = names.iter().enumerate().find(|(at, name)| names.iter().take(*at).any(|n| n == *name)) {
        server.fault_of("names", Wrong::new(format!("{} is there twice", quoted(twice.1))).hint("case does not count"));
    }
    names
}

/// Listeners of one kind; where they are not written, every address of this machine.
fn addresses(server: &mut Section<'_>, key: &'static str, port: u16, taken: &mut Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(items) = server.item(key) else {
        let everywhere = [(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()];
        taken.extend(everywhere);
        return everywhere.to_vec();
    };
    let items = items.read(Item::items).unwrap_or_default();
    items.iter().filter_map(|item| item.read(|item| free(listener(item.text()?)?, taken))).collect()
}

/// Takes an address that no other listener has. Port 0 is any free port.
fn free(address: SocketAddr, taken: &mut Vec<SocketAddr>) -> Result<SocketAddr, Wrong> {
    if address.port() != 0 && taken.contains(&address) {
        let hint = "each listener needs an address and port of its own";
        return Err(Wrong::new(format!("{address} is listened on already")).hint(hint));
    }
    taken.push(address);
    Ok(address)
}

fn admin_listener(admin: &mut Section<'_>, taken: &mut Vec<SocketAddr>) -> Option<SocketAddr> {
    let default = Some(SocketAddr::from(([127, 0, 0, 1], 9443)));
    admin.read("listen", default, |item| {
        let text = item.text()?;
        if text == "off" {
            return Ok(None);
        }
        let address = listener(text).map_err(|_| {
            Wrong::new(format!("{} is no address to listen on", quoted(text))).hint("\"127.0.0.1:9443\", or \"off\"")
        })?;
        if !address.ip().is_loopback() {
            let hint = "it is plain HTTP and asks for no key: \"127.0.0.1:9443\", or \"off\"";
            return Err(Wrong::new(format!("{address} is not on this machine alone")).hint(hint));
        }
        free(address, taken).map(Some)
    })
}

/// It tells counts and nothing else, so it may be reached from elsewhere; nobody has to open it.
fn metrics_listener(admin: &mut Section<'_>, taken: &mut Vec<SocketAddr>) -> Option<SocketAddr> {
    admin.read("metrics", None, |item| {
        let text = item.text()?;
        if text == "off" {
            return Ok(None);
        }
        let address = listener(text).map_err(|_| {
            Wrong::new(format!("{} is no address to listen on", quoted(text))).hint("\"0.0.0.0:9464\", or \"off\"")
        })?;
        free(address, taken).map(Some)
    })
}

fn state(server: &mut Section<'_>) -> PathBuf {
    server.read("state", PathBuf::from(DEFAULT_STATE), |item| {
        let text = item.text()?;
        let hint = format!("for example \"{DEFAULT_STATE}\"");
        if !text.starts_with('/') {
            return Err(Wrong::new(format!("{} is not an absolute path", quoted(text))).hint(hint));
        }
        if text.split('/').all(|part| part.is_empty() || part == "." || part == "..") {
            return Err(Wrong::new("is the root folder").hint(hint));
        }
        Ok(PathBuf::from(text))
    })
}

/// Who is believed, and in which way it speaks: neither is of use without the other.
fn proxies(server: &mut Section<'_>) -> (ClientAddress, Vec<IpNet>) {
    let ways = [
        ("socket", ClientAddress::Socket),
        ("proxy-protocol", ClientAddress::ProxyProtocol),
        ("x-forwarded-for", ClientAddress::XForwardedFor),
    ];
    let way = server.choice("client_address", &ways, ClientAddress::Socket);
    let trusted = server.list("trusted_proxies", |item| trusted(item.text()?)).unwrap_or_default();
    match (way, trusted.is_empty()) {
        (ClientAddress::Socket, false) => server.fault_of(
            "trusted_proxies",
            Wrong::new("is set, but client_address is \"socket\": nobody is asked for another address")
                .hint("client_address = \"proxy-protocol\" or \"x-forwarded-for\", whichever the proxy sends"),
        ),
        (ClientAddress::ProxyProtocol | ClientAddress::XForwardedFor, true) => server.fault_of(
            "client_address",
            Wrong::new("needs server.trusted_proxies: without it, nobody is believed")
                .hint("the proxy's own address, for example trusted_proxies = [\"10.0.0.5\"]"),
        ),
        (ClientAddress::Socket, true) | (ClientAddress::ProxyProtocol | ClientAddress::XForwardedFor, false) => {}
    }
    (way, trusted)
}

fn trusted(text: &str) -> Result<IpNet, Wrong> {
    let network = network(text)?;
    if network.prefix_len() == 0 {
        let hint = "a client could then write its own address; name the proxy's";
        return Err(Wrong::new(format!("{} is everybody", quoted(text))).hint(hint));
    }
    Ok(network)
}
