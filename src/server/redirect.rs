//! Plain HTTP: redirects a GET, answers ACME's HTTP-01, refuses everything else.
//!
//! Guarantees: nothing of the API is served in clear; a key that was sent here is refused and reported, since it was read
//! by whoever listens (`threats.md` §6.3, ASVS 4.1.2; `field.md` E 25). A redirect goes to a name of the configuration,
//! never to the request's own Host.

use super::connection;
use super::timed::{Timed, Times};
use crate::gateway::Gateway;
use crate::ollama::dialect::{Told, error_body};
use crate::ollama::endpoint::Endpoint;
use crate::pipeline::activity::Activity;
use crate::pipeline::credential::{self, Credential};
use crate::pipeline::{self, record::shown_path};
use crate::telemetry::event::{About, SecurityEvent};
use crate::telemetry::request_id::RequestId;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

const CHALLENGE: &str = "/.well-known/acme-challenge/";

/// Serves one plain connection to its end.
pub(super) async fn serve(gateway: Arc<Gateway>, mut socket: TcpStream, remote: SocketAddr, stop: CancellationToken) {
    let policy = gateway.policy();
    let server = &policy.config.server;
    let times = Times { head: server.head_timeout, idle: server.head_timeout, write_stall: server.write_stall_timeout };
    let Some((client, _)) = connection::client(&mut socket, remote, server).await else { return };
    let activity = Activity::new();
    let timed = Timed::new(Arc::new(socket), times, Arc::clone(&activity));
    drop(policy);
    let service = service_fn(move |request: Request<Incoming>| {
        let in_flight = activity.begin();
        let response = answer(&gateway, &request, client);
        record(&request, &response, client);
        drop(in_flight);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut builder = http1::Builder::new();
    builder.half_close(false).max_headers(100).max_buf_size(32 * 1024).header_read_timeout(None);
    builder.timer(TokioTimer::new());
    let mut connection = pin!(builder.serve_connection(TokioIo::new(timed), service));
    tokio::select! {
        ended = &mut connection => drop(ended),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            drop(connection.await);
        }
    }
}

fn record(request: &Request<Incoming>, response: &Response<Full<Bytes>>, client: IpAddr) {
    tracing::info!(
        event = "request",
        client = %client,
        request_id = response.headers().get("x-request-id").and_then(|id| id.to_str().ok()),
        protocol = "http/1.1, in clear",
        method = request.method().as_str().get(..16).unwrap_or(request.method().as_str()),
        path = shown_path(request.uri().path()),
        status = response.status().as_u16(),
    );
}

fn answer(gateway: &Gateway, request: &Request<Incoming>, client: IpAddr) -> Response<Full<Bytes>> {
    if let Some(token) = request.uri().path().strip_prefix(CHALLENGE)
        && let Some(authorization) = gateway.certificates.http01(token)
    {
        return respond(StatusCode::OK, RequestId::new(), "application/octet-stream", authorization);
    }
    let refusal = match report_key(request, client) {
        Sent::Key => Refusal::KeyInClear,
        Sent::NoKey if !matches!(*request.method(), Method::GET | Method::HEAD) => Refusal::InClear,
        Sent::NoKey => return redirect(gateway, request).unwrap_or_else(|| refuse(request, Refusal::Host)),
    };
    refuse(request, refusal)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sent {
    Key,
    NoKey,
}

/// A key in clear is known to others by now: whoever owns it must hear of it.
fn report_key(request: &Request<Incoming>, client: IpAddr) -> Sent {
    let id = match credential::from_headers(request.headers()) {
        Ok(Credential::Missing) => match in_url(request.uri()) {
            Some(id) => id,
            None if credential::redacted(request.uri().path()) != request.uri().path() => None,
            None => return Sent::NoKey,
        },
        Ok(Credential::Key(key)) => Some(key.id().to_string()),
        Ok(Credential::Malformed | Credential::Token(_) | Credential::Signature(_)) | Err(_) => None,
    };
    SecurityEvent::CredentialInCleartext.report(&About {
        client: Some(client),
        reason: Some("rotate_this_key"),
        detail: id.as_deref(),
        ..About::default()
    });
    Sent::Key
}

/// A credential in the path or the query, and its id where it is a key.
fn in_url(uri: &http::Uri) -> Option<Option<String>> {
    if let Some((key, _)) = credential::split_path(uri.path()) {
        let Credential::Key(key) = key else { return Some(None) };
        return Some(Some(key.id().to_string()));
    }
    uri.query().and_then(credential::in_query).map(|found| found.key_id)
}

/// A `Host` without its port, and without the brackets of an address.
pub(super) fn bare_host(host: &str) -> &str {
    let name = host.rsplit_once(':').map_or(host, |(name, port)| if port.ends_with(']') { host } else { name });
    name.trim_matches(['[', ']'])
}

fn redirect(gateway: &Gateway, request: &Request<Incoming>) -> Option<Response<Full<Bytes>>> {
    let host = request.headers().get(header::HOST)?.to_str().ok()?;
    let bare = bare_host(host).to_ascii_lowercase();
    let policy = gateway.policy();
    let name = policy.config.server.names.iter().find(|name| **name == bare)?;
    let shown = if name.contains(':') { format!("[{name}]") } else { name.clone() };
    let port = match gateway.https_port() {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let target = request.uri().path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let location = HeaderValue::from_str(&format!("https://{shown}{port}{target}")).ok()?;
    let mut response =
        respond(StatusCode::MOVED_PERMANENTLY, RequestId::new(), "text/plain; charset=utf-8", String::new());
    response.headers_mut().insert(header::LOCATION, location);
    Some(response)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    InClear,
    KeyInClear,
    Host,
}

fn refuse(request: &Request<Incoming>, refusal: Refusal) -> Response<Full<Bytes>> {
    let (status, code, text) = match refusal {
        Refusal::InClear => (StatusCode::FORBIDDEN, "https_required", "Use https: nothing is served in clear."),
        Refusal::KeyInClear => (
            StatusCode::FORBIDDEN,
            "credential_in_cleartext",
            "This key was sent in clear and must be replaced. Use https: nothing is served in clear.",
        ),
        Refusal::Host => (StatusCode::MISDIRECTED_REQUEST, "host_not_served", "This host name is not served here."),
    };
    let id = RequestId::new();
    let told = Told { status: status.as_u16(), code, text, request_id: id.as_str() };
    let body = error_body(Endpoint::dialect_of_path(request.uri().path()), &told);
    respond(status, id, "application/json", body)
}

fn respond(status: StatusCode, id: RequestId, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    pipeline::headers::constant(headers);
    headers.insert("x-request-id", id.header_value());
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
