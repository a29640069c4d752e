//! The watchdog over models that have stopped saying anything.
//!
//! Guarantees: a model that gives nobody a first byte for `upstream.wedged_after` is told to the log and unloaded by one
//! request of our own making, again only after ever longer times; while an answer is awaited that is no stream, and so has
//! no byte before its last one, it is `upstream.first_byte_timeout`, if that is longer; whoever waits goes on waiting, and
//! is served when the model is back. Answers `threats.md` §0.5, `ollama-facts.md` (g).
//! Does not: act while a model says anything to anybody.

use super::headers;
use super::record::Record;
use crate::config::types::Upstream as Config;
use crate::ollama::call::AnswerShape;
use crate::telemetry::event::SecurityEvent;
use crate::upstream::{Carried, Exchange, Failure, Outgoing, Patience, Reply, Request, Terms, Upstream};
use bytes::Bytes;
use http::{Method, header};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// An unload is answered at once.
const UNLOAD: Duration = Duration::from_secs(10);

/// Sends a request that runs a model, and watches the model until its first byte.
pub(super) async fn watched(
    upstream: &Arc<Upstream>,
    config: &Config,
    (request, mut terms): (Request, Terms),
    shape: AnswerShape,
    record: &Record,
) -> Result<Reply, Failure> {
    let (Some(model), Some(after)) = (record.model.as_deref(), config.wedged_after) else {
        return Exchange::start(upstream, config, request, terms).await;
    };
    let patience = Patience { stream: after, whole: config.first_byte_timeout.max(after) };
    let on_model = Arc::new(upstream.models.begin(model, (shape, patience), Instant::now()));
    terms.carried.push(Box::new(Arc::clone(&on_model)));
    let unloading = async {
        loop {
            tokio::time::sleep((after / 4).max(Duration::from_millis(50))).await;
            if on_model.claim_unload(Instant::now()) {
                record.note_detail(SecurityEvent::UpstreamWedged, "silent", Some(model));
                Box::pin(unload(upstream, config, model)).await; // apart: every request would carry its size
            }
        }
    };
    let reply = tokio::select! {
        reply = Exchange::start(upstream, config, request, terms) => reply,
        never = unloading => match never {},
    };
    // Who gives up has not heard anything; a broken connection is news too.
    if !matches!(reply, Err(Failure::Silent)) {
        on_model.heard(Instant::now());
    }
    reply
}

/// Asks Ollama to let go of the model.
async fn unload(upstream: &Arc<Upstream>, config: &Config, model: &str) {
    let body = serde_json::json!({ "model": model, "keep_alive": 0 }).to_string();
    let mut headers = headers::every_request(config);
    headers.add(&header::CONTENT_TYPE, "application/json");
    let (method, path) = (Method::POST, "/api/generate".into());
    let request = Request { method, path, headers, body: Outgoing::Made([Bytes::from(body)].into()) };
    let asked = async {
        let mut reply =
            Exchange::start(upstream, config, request, Terms { buffer: config.stream_buffer, carried: Carried::new() })
                .await
                .ok()?;
        while reply.body.next().await.is_ok() {}
        Some(reply.head.status)
    };
    let answered = tokio::time::timeout(UNLOAD, asked).await;
    let status = answered.ok().flatten().map(|status| status.as_u16());
    tracing::warn!(event = "model_unloaded", model, status, "a silent model was asked to unload");
}
