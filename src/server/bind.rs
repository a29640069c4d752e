//! The sockets: those of the configuration, or those that systemd opened before.
//!
//! Guarantees: with socket activation a new process takes connections while the one before it still runs, since both hold
//! the same socket: an upgrade refuses none. A socket whose name is not known, or an admin socket that others than this
//! machine reach, is refused. No program that the gateway starts inherits one.

use crate::config::types::Config;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::{SocketAddr, TcpListener};
use tokio::net;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;

/// The sockets, bound, before there is a runtime.
#[derive(Debug)]
pub struct Sockets {
    https: Vec<TcpListener>,
    http: Vec<TcpListener>,
    admin: Option<TcpListener>,
    metrics: Option<TcpListener>,
    origin: Origin,
}

/// The sockets, as the runtime has them.
#[derive(Debug)]
pub struct Bound {
    /// HTTPS.
    pub https: Vec<net::TcpListener>,
    /// Plain HTTP.
    pub http: Vec<net::TcpListener>,
    /// The admin listener.
    pub admin: Option<net::TcpListener>,
    /// Health, readiness and metrics for others.
    pub metrics: Option<net::TcpListener>,
    /// Who opened them.
    pub origin: Origin,
}

impl Sockets {
    /// Hands them to the runtime.
    ///
    /// # Errors
    /// There is none, or it refuses.
    pub fn into_bound(self) -> Result<Bound, ServeFault> {
        let one = |listener: TcpListener| {
            listener.set_nonblocking(true)?;
            net::TcpListener::from_std(listener)
        };
        let all = |listeners: Vec<TcpListener>| listeners.into_iter().map(one).collect::<std::io::Result<Vec<_>>>();
        Ok(Bound {
            https: all(self.https)?,
            http: all(self.http)?,
            admin: self.admin.map(one).transpose()?,
            metrics: self.metrics.map(one).transpose()?,
            origin: self.origin,
        })
    }
}

/// Who opened the sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This process.
    Own,
    /// systemd: another process may hold them too.
    Inherited,
}

/// Why it does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeFault {
    /// An address cannot be listened on.
    #[error("{key}: cannot listen on {address}: {error}")]
    Bind {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// A socket that systemd passed cannot be used.
    #[error("a socket that systemd passed cannot be used: {0}")]
    Inherited(#[from] std::io::Error),
    /// Nobody knows what it is for.
    #[error("systemd passed a socket with an unknown name; hint: FileDescriptorName= is https, http or admin")]
    UnknownName,
    /// There are some, but none to serve on.
    #[error("systemd passed no socket named https; hint: FileDescriptorName=https in the socket unit")]
    NoHttps,
    /// There is no thread to carry connections.
    #[error("cannot start the threads that carry connections: {0}")]
    Threads(std::io::Error),
    /// It asks for no key.
    #[error("the admin socket that systemd passed listens on {0}, not on this machine alone; hint: 127.0.0.1")]
    AdminReachable(SocketAddr),
}

/// `LISTEN_FDNAMES`: what systemd calls the sockets that it opened, in their order.
#[derive(Debug, Clone, Default)]
pub struct SocketNames(pub Vec<String>);

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Https,
    Http,
    Admin,
}

