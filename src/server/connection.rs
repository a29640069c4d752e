//! One HTTPS connection: PROXY header, TLS handshake, the protocol that ALPN chose, and its end.
//!
//! Guarantees: HTTP/2 by ALPN only, never in clear; each protocol with all its limits; an idle HTTP/2 connection is told
//! to go; a client that stops one stream's window is cut. Answers `threats.md` §4.2 (h2c), §4.3, §4.4.

use super::accounted::Accounted;
use super::timed::{Timed, Times, left};
use super::tls::{self, TlsStream};
use super::{http1, proxy_protocol};
use crate::certificates::{ACME_TLS_ALPN, ClientIdentity};
use crate::config::types::{ClientAddress, Server};
use crate::gateway::Gateway;
use crate::pipeline;
use crate::pipeline::activity::Activity;
use crate::pipeline::inspect::is_within;
use crate::pipeline::peer::{self, Peer, Protocol, Via};
use crate::telemetry::metrics::{HANDSHAKE_DONE, HANDSHAKE_FAILED, HANDSHAKE_SLOW, metrics};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// How often an HTTP/2 connection is looked at for idleness and stalls.
const TICK: Duration = Duration::from_millis(250);
/// How long an HTTP/2 client may take to go after it was told to.
const GOODBYE: Duration = Duration::from_secs(1);
/// How long the last bytes of its last answer may take.
const LAST_BYTES: Duration = Duration::from_secs(3);

/// Serves one connection to its end.
pub(super) async fn serve(
    gateway: Arc<Gateway>,
    mut socket: TcpStream,
    (remote, listener): (SocketAddr, SocketAddr),
    stop: CancellationToken,
) {
    let policy = gateway.policy();
    let server = &policy.config.server;
    let Some((address, via)) = Box::pin(client(&mut socket, remote, server)).await else { return };
    if socket.set_nodelay(true).is_err() {
        return;
    }
    let activity = Activity::new();
    let socket = Arc::new(socket);
    let timed = Timed::new(Arc::clone(&socket), times(server), Arc::clone(&activity));
    let handshake = Box::pin(tls::accept(gateway.tls(), listener, timed));
    let handshake = tokio::time::timeout(server.handshake_timeout, handshake).await;
    metrics().handshakes.increment([match &handshake {
        Ok(Ok(_)) => HANDSHAKE_DONE,
        Ok(Err(_)) => HANDSHAKE_FAILED,
        Err(_) => HANDSHAKE_SLOW,
    }]);
    let Ok(Ok(stream)) = handshake else {
        tracing::debug!(event = "handshake_failed", client = %address);
        return;
    };
    let protocol = match stream.alpn_protocol() {
        Some(b"h2") => Protocol::Http2,
        Some(ACME_TLS_ALPN) => return, // the handshake was the answer (RFC 8737 §3)
        Some(_) | None => Protocol::Http1,
    };
    let sni = stream.server_name().map(str::to_owned);
    let certificate = stream.peer_certificates().and_then(|shown| ClientIdentity::of(shown.first()?));
    let (activity, number) = (Arc::clone(&activity), peer::next_number());
    let peer = Arc::new(Peer { address, via, sni, certificate, signed_in: None, protocol, number, activity });
    drop(policy);
    // Boxed: an idle connection is as large as what it is now, not as the largest that it might be.
    match protocol {
        Protocol::Http1 => {
            let activity = Arc::clone(&peer.activity);
            tokio::select! {
                biased; // `left` looks at what the connection has begun
                () = Box::pin(http1::serve(gateway, peer, stream, stop)) => {}
                () = left(&socket, &activity) => {} // dropped with all that it holds
            }
        }
        Protocol::Http2 => Box::pin(http2(gateway, peer, stream, stop)).await,
    }
}

const fn times(server: &Server) -> Times {
    Times { head: server.head_timeout, idle: server.idle_timeout, write_stall: server.write_stall_timeout }
}

