//! Answers the CA while `cert renew` runs and no server does.
//!
//! Guarantees: nothing is served but challenges; a connection ends within seconds; their number is bounded.

use crate::certificates::Certificates;
use crate::certificates::acme::Ports;
use crate::certificates::acme::fault::AcmeFault;
use crate::config::types::Tls;
use std::io::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

const CONNECTIONS: usize = 64;
const DEADLINE: Duration = Duration::from_secs(10);
/// A validation's request has some 200 bytes.
const HEAD: usize = 4096;
const PATH: &str = "/.well-known/acme-challenge/";

/// Listeners that answer challenges, until dropped.
#[derive(Debug)]
pub(crate) struct Standalone {
    listening: JoinSet<()>,
}

impl Standalone {
    /// Listens on the addresses of the configuration.
    ///
    /// # Errors
    /// Where one of them cannot be listened on.
    pub(crate) async fn listen(
        certificates: &Arc<Certificates>,
        tls: &Tls,
        ports: Ports<'_>,
    ) -> Result<Self, AcmeFault> {
        let acceptor = TlsAcceptor::from(certificates.server_config(tls)?);
        let mut listening = JoinSet::new();
        for address in ports.https {
            let (listener, acceptor) = (bind(*address).await?, acceptor.clone());
            listening.spawn(accept(listener, move |stream| prove(acceptor.clone(), stream)));
        }
        for address in ports.http {
            let (listener, certificates) = (bind(*address).await?, Arc::clone(certificates));
            listening.spawn(accept(listener, move |stream| tell(Arc::clone(&certificates), stream)));
        }
        Ok(Self { listening })
    }

    /// Listens no more: afterwards the addresses are free.
    pub(crate) async fn close(mut self) {
        self.listening.shutdown().await;
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, AcmeFault> {
    TcpListener::bind(address).await.map_err(|reason| AcmeFault::Listen { address, reason })
}

async fn accept<F: Future<Output = Result<(), Error>> + Send + 'static>(
    listener: TcpListener,
    answer: impl Fn(TcpStream) -> F,
) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let answered = answer(stream);
        tokio::spawn(async move {
            // Who asked gets no answer, and the CA says so.
            drop(tokio::time::timeout(DEADLINE, answered).await);
            drop(slot);
        });
    }
}

/// RFC 8737: the handshake is the answer.
async fn prove(acceptor: TlsAcceptor, stream: TcpStream) -> Result<(), Error> {
    let mut stream = acceptor.accept(stream).await?;
    stream.shutdown().await
}

/// RFC 8555 §8.3: the body is the answer.
async fn tell(certificates: Arc<Certificates>, mut stream: TcpStream) -> Result<(), Error> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD {
        head.push(stream.read_u8().await?);
    }
    let answer = match token(&head).and_then(|token| certificates.http01(token)) {
        Some(body) => format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        ),
        None => "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned(),
    };
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn token(head: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(head).ok()?.lines().next()?;
    let (path, version) = line.strip_prefix("GET ")?.split_once(' ')?;
    if version.starts_with("HTTP/1.") { path.strip_prefix(PATH) } else { None }
}
