//! The clients: TLS 1.3 with X25519 and no resumption, HTTP/1.1 or HTTP/2, kept connections.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, SizeHint};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::client::Resumption;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, crypto};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The HTTP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    One,
    Two,
}

/// One request, to be sent many times.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) path: &'static str,
    pub(crate) body: Bytes,
    pub(crate) frames: Frames,
    pub(crate) key: String,
}

/// How large the frames of a body are, by HTTP/2.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Frames {
    /// As the other side allows, as Go sends them.
    Allowed,
    /// Of 16 KiB, which all must allow (RFC 9113 §4.2): curl and browsers send no larger ones.
    Small,
}

/// A body, and how much of it a frame takes.
pub(crate) struct Sent {
    rest: Bytes,
    frame: usize,
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.frame.min(self.rest.len());
        Poll::Ready((length > 0).then(|| Ok(Frame::data(self.rest.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

impl Ask {
    fn request(&self, version: Version) -> Request<Sent> {
        let target = match version {
            Version::One => self.path.to_owned(),
            Version::Two => format!("https://localhost{}", self.path),
        };
        let mut request = Request::builder().method(Method::POST).uri(target);
        if version == Version::One {
            request = request.header("host", "localhost");
        }
        request = request.header("authorization", format!("Bearer {}", self.key));
        request = request.header("content-type", "application/json").header("user-agent", "compare");
        let frame = match self.frames {
            Frames::Allowed => self.body.len(),
            Frames::Small => 16 * 1024,
        };
        request.body(Sent { rest: self.body.clone(), frame }).unwrap()
    }
}

/// What came back.
pub(crate) struct Told {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
    pub(crate) first_byte: Duration,
}

enum Sender {
    One(http1::SendRequest<Sent>),
    Two(http2::SendRequest<Sent>),
}

/// One connection.
pub(crate) struct Line(Sender);

/// The load's own end of a connection sends what it has at once, whatever the system is set to: one that paces itself, as
/// BBR does, would hand the proxies everything in small pieces. The proxies' ends stay as the system and they make them.
pub(crate) fn unpaced() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_nodelay(true).unwrap();
    // Before it is connected: what BBR has begun to pace stays paced.
    socket2::SockRef::from(&socket).set_tcp_congestion(b"reno").unwrap();
    socket
}

/// How connections are made.
#[derive(Clone)]
pub(crate) struct Dialer {
    config: Arc<ClientConfig>,
}

impl Dialer {
    pub(crate) fn new(root: CertificateDer<'static>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(root).unwrap();
        let mut provider = crypto::aws_lc_rs::default_provider();
        provider.kx_groups = vec![crypto::aws_lc_rs::kx_group::X25519];
        let config = ClientConfig::builder_with_provider(Arc::new(provider));
        let config = config.with_protocol_versions(&[&rustls::version::TLS13]).unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.resumption = Resumption::disabled();
        Self { config: Arc::new(config) }
    }

    /// A TLS connection and no more.
    pub(crate) async fn tls(&self, to: SocketAddr, version: Version) -> TlsStream<TcpStream> {
        let mut config = (*self.config).clone();
        config.alpn_protocols = vec![match version {
            Version::One => b"http/1.1".to_vec(),
            Version::Two => b"h2".to_vec(),
        }];
        let socket = unpaced().connect(to).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, socket).await.unwrap()
    }

    pub(crate) async fn open(&self, to: SocketAddr, version: Version) -> Line {
        let io = TokioIo::new(self.tls(to, version).await);
        Line(match version {
            Version::One => Sender::One(spawn_one(io).await),
            Version::Two => {
                let (sender, driver) = http2::Builder::new(TokioExecutor::new())
                    .timer(TokioTimer::new())
                    .initial_stream_window_size(1 << 20)
                    .initial_connection_window_size(8 << 20)
                    .handshake(io)
                    .await
                    .unwrap();
                tokio::spawn(driver);
                Sender::Two(sender)
            }
        })
    }

    /// Without TLS, to the upstream itself.
    pub(crate) async fn plain(to: SocketAddr) -> Line {
        let socket = unpaced().connect(to).await.unwrap();
        Line(Sender::One(spawn_one(TokioIo::new(socket)).await))
    }
}

async fn spawn_one<T>(io: TokioIo<T>) -> http1::SendRequest<Sent>
where
    T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let (sender, driver) = http1::handshake(io).await.unwrap();
    tokio::spawn(driver);
    sender
}

impl Line {
    /// Sends one and reads the answer to its end.
    pub(crate) async fn ask(&mut self, ask: &Ask) -> Told {
        let start = Instant::now();
        let answer = match &mut self.0 {
            Sender::One(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(ask.request(Version::One)).await.unwrap()
            }
            Sender::Two(sender) => {
                sender.ready().await.unwrap();
                sender.send_request(ask.request(Version::Two)).await.unwrap()
            }
        };
        let (head, mut body) = answer.into_parts();
        let (mut text, mut first_byte) = (Vec::new(), None);
        while let Some(frame) = body.frame().await {
            first_byte.get_or_insert_with(|| start.elapsed());
            if let Ok(data) = frame.unwrap().into_data() {
                text.extend_from_slice(&data);
            }
        }
        let first_byte = first_byte.unwrap_or_else(|| start.elapsed());
        Told { status: head.status, headers: head.headers, body: text, first_byte }
    }

    /// Another user of the same HTTP/2 connection.
    fn shared(&self) -> Option<Self> {
        match &self.0 {
            Sender::One(_) => None,
            Sender::Two(sender) => Some(Self(Sender::Two(sender.clone()))),
        }
    }
}

/// So many users, each on a connection (HTTP/2: eight on one); nothing is sent yet.
pub(crate) async fn users(dialer: &Dialer, to: SocketAddr, version: Version, count: usize) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    while lines.len() < count {
        let line = dialer.open(to, version).await;
        let others: Vec<Line> = (1..8).map_while(|_| line.shared()).collect();
        lines.push(line);
        lines.extend(others);
    }
    lines.truncate(count);
    lines
}

/// All of them at once, until so many requests have been answered.
pub(crate) async fn run(lines: Vec<Line>, ask: &Ask, requests: usize, expect: StatusCode) {
    let left = Arc::new(AtomicUsize::new(0));
    let tasks = lines.into_iter().map(|mut line| {
        let (left, ask) = (Arc::clone(&left), ask.clone());
        tokio::spawn(async move {
            while left.fetch_add(1, Ordering::Relaxed) < requests {
                let told = line.ask(&ask).await;
                assert_eq!(told.status, expect, "{}", String::from_utf8_lossy(&told.body));
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

/// A fixed rate, whatever the answers do; each time counts from when the request was due.
pub(crate) async fn open_loop(lines: Vec<Line>, ask: &Ask, rate: u32, seconds: u32) -> Vec<f64> {
    let (start, total) = (Instant::now() + Duration::from_millis(20), rate * seconds);
    let next = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let tasks = lines.into_iter().map(|mut line| {
        let (next, ask) = (Arc::clone(&next), ask.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    return times;
                }
                let due = start + Duration::from_secs(1) * number / rate;
                tokio::time::sleep_until(due.into()).await;
                line.ask(&ask).await;
                times.push(due.elapsed().as_secs_f64() * 1e6);
            }
        })
    });
    let mut all = Vec::new();
    for task in tasks.collect::<Vec<_>>() {
        all.extend(task.await.unwrap());
    }
    all
}