/// The client's address, from the socket or from what a trusted proxy says first.
pub(super) async fn client(socket: &mut TcpStream, remote: SocketAddr, server: &Server) -> Option<(IpAddr, Via)> {
    let address = proxy_protocol::canonical(remote);
    if !is_within(address, &server.trusted_proxies) {
        return Some((address, Via::Direct));
    }
    match server.client_address {
        ClientAddress::Socket => Some((address, Via::Direct)),
        ClientAddress::XForwardedFor => Some((address, Via::ForwardingProxy)),
        ClientAddress::ProxyProtocol => {
            let client = proxy_protocol::read(socket, server.handshake_timeout).await?;
            Some(match client {
                proxy_protocol::Client::At(client) => (client, Via::Direct),
                proxy_protocol::Client::TheProxy => (address, Via::Direct),
            })
        }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Accounted>, Infallible>> + Send>>;

/// The pipeline as hyper's service.
fn service(gateway: Arc<Gateway>, peer: Arc<Peer>) -> impl Fn(Request<Incoming>) -> Answering + Clone {
    move |request| {
        let (gateway, peer) = (Arc::clone(&gateway), Arc::clone(&peer));
        // Made where it stays, as `pipeline::heartbeat` does.
        let answering = Box::write(Box::new_uninit(), async move {
            let reply = pipeline::handle(gateway, peer, request.map(Into::into)).await;
            Ok(reply.into_http().map(Accounted::from))
        });
        Box::into_pin(answering)
    }
}

/// Speaks HTTP/1.1 over a stream that is open already, in this process: `check --probe` is such a client. The deadlines
/// of a socket and the limits on connections are not here: they come before.
pub(crate) async fn converse<S>(gateway: Arc<Gateway>, peer: Arc<Peer>, stream: S)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    http1::serve(gateway, peer, stream, CancellationToken::new()).await;
}

async fn http2(gateway: Arc<Gateway>, peer: Arc<Peer>, stream: TlsStream, stop: CancellationToken) {
    let activity = Arc::clone(&peer.activity);
    activity.multiplex();
    let policy = gateway.policy();
    let (times, stall) = (times(&policy.config.server), policy.config.server.write_stall_timeout);
    drop(policy);
    let connection = http2_builder().serve_connection(TokioIo::new(stream), service_fn(service(gateway, peer)));
    let mut connection = pin!(connection);
    tokio::select! {
        ended = &mut connection => return note_end(ended),
        () = stopped(&activity, &stop) => {}
        () = idle(&activity, times) => {}
        () = stalled_for(&activity, stall) => return, // dropped: the client does not read
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = &mut connection => note_end(ended),
        () = gone(&activity) => {}
        () = stalled_for(&activity, stall) => {}
    }
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(64)
        .max_header_list_size(16 * 1024)
        .max_local_error_reset_streams(64)
        .max_pending_accept_reset_streams(20)
        .max_send_buf_size(64 * 1024)
        .max_frame_size(64 * 1024) // an upload in quarters of the frames
        .initial_stream_window_size(1024 * 1024) // of which each half is asked for anew
        .initial_connection_window_size(4096 * 1024) // uploads that wait leave room for others
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// Until the stop; a client that was accepted just before it still gets its first request answered, since it cannot know
/// that this process is the one that goes. One that sends none is cut after the time of a head.
pub(super) async fn stopped(activity: &Activity, stop: &CancellationToken) {
    stop.cancelled().await;
    while activity.begun() == 0 {
        tokio::time::sleep(TICK).await;
    }
}

/// Until nothing has been in flight for the idle time; before the first request, for the time of a head.
async fn idle(activity: &Activity, times: Times) {
    let allowed = || if activity.begun() == 0 { times.head.min(times.idle) } else { times.idle };
    while activity.idle_for() < allowed() {
        tokio::time::sleep(TICK.min(allowed())).await;
    }
}

/// Until what runs is over, its last bytes are on their way, and the client has had its time to say goodbye.
async fn gone(activity: &Activity) {
    tokio::time::sleep(GOODBYE).await;
    // A client that only makes the connection answer its pings is not waited for.
    while activity.idle_for() < GOODBYE || (activity.unwritten_for() < GOODBYE && activity.idle_for() < LAST_BYTES) {
        tokio::time::sleep(TICK).await;
    }
}

async fn stalled_for(activity: &Activity, time: Duration) {
    while activity.stalled_for() < time {
        tokio::time::sleep(TICK).await;
    }
}

fn note_end(ended: Result<(), hyper::Error>) {
    if let Err(error) = ended {
        tracing::debug!(event = "connection_ended", error = %error);
    }
}
