//! Trying a chat: through the very pipeline that clients meet, as whoever is signed in.
//!
//! Guarantees: a request goes over a connection in memory into [`pipeline::handle`], so every stage decides on it and it is
//! recorded as any other; it carries no credential, the connection says who it is. When the browser leaves, the connection
//! ends, and with it Ollama's work. Does not: keep what was said.

use super::body::{Body, answer as answer_with};
use super::form::{Form, bounded};
use super::sessions::Session;
use crate::gateway::Gateway;
use crate::pipeline;
use crate::pipeline::activity::Activity;
use crate::pipeline::peer::{self, Peer, Protocol, Via};
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

/// Bytes between the two ends.
const PIPE: usize = 64 * 1024;
/// Bytes of a list of models.
const LIST: usize = 1024 * 1024;
const SOON: Duration = Duration::from_secs(5);

/// Answers the form: as Ollama streams it, or as the gateway refuses it.
pub(super) async fn answer(gateway: &Arc<Gateway>, session: &Session, form: &Form) -> Response<Body> {
    let messages = json!([{"role": "user", "content": form.get("message")}]);
    let wanted = json!({"model": form.get("model"), "messages": messages, "stream": true});
    let sent = send(gateway, session, (Method::POST, "/api/chat", wanted.to_string())).await;
    let Some(answer) = sent else {
        let said = Full::new(Bytes::from_static(b"{\"error\":\"the gateway did not answer itself\"}"));
        return answer_with(StatusCode::BAD_GATEWAY, "application/json", said.boxed_unsync());
    };
    let (head, body) = answer.into_parts();
    let kind = if head.status == StatusCode::OK { "application/x-ndjson" } else { "application/json" };
    // What breaks off simply ends: the script sees that there was no last line.
    answer_with(head.status, kind, ended(body).boxed_unsync())
}

/// A body whose failure is its end.
fn ended(
    body: impl http_body::Body<Data = Bytes, Error = hyper::Error> + Send + Unpin + 'static,
) -> impl http_body::Body<Data = Bytes, Error = Infallible> + Send {
    let frames = futures_util::stream::unfold(body, |mut body| async move {
        let frame = body.frame().await?.ok()?;
        Some((Ok::<_, Infallible>(frame), body))
    });
    http_body_util::StreamBody::new(frames)
}

/// The models that whoever is signed in may use.
pub(super) async fn models(gateway: &Arc<Gateway>, session: &Session) -> Vec<String> {
    let asked = async {
        let answer = send(gateway, session, (Method::GET, "/api/tags", String::new())).await?;
        let body = bounded(answer.into_body(), LIST).await?;
        let list: Value = serde_json::from_slice(&body).ok()?;
        let names = list.get("models")?.as_array()?.iter();
        Some(names.filter_map(|model| model.get("name")?.as_str().map(str::to_owned)).collect())
    };
    tokio::time::timeout(SOON, asked).await.ok().flatten().unwrap_or_default()
}

async fn send(
    gateway: &Arc<Gateway>,
    session: &Session,
    (method, path, body): (Method, &'static str, String),
) -> Option<Response<Incoming>> {
    let (near, far) = tokio::io::duplex(PIPE);
    let peer = Arc::new(Peer {
        address: Ipv4Addr::LOCALHOST.into(),
        via: Via::Direct,
        sni: None,
        certificate: None,
        signed_in: Some(session.who.clone()),
        protocol: Protocol::Http1,
        number: peer::next_number(),
        activity: Activity::new(),
    });
    let within = Arc::clone(gateway);
    let service = service_fn(move |request: Request<Incoming>| {
        let (gateway, peer) = (Arc::clone(&within), Arc::clone(&peer));
        async move {
            Ok::<_, Infallible>(Box::pin(pipeline::handle(gateway, peer, request.map(Into::into))).await.into_http())
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder.timer(TokioTimer::new()).keep_alive(false).half_close(false);
    tokio::spawn(builder.serve_connection(TokioIo::new(far), service));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(near)).await.ok()?;
    // Ends when the answer is read or dropped.
    tokio::spawn(connection);
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.uri_mut() = http::Uri::from_static(path);
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_str(&host(gateway)).ok()?);
    if method == Method::POST {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    *request.method_mut() = method;
    sender.send_request(request).await.ok()
}

/// The first name that is served.
fn host(gateway: &Gateway) -> String {
    let policy = gateway.policy();
    let name = policy.config.server.names.first().map_or("localhost", String::as_str);
    if name.contains(':') && !name.starts_with('[') { format!("[{name}]") } else { name.to_owned() }
}
