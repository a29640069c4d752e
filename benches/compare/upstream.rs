//! The stand-in upstream: fast, in Ollama's shapes, its streams paced.
//!
//! Guarantees: a streamed chunk leaves every 5 ms, or as often as the prompt says, and no two in one write, so that no
//! proxy can read many at once; a body is read to its end and thrown away.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

/// Chunks of one stream, if the prompt does not say.
pub(crate) const CHUNKS: u32 = 100;

/// How a stream comes. A prompt says it with `pace=MILLISECONDS chunks=COUNT`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) every: Duration,
    pub(crate) chunks: u32,
}

impl Pace {
    fn asked(body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let number = |name: &str| {
            let (_, rest) = text.split_once(name)?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok()
        };
        let every = Duration::from_millis(u64::from(number("pace=").unwrap_or(5)));
        Self { every, chunks: number("chunks=").unwrap_or(CHUNKS) }
    }

    pub(crate) fn prompt(self) -> String {
        format!("pace={} chunks={}", self.every.as_millis(), self.chunks)
    }
}

const CHUNK: &str = "{\"model\":\"tiny\",\"created_at\":\"2026-01-01T00:00:00Z\",\"message\":{\"role\":\"assistant\",\"content\":\" word\"},\"done\":false}\n";
const LAST: &str = "{\"model\":\"tiny\",\"created_at\":\"2026-01-01T00:00:00Z\",\"message\":{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"total_duration\":1000,\"load_duration\":1,\"prompt_eval_count\":3,\"prompt_eval_duration\":10,\"eval_count\":5,\"eval_duration\":900}\n";

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Starts it; it runs as long as this program.
pub(crate) async fn start() -> SocketAddr {
    let socket = crate::load::unpaced(); // what it accepts is as it is
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1024).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            socket.set_nodelay(true).unwrap();
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(socket), service_fn(answer)));
        }
    });
    address
}

async fn answer(request: Request<Incoming>) -> Result<Answer, hyper::Error> {
    let is_upload = request.uri().path().starts_with("/api/blobs/");
    let mut body = request.into_body();
    let mut start = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Some(data) = frame?.data_ref().filter(|_| start.len() < 1024) {
            start.extend_from_slice(data);
        }
    }
    Ok(match (is_upload, asks_for_a_stream(&start)) {
        (true, _) => made(StatusCode::CREATED, ""),
        (false, true) => stream(Pace::asked(&start)),
        (false, false) => made(StatusCode::OK, LAST.trim_end()),
    })
}

fn asks_for_a_stream(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).replace(' ', "").contains("\"stream\":true")
}

fn made(status: StatusCode, text: &'static str) -> Answer {
    let answer = Response::builder().status(status).header("content-type", "application/json; charset=utf-8");
    answer.body(Full::new(Bytes::from_static(text.as_bytes())).boxed_unsync()).unwrap()
}

fn stream(pace: Pace) -> Answer {
    let chunks = futures_util::stream::unfold(0, move |sent| async move {
        match sent {
            0 => {}
            _ => tokio::time::sleep(pace.every).await,
        }
        let text = if sent + 1 == pace.chunks { LAST } else { CHUNK };
        (sent < pace.chunks).then(|| (Ok(Frame::data(Bytes::from_static(text.as_bytes()))), sent + 1))
    });
    let answer = Response::builder().header("content-type", "application/x-ndjson");
    answer.body(StreamBody::new(chunks).boxed_unsync()).unwrap()
}
