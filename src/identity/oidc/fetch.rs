//! Discovery and the JWKS, fetched.
//!
//! Guarantees: https alone, with the machine's roots or the one that the configuration names; ten seconds for all of it;
//! no redirect is followed; an answer has 256 KiB at most; the document must name the issuer exactly as the
//! configuration does (OpenID Connect Discovery §4.3).

use super::jwks::KeySet;
use bytes::Bytes;
use http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const DEADLINE: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 256 * 1024;
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchFault {
    #[error("no answer within {} s", DEADLINE.as_secs())]
    Deadline,
    #[error("{0} is no https URL")]
    Url(String),
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    #[error("{0}")]
    Tls(#[from] rustls::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
    #[error("{0} answered more than {MAX_ANSWER} bytes")]
    TooLarge(String),
    #[error("{0} is not what it should be")]
    Document(String),
}

/// Fetches from one issuer.
pub(super) struct Fetcher<'a> {
    root: Option<&'a Path>,
}

impl<'a> Fetcher<'a> {
    pub(super) const fn new(root: Option<&'a Path>) -> Self {
        Self { root }
    }

    /// The keys of an issuer.
    pub(super) async fn keys(&self, issuer: &str) -> Result<KeySet, FetchFault> {
        tokio::time::timeout(DEADLINE, self.discover(issuer)).await.map_err(|_| FetchFault::Deadline)?
    }

    async fn discover(&self, issuer: &str) -> Result<KeySet, FetchFault> {
        let url = format!("{}{DISCOVERY}", issuer.trim_end_matches('/'));
        let document = self.get(&url).await?;
        let text = |name: &str| document.get(name).and_then(Value::as_str);
        let named = text("issuer").filter(|named| *named == issuer);
        let (Some(_), Some(keys)) = (named, text("jwks_uri")) else { return Err(FetchFault::Document(url)) };
        KeySet::parse(&self.get(keys).await?).ok_or_else(|| FetchFault::Document(keys.to_owned()))
    }

    async fn get(&self, url: &str) -> Result<Value, FetchFault> {
        let (host, port, request) = request(url).ok_or_else(|| FetchFault::Url(url.to_owned()))?;
        let socket = TcpStream::connect((host.as_str(), port)).await?;
        let name = ServerName::try_from(host).map_err(|_| FetchFault::Url(url.to_owned()))?;
        let stream = self.connector()?.connect(name, socket).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends when the sender and the answer are dropped.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await?;
        if answer.status() != http::StatusCode::OK {
            return Err(FetchFault::Status { url: url.to_owned(), status: answer.status().as_u16() });
        }
        let (mut body, mut bytes) = (answer.into_body(), Vec::new());
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if bytes.len().saturating_add(data.len()) > MAX_ANSWER {
                return Err(FetchFault::TooLarge(url.to_owned()));
            }
            bytes.extend_from_slice(&data);
        }
        serde_json::from_slice(&bytes).map_err(|_| FetchFault::Document(url.to_owned()))
    }

    fn connector(&self) -> Result<TlsConnector, FetchFault> {
        let mut roots = RootCertStore::empty();
        match self.root {
            Some(path) => {
                let pem = std::fs::read(path)?;
                for certificate in CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok) {
                    roots.add(certificate)?;
                }
            }
            None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

fn request(url: &str) -> Option<(String, u16, Request<Empty<Bytes>>)> {
    let uri: Uri = url.parse().ok()?;
    if uri.scheme_str() != Some("https") {
        return None;
    }
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri.path_and_query()?.as_str().parse().ok()?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(uri.authority()?.as_str()).ok()?);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("ollama-gateway"));
    Some((host, uri.port_u16().unwrap_or(443), request))
}
