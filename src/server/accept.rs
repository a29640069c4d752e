//! Taking connections, at most so many, all in all and of one address.

use crate::gateway::Gateway;
use crate::limits::{AddressPrefix, ConnectionSlot, Full};
use crate::pipeline::inspect::is_within;
use crate::telemetry::event::{About, SecurityEvent};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// After an error that waiting may mend, such as no file descriptor left.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Accepts until the token is cancelled, and hands each connection on, to a task of its own, so that a mute one holds up
/// nobody.
pub(super) async fn accept(listener: TcpListener, stop: CancellationToken, each: impl Fn(TcpStream, SocketAddr)) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => each(socket, peer),
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                tracing::warn!(event = "accept_failed", error = %error);
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Errors that the peer caused before its connection was taken.
fn is_of_one_connection(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::ConnectionAborted | std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::Interrupted
    )
}

/// A place for a connection of this address; `None`: it is closed without a word.
pub(crate) fn slot(gateway: &Gateway, peer: SocketAddr) -> Option<ConnectionSlot> {
    let address = peer.ip().to_canonical();
    // All clients of a trusted proxy share its address: only the bound on all connections holds for it.
    let trusted = is_within(address, &gateway.policy().config.server.trusted_proxies);
    let slots = &gateway.connections;
    let slot = if trusted { slots.acquire_of_many() } else { slots.acquire(AddressPrefix::from(address)) };
    slot.inspect_err(|full| report(address, *full)).ok()
}

fn report(address: IpAddr, full: Full) {
    let reason = match full {
        Full::Total => "max_connections",
        Full::Address => "connections_per_address",
    };
    SecurityEvent::ConnectionRefused.report(&About { client: Some(address), reason: Some(reason), ..About::default() });
}
