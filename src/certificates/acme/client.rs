//! HTTPS to the certificate authority.
//!
//! Guarantees: every exchange ends within a deadline, connecting and the whole body included (a CA that hangs would
//! otherwise stop renewal without a word); an answer is bounded; only HTTPS, only the roots that the configuration
//! names; redirects and proxies are not followed. Remembers what the CA said about waiting.

use crate::certificates::acme::fault::shown;
use crate::certificates::fault::CertificateFault;
use crate::certificates::{atomic_file, files, server_config};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient, Problem};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The largest answer taken; a chain has some 10 KiB.
const MAX_ANSWER: usize = 256 * 1024;

/// No answer, or none that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientFault {
    /// Neither answer nor end in time.
    #[error("no answer within {0:?}")]
    Deadline(Duration),
    /// The URL is not ours to call.
    #[error("not an https URL")]
    Url,
    /// The connection failed.
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    /// HTTP failed.
    #[error("{0}")]
    Http(#[from] hyper::Error),
    /// An error page instead of an ACME problem.
    #[error("status {0}")]
    Status(u16),
    /// More than anything ACME answers.
    #[error("the answer is too large")]
    TooLarge,
}

/// The client of one attempt.
#[derive(Clone)]
pub(crate) struct Client {
    tls: TlsConnector,
    deadline: Duration,
    clock: fn() -> SystemTime,
    advice: Arc<Mutex<Option<Duration>>>,
}

impl Client {
    /// With the CA's own root, or the machine's.
    pub(crate) fn new(
        root: Option<&Path>,
        deadline: Duration,
        clock: fn() -> SystemTime,
    ) -> Result<Self, CertificateFault> {
        let config = ClientConfig::builder_with_provider(server_config::provider())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(root)?)
            .with_no_client_auth();
        Ok(Self { tls: TlsConnector::from(Arc::new(config)), deadline, clock, advice: Arc::default() })
    }

    /// What the last failed answer said about waiting.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        *self.advice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<BytesResponse, Error> {
        let signed = request.method() == Method::POST;
        let (parts, body) = self.send(request).await?.into_parts();
        if parts.status.is_success() {
            return Ok(BytesResponse { parts, body: Box::new(whole(body).await?) });
        }
        *self.advice.lock().unwrap_or_else(PoisonError::into_inner) = wait(&parts.headers, (self.clock)());
        let status = ClientFault::Status(parts.status.as_u16());
        let body = if is_problem(&parts.headers) { whole(body).await? } else { return Err(status.into()) };
        match serde_json::from_slice::<Problem>(&body) {
            // The library looks at the status of what it signed, and only of that.
            Ok(_) if signed => Ok(BytesResponse { parts, body: Box::new(body) }),
            Ok(problem) => Err(problem.into()),
            Err(_) => Err(status.into()),
        }
    }

    async fn send(&self, mut request: Request<BodyWrapper<Bytes>>) -> Result<Response<Incoming>, ClientFault> {
        let (host, port) = target(request.uri()).ok_or(ClientFault::Url)?;
        let stream = TcpStream::connect((host.as_str(), port)).await?;
        let name = ServerName::try_from(host).map_err(|_| ClientFault::Url)?;
        let stream = self.tls.connect(name, stream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        to_origin_form(&mut request).ok_or(ClientFault::Url)?;
        // Ends when the sender and the answer are dropped.
        tokio::spawn(connection);
        Ok(sender.send_request(request).await?)
    }
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let exchanged = tokio::time::timeout(client.deadline, client.exchange(request)).await;
            exchanged.unwrap_or_else(|_| Err(ClientFault::Deadline(client.deadline).into()))
        })
    }
}

fn roots(root: Option<&Path>) -> Result<RootCertStore, CertificateFault> {
    let mut store = RootCertStore::empty();
    match root {
        Some(path) => {
            for certificate in files::certificates(path, &atomic_file::read(path)?)? {
                store.add(certificate)?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            for fault in &found.errors {
                tracing::warn!(event = "root_certificates_incomplete", reason = shown(&fault.to_string()));
            }
            store.add_parsable_certificates(found.certs);
        }
    }
    Ok(store)
}

fn target(uri: &Uri) -> Option<(String, u16)> {
    if uri.scheme_str() != Some("https") {
        return None;
    }
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), uri.port_u16().unwrap_or(443)))
}

fn to_origin_form(request: &mut Request<BodyWrapper<Bytes>>) -> Option<()> {
    let authority = HeaderValue::from_str(request.uri().authority()?.as_str()).ok()?;
    let path = request.uri().path_and_query()?.as_str().parse().ok()?;
    *request.uri_mut() = path;
    request.headers_mut().insert(HOST, authority);
    Some(())
}

async fn whole(mut body: Incoming) -> Result<Bytes, ClientFault> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        if bytes.len() + data.len() > MAX_ANSWER {
            return Err(ClientFault::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.into())
}

/// RFC 8555 §6.7: an ACME server's own error, not some page of a machine before it.
fn is_problem(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    kind.is_some_and(|kind| kind.starts_with("application/problem+json"))
}

/// RFC 9110 §10.2.3: seconds or a date.
fn wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => httpdate::parse_http_date(text).ok().map(|date| date.duration_since(now).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let said =
            |text: &'static str| wait(&[(RETRY_AFTER, HeaderValue::from_static(text))].into_iter().collect(), now);
        assert_eq!(said("120"), Some(Duration::from_secs(120)));
        assert_eq!(said("Sun, 06 Nov 1994 08:50:37 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(said("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(said("soon"), None);
    }

    #[test]
    fn only_https_is_called() {
        let of = |text: &'static str| target(&Uri::from_static(text));
        assert_eq!(of("https://[::1]:14000/dir"), Some(("::1".into(), 14000)));
        assert_eq!(of("https://ca.example/dir"), Some(("ca.example".into(), 443)));
        assert_eq!(of("http://ca.example/dir"), None);
        assert_eq!(of("/dir"), None);
    }
}
