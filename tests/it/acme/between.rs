//! A stand-in between the gateway and Pebble: it counts what is asked, can fail in the ways a CA fails, and adds what
//! this Pebble lacks, renewal information (RFC 9773).

use super::pebble::{Pebble, free_ports};
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// How the CA behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Well.
    Well,
    /// It cuts each connection.
    Down,
    /// It takes a request and says nothing.
    Hanging,
    /// It answers with more than anybody would read.
    Endless,
    /// It answers with this status: 429 with `Retry-After: 2`, others with a page of HTML.
    Status(u16),
}

struct State {
    mode: Mode,
    window: Option<Range<SystemTime>>,
    seen: Vec<(Instant, String)>,
    orders: Vec<serde_json::Value>,
}

pub(crate) struct Between {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
    _task: JoinSet<()>,
}

impl Between {
    pub(crate) async fn start(pebble: &Pebble) -> Self {
        let [address] = free_ports();
        let state = State { mode: Mode::Well, window: None, seen: Vec::new(), orders: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let listener = TcpListener::bind(address).await.unwrap();
        let link =
            Link { pebble: pebble.address, root: std::fs::read(pebble.root()).unwrap(), state: Arc::clone(&state) };
        let mut task = JoinSet::new();
        task.spawn(accept(listener, acceptor(pebble), Arc::new(link)));
        Self { address, state, _task: task }
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    pub(crate) fn behave(&self, mode: Mode) {
        self.state.lock().unwrap().mode = mode;
    }

    /// When the CA wants certificates renewed, from now on.
    pub(crate) fn suggest(&self, window: Range<SystemTime>) {
        self.state.lock().unwrap().window = Some(window);
    }

    /// When each request came whose path begins so; an empty path: each connection's first.
    pub(crate) fn seen(&self, path: &str) -> Vec<Instant> {
        let state = self.state.lock().unwrap();
        state.seen.iter().filter(|(_, seen)| seen.starts_with(path)).map(|(at, _)| *at).collect()
    }

    /// The orders that were taken.
    pub(crate) fn orders(&self) -> Vec<serde_json::Value> {
        self.state.lock().unwrap().orders.clone()
    }
}

fn acceptor(pebble: &Pebble) -> TlsAcceptor {
    let chain = CertificateDer::pem_file_iter(pebble.file("chain.pem")).unwrap().map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(pebble.file("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    TlsAcceptor::from(Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap()))
}

struct Link {
    pebble: SocketAddr,
    root: Vec<u8>,
    state: Arc<Mutex<State>>,
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, link: Arc<Link>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        if link.state.lock().unwrap().mode == Mode::Down {
            link.see("down");
            continue;
        }
        let (acceptor, link) = (acceptor.clone(), Arc::clone(&link));
        connections.spawn(async move {
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let service = hyper::service::service_fn(|request| link.answer(request));
            drop(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

impl Link {
    fn see(&self, path: &str) {
        self.state.lock().unwrap().seen.push((Instant::now(), path.to_owned()));
    }

    async fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, std::io::Error> {
        let path = request.uri().path().to_owned();
        self.see(&path);
        let (mode, window) = {
            let state = self.state.lock().unwrap();
            (state.mode, state.window.clone())
        };
        match mode {
            Mode::Well => {}
            Mode::Down => return Err(std::io::Error::other("down")),
            Mode::Hanging => std::future::pending().await,
            Mode::Endless => return Ok(Response::new(vec![b' '; 1024 * 1024].into())),
            Mode::Status(code) => return Ok(failure(code)),
        }
        if path.starts_with("/renewal-info/") {
            return Ok(suggestion(window.expect("a window")));
        }
        Ok(self.forward(request, &path, window.is_some()).await)
    }

    async fn forward(&self, request: Request<Incoming>, path: &str, informs: bool) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        let host = parts.headers[header::HOST].to_str().unwrap().to_owned();
        let sent = body.collect().await.unwrap().to_bytes();
        let order = payload(&sent).filter(|_| path == "/order-plz");
        let (mut parts, mut body) = self.ask(Request::from_parts(parts, Full::new(sent))).await.into_parts();
        if path == "/dir" && informs {
            let url = format!("https://{host}/renewal-info").into();
            body = with(&body, "renewalInfo", url);
        }
        if let Some(order) = order.filter(|_| parts.status == StatusCode::CREATED) {
            if order["replaces"].is_string() {
                body = with(&body, "replaces", order["replaces"].clone());
            }
            self.state.lock().unwrap().orders.push(order);
        }
        parts.headers.remove(header::CONTENT_LENGTH);
        Response::from_parts(parts, Full::new(body))
    }

    async fn ask(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let stream = TcpStream::connect(self.pebble).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let stream = super::tls::connector(&self.root).connect(name, stream).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        Response::from_parts(parts, body.collect().await.unwrap().to_bytes())
    }
}

fn failure(code: u16) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(code);
    if code != 429 {
        return answer.header("content-type", "text/html").body("<h1>Oops</h1>".into()).unwrap();
    }
    let problem = r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many new orders","status":429}"#;
    let answer = answer.header("retry-after", "2").header("content-type", "application/problem+json");
    answer.body(problem.into()).unwrap()
}

fn suggestion(window: Range<SystemTime>) -> Response<Full<Bytes>> {
    let [start, end] = [window.start, window.end].map(|at| humantime::format_rfc3339_millis(at).to_string());
    let body = serde_json::json!({"suggestedWindow": {"start": start, "end": end}}).to_string();
    Response::builder().header("retry-after", "0").body(body.into()).unwrap()
}

fn with(body: &[u8], key: &str, value: serde_json::Value) -> Bytes {
    let mut object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).unwrap();
    object.insert(key.to_owned(), value);
    serde_json::to_vec(&object).unwrap().into()
}

/// What a signed request says.
fn payload(signed: &[u8]) -> Option<serde_json::Value> {
    let envelope: serde_json::Value = serde_json::from_slice(signed).ok()?;
    let payload = BASE64_URL_SAFE_NO_PAD.decode(envelope["payload"].as_str()?).ok()?;
    serde_json::from_slice(&payload).ok()
}

/// So long ago, or so far ahead, as a window.
pub(crate) fn around(now: SystemTime, from: i64, to: i64) -> Range<SystemTime> {
    let at = |seconds: i64| {
        let by = Duration::from_secs(seconds.unsigned_abs());
        if seconds < 0 { now - by } else { now + by }
    };
    at(from)..at(to)
}
