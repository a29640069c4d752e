//! The admin listener: alive, ready, metrics, the console. Plain HTTP, on an address that only this machine reaches.

use super::redirect::bare_host;
use super::workers::Workers;
use crate::console::{Body, Console};
use crate::gateway::{Gateway, Phase};
use crate::telemetry::metrics::exposition;
use crate::upstream::Upstream;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::net::TcpStream;

/// How long a client may take for its request.
const REQUEST: Duration = Duration::from_secs(2);

/// What a listener shows.
#[derive(Debug, Clone)]
pub(super) enum Pages {
    /// Everything: it is on this machine alone.
    All(Arc<Console>),
    /// Health, readiness and counts: others may reach it.
    Measured,
}

/// What is looked at; the threads end though somebody looks at them.
pub(super) type Watched = (Arc<Gateway>, Weak<Workers>);

/// Serves one connection to its end.
pub(super) async fn serve((gateway, workers): Watched, socket: TcpStream, pages: Pages) {
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, workers, pages) = (Arc::clone(&gateway), Weak::clone(&workers), pages.clone());
        async move {
            Ok::<_, Infallible>(match pages {
                Pages::All(_) if !is_for_this_machine(&request) => {
                    respond(StatusCode::MISDIRECTED_REQUEST, "{\"error\":\"this host name is not served here\"}")
                }
                Pages::All(console) if request.uri().path().starts_with("/console") => {
                    console.answer(&gateway, request).await
                }
                Pages::All(_) | Pages::Measured => answer((&gateway, &workers), &request).await,
            })
        }
    });
    let mut builder = http1::Builder::new();
    // One request a connection: a process that stops has no idle ones to wait for, and cuts none.
    builder.timer(TokioTimer::new()).header_read_timeout(REQUEST).max_headers(64).keep_alive(false);
    drop(builder.serve_connection(TokioIo::new(socket), service).await);
}

async fn answer((gateway, workers): (&Gateway, &Weak<Workers>), request: &Request<Incoming>) -> Response<Body> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return respond(StatusCode::METHOD_NOT_ALLOWED, "{\"error\":\"only GET is answered here\"}");
    }
    match request.uri().path() {
        "/health" => respond(StatusCode::OK, "{\"status\":\"ok\"}"),
        "/ready" => ready(gateway).await,
        "/metrics" => metrics(gateway, workers).await,
        _ => respond(StatusCode::NOT_FOUND, "{\"error\":\"there is no such page\"}"),
    }
}

/// A web page can give a name of its own the address of this machine; it cannot ask for an address or for `localhost`.
fn is_for_this_machine(request: &Request<Incoming>) -> bool {
    let Some(host) = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()) else { return true };
    let name = bare_host(host);
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok()
}

/// Ready: the policy is loaded (there is no gateway without), no stop is under way, and Ollama accepts connections.
async fn ready(gateway: &Gateway) -> Response<Body> {
    if gateway.phase() == Phase::Draining {
        return respond(StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"stopping\"}");
    }
    match Upstream::probe(&gateway.policy().config.upstream).await {
        Ok(()) => respond(StatusCode::OK, "{\"status\":\"ready\"}"),
        Err(_) => respond(StatusCode::SERVICE_UNAVAILABLE, "{\"status\":\"upstream_unavailable\"}"),
    }
}

async fn metrics(gateway: &Gateway, workers: &Weak<Workers>) -> Response<Body> {
    let text = super::gauges::page(gateway, workers).await;
    let mut response = respond(StatusCode::OK, "");
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(exposition::CONTENT_TYPE));
    *response.body_mut() = Full::new(Bytes::from(text)).boxed_unsync();
    response
}

fn respond(status: StatusCode, body: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(body.as_bytes())).boxed_unsync());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
