//! A small server whose certificates are the ones under test: TLS on one port, HTTP-01 on another.

use ollama_gateway::certificates::{Certificates, Schedule, Wanted};
use ollama_gateway::telemetry::clock;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Waits that a test can sit through.
pub(crate) fn quick() -> Schedule {
    Schedule {
        request: Duration::from_millis(1500),
        verdict: Duration::from_secs(15),
        hook: Duration::from_secs(10),
        soon: Duration::from_millis(300),
        late: Duration::from_millis(300),
        longest: Duration::from_millis(1200),
        ask: Duration::from_millis(100)..Duration::from_secs(1),
        look: Duration::from_millis(20),
    }
}

/// Runs until dropped.
pub(crate) struct Front {
    pub(crate) certificates: Arc<Certificates>,
    asked: Arc<Mutex<Vec<String>>>,
    tasks: JoinSet<()>,
}

impl Front {
    /// Serves and renews. `http`: whether HTTP-01 is answered.
    pub(crate) async fn start(wanted: Wanted, schedule: Schedule, tls: SocketAddr, http: Option<SocketAddr>) -> Self {
        let certificates = Certificates::open_wanted(wanted.clone(), clock::now, schedule).unwrap();
        let acceptor = TlsAcceptor::from(certificates.server_config(&wanted.tls).unwrap());
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_tls(TcpListener::bind(tls).await.unwrap(), acceptor));
        let asked = Arc::default();
        if let Some(address) = http {
            let listener = TcpListener::bind(address).await.unwrap();
            tasks.spawn(serve_http(listener, Arc::clone(&certificates), Arc::clone(&asked)));
        }
        tasks.spawn(Arc::clone(&certificates).watch());
        Self { certificates, asked, tasks }
    }

    /// The tokens that were asked for.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// Afterwards its ports and its lock are free.
    pub(crate) async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn serve_tls(listener: TcpListener, acceptor: TlsAcceptor) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let acceptor = acceptor.clone();
        connections.spawn(async move {
            if let Ok(stream) = acceptor.accept(stream).await {
                drop(greet(stream).await);
            }
        });
    }
}

async fn greet(stream: TlsStream<TcpStream>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && stream.read_line(&mut head).await? > 0 {}
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello").await?;
    stream.shutdown().await
}

async fn serve_http(listener: TcpListener, certificates: Arc<Certificates>, asked: Arc<Mutex<Vec<String>>>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        drop(answer(stream, &certificates, &asked).await);
    }
}

async fn answer(stream: TcpStream, certificates: &Certificates, asked: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        stream.read_line(&mut head).await?;
    }
    let path = head.split(' ').nth(1).unwrap_or_default();
    let token = path.strip_prefix("/.well-known/acme-challenge/").unwrap_or_default();
    asked.lock().unwrap().push(token.to_owned());
    let body = certificates.http01(token);
    let (status, body) = body.map_or(("404 Not Found", String::new()), |body| ("200 OK", body));
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(text.as_bytes()).await
}

/// What is in the state folder under `acme/CA/`.
pub(crate) fn stored(state: &Path, name: &str) -> Option<std::path::PathBuf> {
    let folders = std::fs::read_dir(state.join("acme")).ok()?;
    folders.flatten().map(|folder| folder.path().join(name)).find(|path| path.exists())
}
