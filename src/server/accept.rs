//! Taking connections, at most so many, all in all and of one address.

use crate::limits::{AddressPrefix, ConnectionSlot, ConnectionSlots};
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// After an error that waiting may mend, such as no file descriptor left.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Accepts until the token is cancelled; each connection runs in a task of its own, so that a mute one holds up nobody.
pub(super) async fn accept<F, C>(listener: TcpListener, tracker: TaskTracker, stop: CancellationToken, each: F)
where
    F: Fn(TcpStream, SocketAddr) -> C,
    C: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((socket, peer)) => {
                tracker.spawn(each(socket, peer));
            }
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
pub(super) fn slot(slots: &ConnectionSlots, peer: SocketAddr) -> Option<ConnectionSlot> {
    slots.acquire(AddressPrefix::from(peer.ip())).ok()
}
