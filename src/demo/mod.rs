//! The stand-in of `try`: where no Ollama answers, this one does, in Ollama's exact shapes, so that every line of the
//! first five minutes works.
//!
//! Guarantees: it listens on loopback alone, on a port of the system's choice; every answer that a model would have
//! written says that no model did; a stream comes word by word. It is checked against recordings of a real Ollama.
//! Does not: run, store or fetch a model, or look at tools; and it is no fence. The gateway before it is.

mod anthropic;
mod catalogue;
mod generation;
mod native;
mod openai;
mod reply;
mod responses;

use crate::ollama::dialect::{anthropic_type, openai_type};
use crate::ollama::endpoint::{Dialect, Endpoint, NoRoute, PathParameter};
use crate::telemetry::request_id::RequestId;
use generation::is_the_model;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use reply::{Reply, ReplyBody};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// The one model that it says it has.
pub const MODEL: &str = "stand-in:latest";

const MAX_BODY: usize = 64 << 20;
const MAX_CONNECTIONS: usize = 256;
/// A kept connection with nothing on it: longer than the gateway keeps one.
const IDLE: Duration = Duration::from_mins(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A running stand-in; dropping it ends it.
#[derive(Debug)]
pub struct Demo {
    /// Where it listens.
    pub address: SocketAddr,
    server: AbortHandle,
}

impl Drop for Demo {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Starts the stand-in.
///
/// # Errors
/// What the system says where it gives no port.
pub async fn start() -> io::Result<Demo> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let server = tokio::spawn(accept(listener)).abort_handle();
    Ok(Demo { address, server })
}

async fn accept(listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= MAX_CONNECTIONS {
            connections.join_next().await;
        }
        match listener.accept().await {
            Ok((stream, _)) => drop(connections.spawn(serve(stream))),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(stream: TcpStream) {
    // A frame is to leave when it is written. Where the system cannot do that, it leaves a little later.
    stream.set_nodelay(true).unwrap_or_default();
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .serve_connection(TokioIo::new(stream), service_fn(answer));
    if let Err(error) = connection.await {
        tracing::debug!(%error, "a connection to the stand-in ended early");
    }
}

async fn answer(request: Request<Incoming>) -> Result<Response<ReplyBody>, Infallible> {
    let (head, body) = request.into_parts();
    let Some(body) = read(body).await else {
        return Ok(Reply::text(StatusCode::BAD_REQUEST, "the body could not be read").into_response());
    };
    let reply = match Endpoint::find(head.method.as_str(), head.uri.path()) {
        Ok((endpoint, parameter)) => endpoint_reply(endpoint, &parameter, &body),
        Err(NoRoute::UnknownPath) => Reply::text(StatusCode::NOT_FOUND, "404 page not found"),
        Err(NoRoute::UnknownMethod(allow)) => {
            Reply::text(StatusCode::METHOD_NOT_ALLOWED, "405 method not allowed").allowing(allow)
        }
    };
    Ok(reply.into_response())
}

/// The body, or nothing where it is too long or breaks off.
async fn read(mut body: Incoming) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.ok()?.into_data() {
            bytes.extend_from_slice(&piece);
        }
        if bytes.len() > MAX_BODY {
            return None;
        }
    }
    Some(bytes)
}

fn endpoint_reply(endpoint: Endpoint, parameter: &PathParameter, body: &[u8]) -> Reply {
    match endpoint {
        Endpoint::Root => Reply::text(StatusCode::OK, "ollama-gateway's built-in stand-in is running"),
        Endpoint::Health => Reply::text(StatusCode::NOT_FOUND, "404 page not found"),
        Endpoint::Version => Reply::native(json!({"version": "0.0.0"})),
        Endpoint::Status => Reply::native(json!({"cloud": {"disabled": true, "source": "env"}})),
        Endpoint::Recommendations => Reply::native(json!({"recommendations": []})),
        Endpoint::Tags => Reply::native(catalogue::tags()),
        Endpoint::Ps => Reply::native(catalogue::ps()),
        Endpoint::Models => Reply::v1(catalogue::models()),
        Endpoint::Model => openai::model(parameter),
        Endpoint::BlobHead => Reply::empty(StatusCode::NOT_FOUND),
        Endpoint::Show => call_reply(endpoint, body, |_, _| Reply::native(catalogue::show())),
        Endpoint::Generate => call_reply(endpoint, body, native::generate),
        Endpoint::Chat => call_reply(endpoint, body, native::chat),
        Endpoint::Embed => call_reply(endpoint, body, native::embed),
        Endpoint::Embeddings => call_reply(endpoint, body, |_, call| native::embeddings(call)),
        Endpoint::ChatCompletions => call_reply(endpoint, body, openai::chat),
        Endpoint::Completions => call_reply(endpoint, body, openai::completions),
        Endpoint::V1Embeddings => call_reply(endpoint, body, openai::embeddings),
        Endpoint::Responses => call_reply(endpoint, body, responses::responses),
        Endpoint::Messages => call_reply(endpoint, body, anthropic::messages),
        Endpoint::Pull
        | Endpoint::Push
        | Endpoint::Delete
        | Endpoint::Me
        | Endpoint::Signout
        | Endpoint::UserKeys
        | Endpoint::Create
        | Endpoint::BlobUpload
        | Endpoint::Copy
        | Endpoint::WebSearch
        | Endpoint::WebFetch
        | Endpoint::Transcriptions => refuse(
            endpoint.facts().dialect,
            StatusCode::NOT_IMPLEMENTED,
            "this is ollama-gateway's built-in stand-in: it has no models to manage and no account",
        ),
    }
}

/// The routes whose body names a model.
fn call_reply(endpoint: Endpoint, body: &[u8], reply: fn(&str, &Value) -> Reply) -> Reply {
    let dialect = endpoint.facts().dialect;
    let Ok(call) = serde_json::from_slice::<Value>(body) else {
        return refuse(dialect, StatusCode::BAD_REQUEST, "invalid JSON");
    };
    // `name` is the field's old name, which Ollama's own command still sends to `show`.
    let named = ["model", "name"].iter().filter_map(|field| call.get(field)?.as_str()).find(|name| !name.is_empty());
    let Some(model) = named else {
        return refuse(dialect, StatusCode::BAD_REQUEST, "model is required");
    };
    if !is_the_model(model) {
        return refuse(dialect, StatusCode::NOT_FOUND, &missing_model(endpoint, model));
    }
    reply(model, &call)
}

/// Ollama words this differently by route.
fn missing_model(endpoint: Endpoint, model: &str) -> String {
    if matches!(endpoint, Endpoint::Embed | Endpoint::Embeddings | Endpoint::V1Embeddings) {
        return format!("model {model:?} not found, try pulling it first");
    }
    let tag = if endpoint == Endpoint::Show && !model.contains(':') { ":latest" } else { "" };
    format!("model '{model}{tag}' not found")
}

/// An error in Ollama's shape for the route.
fn refuse(dialect: Dialect, status: StatusCode, message: &str) -> Reply {
    let code = status.as_u16();
    let body = match dialect {
        Dialect::Ollama => json!({"error": message}),
        Dialect::OpenAi => {
            json!({"error": {"message": message, "type": openai_type(code), "param": null, "code": null}})
        }
        Dialect::Anthropic => json!({
            "type": "error",
            "error": {"type": anthropic_type(code), "message": message},
            "request_id": RequestId::new().as_str(),
        }),
    };
    // In `/v1`, what the layer before the handler refuses is written as `/api` is.
    let by_handler = dialect != Dialect::Ollama && status != StatusCode::BAD_REQUEST;
    let reply = if by_handler { Reply::v1(body) } else { Reply::native(body) };
    reply.with_status(status)
}
