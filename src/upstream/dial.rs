//! Opening a connection to Ollama.
//!
//! Guarantees: what is written leaves at once; to an Ollama on the same machine nothing is paced. Does not: bound the time.

use std::io;
use std::net::SocketAddr;
use tokio::net::{TcpSocket, TcpStream, lookup_host};

/// Opens one, to the first address that answers.
///
/// # Errors
/// What the last of them said.
pub(super) async fn dial(address: &str) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::InvalidInput, "the name has no address");
    for to in lookup_host(address).await? {
        match connect(to).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failed = error, // also that this system has no addresses of that kind
        }
    }
    Err(failed)
}

/// On one machine there is no network to spare. A sender that paces itself (BBR, which many servers are set to) takes a
/// timer for each piece that it sends, and that is an eighth of an upload's cost. It must be chosen before the connection
/// is: what BBR has begun to pace stays paced. Where the system does not let it be chosen, nothing is lost but time.
async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_nodelay(true)?;
    if to.ip().to_canonical().is_loopback() {
        socket2::SockRef::from(&socket).set_tcp_congestion(b"reno").unwrap_or_default();
    }
    socket.connect(to).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn nothing_is_held_back_on_the_same_machine() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = dial(&listener.local_addr().unwrap().to_string()).await.unwrap();
        assert!(socket.nodelay().unwrap());
        let name = socket2::SockRef::from(&socket).tcp_congestion().unwrap();
        assert!(name.starts_with(b"reno"), "{}", String::from_utf8_lossy(&name));
    }

    #[tokio::test]
    async fn nobody_who_answers_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        assert_eq!(dial(&address.to_string()).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(dial("no port").await.is_err());
    }
}
