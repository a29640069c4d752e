//! Binding, serving, reloading, stopping.

use super::admin::{self, Pages};
use super::{accept, connection, redirect};
use crate::config::types::Config;
use crate::console::Console;
use crate::gateway::Gateway;
use crate::telemetry::clock;
use crate::telemetry::event::{About, SecurityEvent};
use crate::telemetry::metrics::metrics;
use sd_notify::NotifyState;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often counters that nobody uses are thrown away.
const SWEEP: Duration = Duration::from_secs(30);
/// Connections that the kernel holds until they are accepted.
const BACKLOG: u32 = 1024;

/// The sockets, bound.
#[derive(Debug)]
pub struct Bound {
    /// HTTPS.
    pub https: Vec<TcpListener>,
    /// Plain HTTP.
    pub http: Vec<TcpListener>,
    /// The admin listener.
    pub admin: Option<TcpListener>,
    /// Health, readiness and metrics for others.
    pub metrics: Option<TcpListener>,
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
    Inherited(std::io::Error),
}

/// Takes the sockets that systemd opened, or binds every listener of the configuration.
///
/// With socket activation a new process accepts where the old one stops: no connection is refused in between.
///
/// # Errors
/// [`ServeFault`]
pub fn bind(config: &Config, names: &SocketNames) -> Result<Bound, ServeFault> {
    let one = |key, address: Option<SocketAddr>| bind_all(key, address.as_slice()).map(|mut bound| bound.pop());
    let admin = one("admin.listen", config.admin.listen)?;
    let metrics = one("admin.metrics", config.admin.metrics)?;
    let (https, http) = match inherited(names)? {
        Some(inherited) => inherited,
        None => (bind_all("server.https", &config.server.https)?, bind_all("server.http", &config.server.http)?),
    };
    Ok(Bound { https, http, admin, metrics })
}

fn bind_all(key: &'static str, addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, ServeFault> {
    let bound =
        |address: &SocketAddr| listen(*address).map_err(|error| ServeFault::Bind { key, address: *address, error });
    addresses.iter().map(bound).collect()
}

/// `LISTEN_FDNAMES`: what systemd calls the sockets that it opened, `https` or `http` each.
#[derive(Debug, Clone, Default)]
pub struct SocketNames(pub Vec<String>);

type Listeners = (Vec<TcpListener>, Vec<TcpListener>);

fn inherited(names: &SocketNames) -> Result<Option<Listeners>, ServeFault> {
    let mut sockets = listenfd::ListenFd::from_env();
    if sockets.len() == 0 {
        return Ok(None);
    }
    let (mut https, mut http) = (Vec::new(), Vec::new());
    for index in 0..sockets.len() {
        let name = names.0.get(index).map_or("https", String::as_str);
        let Some(socket) = sockets.take_tcp_listener(index).map_err(ServeFault::Inherited)? else { continue };
        socket.set_nonblocking(true).map_err(ServeFault::Inherited)?;
        let listener = TcpListener::from_std(socket).map_err(ServeFault::Inherited)?;
        if name == "http" { http.push(listener) } else { https.push(listener) }
    }
    Ok(Some((https, http)))
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if address.is_ipv6() {
        // `0.0.0.0:443` and `[::]:443` are two listeners, as the configuration says.
        socket2::SockRef::from(&socket).set_only_v6(true)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Serves until `stop` is cancelled; then finishes what runs, for at most the drain time.
pub async fn serve(gateway: Arc<Gateway>, bound: Bound, console: Arc<Console>, stop: CancellationToken) {
    if let Some(Ok(address)) = bound.https.first().map(TcpListener::local_addr) {
        gateway.listens_on(address.port());
    }
    metrics().begin(clock::now());
    let tracker = TaskTracker::new();
    for listener in bound.https {
        announce("https", &listener);
        spawn_https(&gateway, listener, (&tracker, &stop));
    }
    for listener in bound.http {
        announce("http", &listener);
        spawn_http(&gateway, listener, (&tracker, &stop));
    }
    if let Some(listener) = bound.admin {
        announce("admin", &listener);
        spawn_admin(&gateway, listener, Pages::All(console));
    }
    if let Some(listener) = bound.metrics {
        announce("metrics", &listener);
        spawn_admin(&gateway, listener, Pages::Measured);
    }
    SecurityEvent::Ready.report(&About::default());
    tell_systemd(&[NotifyState::Ready]);
    let sweeper = tokio::spawn(sweep(Arc::clone(&gateway)));
    stop.cancelled().await;
    drain(&gateway, &tracker).await;
    sweeper.abort();
}

fn announce(scheme: &'static str, listener: &TcpListener) {
    let address = listener.local_addr().map_or_else(|_| String::new(), |address| address.to_string());
    tracing::info!(event = "listening", scheme, address);
}

fn spawn_https(gateway: &Arc<Gateway>, listener: TcpListener, (tracker, stop): (&TaskTracker, &CancellationToken)) {
    let (gateway, until) = (Arc::clone(gateway), stop.clone());
    let each = move |socket, peer| {
        metrics().connections.increment(["https"]);
        let (gateway, stop) = (Arc::clone(&gateway), until.clone());
        let slot = accept::slot(&gateway, peer);
        async move {
            if let Some(_slot) = slot {
                connection::serve(gateway, socket, peer, stop).await;
            }
        }
    };
    tokio::spawn(accept::accept(listener, tracker.clone(), stop.clone(), each));
}

fn spawn_http(gateway: &Arc<Gateway>, listener: TcpListener, (tracker, stop): (&TaskTracker, &CancellationToken)) {
    let (gateway, until) = (Arc::clone(gateway), stop.clone());
    let each = move |socket, peer| {
        metrics().connections.increment(["http"]);
        let (gateway, stop) = (Arc::clone(&gateway), until.clone());
        let slot = accept::slot(&gateway, peer);
        async move {
            if let Some(_slot) = slot {
                redirect::serve(gateway, socket, peer, stop).await;
            }
        }
    };
    tokio::spawn(accept::accept(listener, tracker.clone(), stop.clone(), each));
}

/// The admin listener goes on while the others drain, so that `/ready` says so.
fn spawn_admin(gateway: &Arc<Gateway>, listener: TcpListener, pages: Pages) {
    let gateway = Arc::clone(gateway);
    let each = move |socket, _| admin::serve(Arc::clone(&gateway), socket, pages.clone());
    let never = CancellationToken::new();
    tokio::spawn(accept::accept(listener, TaskTracker::new(), never, each));
}

async fn drain(gateway: &Gateway, tracker: &TaskTracker) {
    let within = gateway.policy().config.server.drain_timeout;
    SecurityEvent::Stopping.report(&About::default());
    tell_systemd(&[NotifyState::Stopping]);
    gateway.drain();
    tracker.close();
    if tokio::time::timeout(within, tracker.wait()).await.is_err() {
        tracing::warn!(event = "drain_deadline", connections = tracker.len());
    }
    SecurityEvent::Stopped.report(&About::default());
}

/// Tells systemd, where it listens.
pub fn tell_systemd(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(event = "notify_failed", error = %error);
    }
}

async fn sweep(gateway: Arc<Gateway>) {
    loop {
        tokio::time::sleep(SWEEP).await;
        gateway.limiters().sweep();
    }
}
