//! The span of a request, by the conventions of OpenTelemetry for generative AI.
//!
//! Guarantees: names, numbers and fixed words of the record; no prompt, no answer, no address, no caller.

use super::record::{Outcome, Record};
use crate::ollama::endpoint::{Endpoint, Runs};
use crate::telemetry::traces::Span;
use http::StatusCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Hands the span of a request that is over to its trace, where it has one.
pub(super) fn end(record: &Record, (took, now): (Duration, SystemTime)) {
    let wanted = record.trace.as_ref().filter(|trace| trace.context.is_sampled());
    let (Some(trace), Some(endpoint)) = (wanted, record.endpoint) else { return };
    let mut span = span(record, endpoint);
    span.trace = trace.context.trace.to_vec();
    span.span = trace.context.span.to_vec();
    span.parent = trace.context.parent.map(Vec::from).unwrap_or_default();
    (span.begin, span.end) = (nanos(now.checked_sub(took).unwrap_or(now)), nanos(now));
    trace.end(span);
}

fn span(record: &Record, endpoint: Endpoint) -> Span {
    let (facts, operation) = (endpoint.facts(), operation(endpoint));
    let name = match (operation, record.model.as_deref()) {
        (Some(operation), Some(model)) => format!("{operation} {model}"),
        (Some(operation), None) => operation.to_owned(),
        (None, _) => format!("{} {}", record.method(), facts.path),
    };
    let status = record.status.map(|status| u64::from(status.as_u16()));
    let failed = record.outcome() == Outcome::UpstreamFailed
        || record.status.is_some_and(|status| status >= StatusCode::INTERNAL_SERVER_ERROR);
    let span = Span::of_server(name)
        .text("gen_ai.operation.name", operation)
        .text("gen_ai.provider.name", operation.map(|_| "ollama"))
        .text("gen_ai.request.model", operation.and(record.model.as_deref()))
        .whole("gen_ai.usage.input_tokens", record.usage.prompt_tokens)
        .whole("gen_ai.usage.output_tokens", record.usage.output_tokens)
        .text("http.request.method", Some(record.method()))
        .text("http.route", Some(facts.path))
        .whole("http.response.status_code", status)
        .text("error.type", Some(record.code).filter(|code| !code.is_empty()))
        .text("ollama_gateway.request_id", Some(&record.id.to_string()))
        .text("ollama_gateway.outcome", Some(record.outcome().name()))
        .number("ollama_gateway.queue_seconds", record.turn.map(|turn| turn.time().as_secs_f64()))
        .number("ollama_gateway.first_byte_seconds", record.first_byte().map(|time| time.as_secs_f64()));
    if failed { span.failed(record.code) } else { span }
}

fn nanos(moment: SystemTime) -> u64 {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// `gen_ai.operation.name`, where a model runs.
const fn operation(endpoint: Endpoint) -> Option<&'static str> {
    match endpoint.facts().runs {
        Runs::Nothing => None,
        Runs::Chat => Some("chat"),
        Runs::Completion => Some("text_completion"),
        Runs::Embedding => Some("embeddings"),
        Runs::Transcription => Some("transcription"),
    }
}
