//! Spans on their way to the collector: gathered, sent, and given up where it does not take them.
//!
//! Guarantees: over TLS, a collector is who its certificate says, by the machine's roots or by `traces.root` alone; one
//! request at a time, of 512 spans at most, ten seconds at most; no redirect is followed and no proxy of the environment
//! is asked; a collector that fails is told once, and every span that it did not get is counted.
//! Does not: send a span twice.

use super::NOT_TAKEN;
use super::otlp::{Export, KeyValue, Resource, ResourceSpans, Scope, ScopeSpans, Span};
use crate::certificates::outbound::connector;
use crate::config::types;
use crate::telemetry::metrics::metrics;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use prost::Message as _;
use rustls_pki_types::ServerName;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc::Receiver;
use tokio_rustls::TlsConnector;

const BATCH: usize = 512;
const GATHER: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(10);

/// Why a batch was not taken.
#[derive(Debug, thiserror::Error)]
enum ExportFault {
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Deadline,
    #[error("traces.otlp is no URL")]
    Url,
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("traces.root {path}: {error}", path = path.display())]
    Root { path: PathBuf, error: std::io::Error },
    #[error("it answered {0}")]
    Status(StatusCode),
}

/// Sends for ever.
pub(super) async fn export(mut spans: Receiver<Span>, config: impl Fn() -> Option<types::Traces> + Send) {
    // The roots are read once; and again after a failure, which may be for want of them.
    let (mut failing, mut trust) = (false, None);
    loop {
        let mut batch = Vec::new();
        if spans.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        let gathered = async { while batch.len() < BATCH && spans.recv_many(&mut batch, BATCH).await > 0 {} };
        drop(tokio::time::timeout(GATHER, gathered).await);
        // Switched off meanwhile: nobody wants them.
        let Some(config) = config() else { continue };
        let count = batch.len() as u64;
        let sent = tokio::time::timeout(DEADLINE, send(&config, &mut trust, batch))
            .await
            .unwrap_or(Err(ExportFault::Deadline));
        match sent {
            Ok(()) => failing = false,
            Err(error) => {
                metrics().spans_lost.add([NOT_TAKEN], count);
                if !failing {
                    tracing::warn!(event = "traces_not_taken", %error, "the collector does not take the spans");
                }
                (failing, trust) = (true, None);
            }
        }
    }
}

async fn send(config: &types::Traces, trust: &mut Option<Trust>, spans: Vec<Span>) -> Result<(), ExportFault> {
    let uri: Uri = config.otlp.parse().map_err(|_| ExportFault::Url)?;
    let host = uri.host().ok_or(ExportFault::Url)?.trim_matches(['[', ']']).to_owned();
    let tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
    let request = request(config, &uri, message(spans)).ok_or(ExportFault::Url)?;
    let socket = TcpStream::connect((host.as_str(), port)).await?;
    if tls {
        let name = ServerName::try_from(host).map_err(|_| ExportFault::Url)?;
        let trust = match trust.take().filter(|trust| trust.root == config.root) {
            Some(kept) => trust.insert(kept),
            None => trust.insert(Trust::of(config.root.clone())?),
        };
        exchange(trust.connector.connect(name, socket).await?, request).await
    } else {
        exchange(socket, request).await
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(), ExportFault> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends when the sender and the answer are dropped; what the answer says besides its status is not read.
    tokio::spawn(connection);
    let answer = sender.send_request(request).await?;
    if answer.status().is_success() { Ok(()) } else { Err(ExportFault::Status(answer.status())) }
}

fn request(config: &types::Traces, uri: &Uri, body: Vec<u8>) -> Option<Request<Full<Bytes>>> {
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = uri.path_and_query()?.as_str().parse().ok()?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(uri.authority()?.as_str()).ok()?);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("ollama-gateway"));
    if let Some(secret) = &config.authorization {
        let mut value = HeaderValue::from_str(secret.expose()).ok()?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Some(request)
}

fn message(spans: Vec<Span>) -> Vec<u8> {
    let (name, version) = ("ollama-gateway", env!("CARGO_PKG_VERSION"));
    let resource =
        Resource { attributes: vec![KeyValue::text("service.name", name), KeyValue::text("service.version", version)] };
    let scope = Scope { name: name.to_owned(), version: version.to_owned() };
    let scopes = vec![ScopeSpans { scope: Some(scope), spans }];
    Export { resources: vec![ResourceSpans { resource: Some(resource), scopes }] }.encode_to_vec()
}

/// Whom to trust, as it was read.
struct Trust {
    root: Option<PathBuf>,
    connector: TlsConnector,
}

impl Trust {
    fn of(root: Option<PathBuf>) -> Result<Self, ExportFault> {
        let connector = connector(root.as_deref()).map_err(|error| match &root {
            Some(path) => ExportFault::Root { path: path.clone(), error },
            None => ExportFault::Connection(error),
        })?;
        Ok(Self { root, connector })
    }
}
