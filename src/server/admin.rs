//! The admin listener: alive, ready, metrics. Plain HTTP, on an address that only this machine reaches.

use crate::gateway::{Gateway, Phase};
use crate::telemetry::metrics::exposition;
use crate::upstream::Upstream;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a client may take for its request.
const REQUEST: Duration = Duration::from_secs(2);

/// What a listener shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// Everything: it is on this machine alone.
    All,
    /// Health, readiness and counts: others may reach it.
    Measured,
}

/// Serves one connection to its end.
pub(super) async fn serve(gateway: Arc<Gateway>, socket: TcpStream, pages: Pages) {
    let service = service_fn(move |request: Request<Incoming>| {
        let gateway = Arc::clone(&gateway);
        async move { Ok::<_, Infallible>(answer(&gateway, &request, pages).await) }
    });
    let mut builder = http1::Builder::new();
    // One request a connection: a process that stops has no idle ones to wait for, and cuts none.
    builder.timer(TokioTimer::new()).header_read_timeout(REQUEST).max_headers(64).keep_alive(false);
    drop(builder.serve_connection(TokioIo::new(socket), service).await);
}

async fn answer(gateway: &Gateway, request: &Request<Incoming>, pages: Pages) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return respond(StatusCode::METHOD_NOT_ALLOWED, "{\"error\":\"only GET is answered here\"}");
    }
    match request.uri().path() {
        "/health" => respond(StatusCode::OK, "{\"status\":\"ok\"}"),
        "/ready" => ready(gateway).await,
        "/metrics" => metrics(gateway).await,
        _ if pages == Pages::Measured => respond(StatusCode::NOT_FOUND, "{\"error\":\"only counts are shown here\"}"),
        _ => respond(StatusCode::NOT_FOUND, "{\"error\":\"there is no such page\"}"),
    }
}

/// Ready: the policy is loaded (there is no gateway without), no stop is under way, and Ollama accepts connections.
async fn ready(gateway: &Gateway) -> Response<Full<Bytes>> {
    if gateway.phase() == Phase::Draining {
        return respond(StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"stopping\"}");
    }
    match Upstream::probe(&gateway.policy().config.upstream).await {
        Ok(()) => respond(StatusCode::OK, "{\"status\":\"ready\"}"),
        Err(_) => respond(StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"upstream_unavailable\"}"),
    }
}

async fn metrics(gateway: &Gateway) -> Response<Full<Bytes>> {
    let text = super::gauges::page(gateway).await;
    let mut response = respond(StatusCode::OK, "");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
    *response.body_mut() = Full::new(Bytes::from(text));
    response
}

fn respond(status: StatusCode, body: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