impl SocketNames {
    /// From the variable; an empty one names nothing.
    #[must_use]
    pub fn parse(variable: &str) -> Self {
        Self(variable.split(':').filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// Where there are no names at all, all are for HTTPS.
    fn purpose(&self, index: usize) -> Result<Purpose, ServeFault> {
        match self.0.get(index).map(String::as_str) {
            Some("https") => Ok(Purpose::Https),
            Some("http") => Ok(Purpose::Http),
            Some("admin") => Ok(Purpose::Admin),
            None if self.0.is_empty() => Ok(Purpose::Https),
            Some(_) | None => Err(ServeFault::UnknownName),
        }
    }
}

/// Takes the sockets that systemd opened, or binds every listener of the configuration.
///
/// # Errors
/// [`ServeFault`]
pub fn bind(config: &Config, names: &SocketNames) -> Result<Sockets, ServeFault> {
    if let Some(mut bound) = inherited(names)? {
        bound.admin = match (config.admin.listen, bound.admin) {
            (None, _) => None, // "off"
            (Some(_), Some(passed)) => Some(passed),
            // The process before this one may still hold the address, until it has drained.
            (Some(address), None) => Some(bind_one("admin.listen", address, Sharing::Successor)?),
        };
        let metrics = config.admin.metrics;
        bound.metrics = metrics.map(|at| bind_one("admin.metrics", at, Sharing::Successor)).transpose()?;
        return Ok(bound);
    }
    let all = |key, addresses: &[SocketAddr]| -> Result<Vec<_>, _> {
        addresses.iter().map(|address| bind_one(key, *address, Sharing::Alone)).collect()
    };
    let admin = config.admin.listen.map(|address| bind_one("admin.listen", address, Sharing::Alone)).transpose()?;
    Ok(Sockets {
        https: all("server.https", &config.server.https)?,
        http: all("server.http", &config.server.http)?,
        admin,
        metrics: config.admin.metrics.map(|at| bind_one("admin.metrics", at, Sharing::Alone)).transpose()?,
        origin: Origin::Own,
    })
}

fn inherited(names: &SocketNames) -> Result<Option<Sockets>, ServeFault> {
    let mut sockets = listenfd::ListenFd::from_env();
    if sockets.len() == 0 {
        return Ok(None);
    }
    let (https, http) = (Vec::new(), Vec::new());
    let mut bound = Sockets { https, http, admin: None, metrics: None, origin: Origin::Inherited };
    for index in 0..sockets.len() {
        let purpose = names.purpose(index)?;
        let Some(socket) = sockets.take_tcp_listener(index)? else { continue };
        match purpose {
            Purpose::Https => bound.https.push(socket),
            Purpose::Http => bound.http.push(socket),
            Purpose::Admin => bound.admin = Some(on_this_machine(socket)?),
        }
    }
    if bound.https.is_empty() { Err(ServeFault::NoHttps) } else { Ok(Some(bound)) }
}

fn on_this_machine(admin: TcpListener) -> Result<TcpListener, ServeFault> {
    let address = admin.local_addr()?;
    if address.ip().is_loopback() { Ok(admin) } else { Err(ServeFault::AdminReachable(address)) }
}

/// Whether another process may listen on the same address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    /// One of the same user, before or after this one.
    Successor,
}

fn bind_one(key: &'static str, address: SocketAddr, sharing: Sharing) -> Result<TcpListener, ServeFault> {
    listen(address, sharing).map_err(|error| ServeFault::Bind { key, address, error })
}

fn listen(address: SocketAddr, sharing: Sharing) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `0.0.0.0:443` and `[::]:443` are two listeners, as the configuration says.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Successor)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_what_a_socket_is_for() {
        let names = SocketNames::parse("https:admin:http:unknown");
        let purposes: Vec<_> = (0..3).map(|index| names.purpose(index).unwrap()).collect();
        assert_eq!(purposes, [Purpose::Https, Purpose::Admin, Purpose::Http]);
        assert!(matches!(names.purpose(3), Err(ServeFault::UnknownName)));
        assert!(matches!(names.purpose(4), Err(ServeFault::UnknownName)), "fewer names than sockets");
        assert_eq!(SocketNames::parse("").purpose(1).unwrap(), Purpose::Https);
    }

    #[test]
    fn an_admin_socket_that_others_reach_is_refused() {
        let listener = |address: &str| listen(address.parse().unwrap(), Sharing::Alone).unwrap();
        assert!(on_this_machine(listener("127.0.0.1:0")).is_ok());
        assert!(matches!(on_this_machine(listener("0.0.0.0:0")), Err(ServeFault::AdminReachable(_))));
    }

    #[test]
    fn only_a_successor_shares_an_address() {
        let first = listen("127.0.0.1:0".parse().unwrap(), Sharing::Successor).unwrap();
        let address = first.local_addr().unwrap();
        assert!(listen(address, Sharing::Successor).is_ok());
        assert!(listen(address, Sharing::Alone).is_err());
    }
}
