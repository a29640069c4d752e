//! Discovery, the JWKS and the token of a code, fetched.
//!
//! Guarantees: https alone, with the machine's roots or the one that the configuration names; ten seconds for all of it;
//! no redirect is followed; an answer has 256 KiB at most; the document must name the issuer exactly as the
//! configuration does (OpenID Connect Discovery §4.3).

use super::jwks::KeySet;
use super::sign_on::encoded;
use crate::certificates::outbound::connector;
use crate::config::secret::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;
use tokio::net::TcpStream;
use zeroize::Zeroizing;

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
    Http(#[from] hyper::Error),
    #[error("{url} answered {status}")]
    Status { url: String, status: u16 },
    #[error("{0} answered more than {MAX_ANSWER} bytes")]
    TooLarge(String),
    #[error("{0} is not what it should be")]
    Document(String),
}

impl FetchFault {
    /// Whether the issuer understood and said no.
    pub(super) const fn is_refusal(&self) -> bool {
        matches!(self, Self::Status { status: 400, .. })
    }
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

    /// What a client needs of an issuer.
    pub(super) async fn provider(&self, issuer: &str) -> Result<(Endpoints, KeySet), FetchFault> {
        let work = async {
            let document = self.document(issuer).await?;
            let endpoints = Endpoints::of(&document).ok_or_else(|| FetchFault::Document(issuer.to_owned()))?;
            Ok((endpoints, self.keys_of(issuer, &document).await?))
        };
        tokio::time::timeout(DEADLINE, work).await.map_err(|_| FetchFault::Deadline)?
    }

    /// A code against its ID token.
    pub(super) async fn token(
        &self,
        endpoints: &Endpoints,
        request: &TokenRequest<'_>,
        (id, secret): (&str, Option<&Secret>),
    ) -> Result<Zeroizing<String>, FetchFault> {
        let mut form = request.form();
        let authorization = match secret {
            // RFC 6749 §2.3.1
            Some(secret) => Some(basic(id, secret)),
            None => {
                form.push_str("&client_id=");
                form.push_str(&encoded(id));
                None
            }
        };
        let sent = Sent { body: Bytes::from(form.as_bytes().to_vec()), authorization };
        let work = self.exchange(&endpoints.token, Some(sent));
        let answer = tokio::time::timeout(DEADLINE, work).await.map_err(|_| FetchFault::Deadline)??;
        let token = answer.get("id_token").and_then(Value::as_str).map(|text| Zeroizing::new(text.to_owned()));
        token.ok_or_else(|| FetchFault::Document(endpoints.token.clone()))
    }

    async fn discover(&self, issuer: &str) -> Result<KeySet, FetchFault> {
        let document = self.document(issuer).await?;
        self.keys_of(issuer, &document).await
    }

    async fn keys_of(&self, issuer: &str, document: &Value) -> Result<KeySet, FetchFault> {
        let keys = document.get("jwks_uri").and_then(Value::as_str);
        let keys = keys.ok_or_else(|| FetchFault::Document(issuer.to_owned()))?;
        KeySet::parse(&self.exchange(keys, None).await?).ok_or_else(|| FetchFault::Document(keys.to_owned()))
    }

    async fn document(&self, issuer: &str) -> Result<Value, FetchFault> {
        let url = format!("{}{DISCOVERY}", issuer.trim_end_matches('/'));
        let document = self.exchange(&url, None).await?;
        let is_named = document.get("issuer").and_then(Value::as_str) == Some(issuer);
        if is_named { Ok(document) } else { Err(FetchFault::Document(url)) }
    }

    async fn exchange(&self, url: &str, sent: Option<Sent>) -> Result<Value, FetchFault> {
        let (host, port, request) = request(url, sent).ok_or_else(|| FetchFault::Url(url.to_owned()))?;
        let socket = TcpStream::connect((host.as_str(), port)).await?;
        let name = ServerName::try_from(host).map_err(|_| FetchFault::Url(url.to_owned()))?;
        let stream = connector(self.root)?.connect(name, socket).await?;
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
}

/// What a client needs to know of an issuer.
#[derive(Debug)]
pub(super) struct Endpoints {
    pub(super) authorization: String,
    token: String,
    /// Whether its answers name it (RFC 9207).
    pub(super) says_issuer: bool,
}

impl Endpoints {
    fn of(document: &Value) -> Option<Self> {
        let https = |name: &str| {
            document
                .get(name)?
                .as_str()
                .filter(|url| url.starts_with("https://") && !url.contains('#'))
                .map(str::to_owned)
        };
        let says_issuer = document.get("authorization_response_iss_parameter_supported") == Some(&Value::Bool(true));
        Some(Self { authorization: https("authorization_endpoint")?, token: https("token_endpoint")?, says_issuer })
    }
}

/// A code, and what proves that it was asked for here.
pub(super) struct TokenRequest<'a> {
    pub(super) code: &'a str,
    pub(super) redirect: &'a str,
    pub(super) verifier: &'a str,
}

impl TokenRequest<'_> {
    fn form(&self) -> Zeroizing<String> {
        let [code, redirect, verifier] = [self.code, self.redirect, self.verifier].map(encoded);
        let text = "grant_type=authorization_code";
        Zeroizing::new(format!("{text}&code={code}&redirect_uri={redirect}&code_verifier={verifier}"))
    }
}

/// A form that is sent.
struct Sent {
    body: Bytes,
    authorization: Option<HeaderValue>,
}

fn basic(id: &str, secret: &Secret) -> HeaderValue {
    let pair = Zeroizing::new(format!("{}:{}", encoded(id), encoded(secret.expose())));
    let text = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
    let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    value.set_sensitive(true);
    value
}

fn request(url: &str, sent: Option<Sent>) -> Option<(String, u16, Request<Full<Bytes>>)> {
    let uri: Uri = url.parse().ok()?;
    if uri.scheme_str() != Some("https") {
        return None;
    }
    let host = uri.host()?.trim_matches(['[', ']']).to_owned();
    let mut request = Request::new(Full::default());
    *request.uri_mut() = uri.path_and_query()?.as_str().parse().ok()?;
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(uri.authority()?.as_str()).ok()?);
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static("ollama-gateway"));
    if let Some(Sent { body, authorization }) = sent {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.extend(authorization.map(|value| (header::AUTHORIZATION, value)));
        *request.method_mut() = Method::POST;
        *request.body_mut() = Full::new(body);
    }
    Some((host, uri.port_u16().unwrap_or(443), request))
}
