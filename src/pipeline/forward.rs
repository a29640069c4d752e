//! Eighth stage: a new request to Ollama, made from the call.
//!
//! Guarantees: nothing but a [`Queued`] is sent; the method and path are the table's, the headers ours, the body
//! written here, around long strings that were checked, with its length (an upload without one is chunked, by our own
//! HTTP). No byte of a client's head or framing is in it (`threats.md` §4.1, "structural answer"). Dropping the future
//! cancels Ollama's work.

use super::admit::{Asked, Content, Facts};
use super::budget;
use super::headers;
use super::queue::{Permits, Queued};
use super::record::Record;
use super::watchdog;
use crate::config::types::ToUpstream;
use crate::gateway::{Gateway, Policy};
use crate::ollama::call::{AnswerShape, UsageChunk};
use crate::ollama::endpoint::{Class, Endpoint, PathParameter};
use crate::ollama::response::UpstreamFault;
use crate::rejection::Rejection;
use crate::telemetry::event::SecurityEvent;
use crate::upstream::upload::UploadFailure;
use crate::upstream::{Exchange, Failure, Outgoing, Reply, Request, Terms};
use http::uri::PathAndQuery;
use http::{Method, header};
use std::borrow::Cow;

/// The head of an answer, and its body to come, of a request that was let through.
///
/// ```compile_fail
/// fn forge(f: ollama_gateway::pipeline::forward::Received) -> ollama_gateway::pipeline::forward::Received {
///     ollama_gateway::pipeline::forward::Received { ..f }
/// }
/// ```
/// ```
/// fn read(f: &ollama_gateway::pipeline::forward::Received) -> http::StatusCode { f.status() }
/// ```
#[derive(Debug)]
pub struct Received {
    reply: Reply,
    facts: Facts,
    expected: Expected,
    permits: Permits,
}

/// What kind of answer the call asked for.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// One value, or a stream.
    pub shape: AnswerShape,
    /// Whether the extra usage chunk is ours to remove.
    pub usage: UsageChunk,
}

impl Received {
    /// Ollama's status.
    #[must_use]
    pub fn status(&self) -> http::StatusCode {
        self.reply.head.status
    }

    pub(in crate::pipeline) fn into_parts(self) -> (Reply, Facts, Expected, Permits) {
        (self.reply, self.facts, self.expected, self.permits)
    }
}

const TRACEPARENT: http::HeaderName = http::HeaderName::from_static("traceparent");

/// Sends the call and waits for the head of the answer.
///
/// # Errors
/// 502, 503, 504: what Ollama did not do.
pub async fn forward(
    queued: Queued,
    gateway: &Gateway,
    policy: &Policy,
    record: &mut Record,
) -> Result<Received, Rejection> {
    let (facts, content, mut permits, carried) = queued.into_parts();
    let (expected, runs) = (expected(&content), facts.endpoint.facts().class);
    let (upload, prompt) = match &content {
        Content::Upload(upload) => (Some(upload.progress()), None),
        Content::Call(call) => (None, Some(budget::estimate(call.prompt_chars()))),
        Content::Nothing => (None, None),
    };
    let request = request(&facts, content, policy, record)?;
    permits.sent();
    record.prompt_estimate = prompt.filter(|_| runs == Class::Inference);
    let terms = Terms { buffer: buffer(expected, policy), carried };
    let (upstream, config) = (&gateway.upstream, &policy.config.upstream);
    let started = if runs == Class::Inference {
        watchdog::watched(upstream, config, (request, terms), expected.shape, record).await
    } else {
        Exchange::start(upstream, config, request, terms).await
    };
    if let Some(progress) = upload {
        record.bytes_in = progress.received();
        if let (Err(_), Some(cause)) = (&started, progress.failure()) {
            return Err(match cause {
                UploadFailure::TooSlow => Rejection::BodyTooSlow,
                UploadFailure::Incomplete => Rejection::BodyIncomplete,
            });
        }
    }
    let reply = started.map_err(|failure| {
        permits.refused();
        record.prompt_estimate = None;
        rejected(&failure, record)
    })?;
    Ok(Received { reply, facts, expected, permits })
}

/// A stream waits for its client within its own bound; an answer that is read whole here has room for all of it.
const fn buffer(expected: Expected, policy: &Policy) -> usize {
    match expected.shape {
        AnswerShape::Stream => policy.config.upstream.stream_buffer,
        AnswerShape::Whole => policy.config.upstream.max_answer,
    }
}

fn expected(content: &Content) -> Expected {
    match content {
        Content::Call(call) => Expected { shape: call.shape(), usage: call.usage() },
        Content::Nothing | Content::Upload(_) => Expected { shape: AnswerShape::Whole, usage: UsageChunk::Keep },
    }
}

fn request(facts: &Facts, content: Content, policy: &Policy, record: &Record) -> Result<Request, Rejection> {
    let mut headers = headers::to_ollama(policy, record.id, record.client);
    let told = policy.config.traces.as_ref().is_some_and(|traces| traces.to_upstream == ToUpstream::Send);
    if let Some(trace) = record.trace.as_ref().filter(|_| told) {
        headers.add(&TRACEPARENT, &trace.context.to_string());
    }
    let body = match content {
        Content::Nothing => Outgoing::nothing(),
        Content::Call(call) => {
            headers.add(&header::CONTENT_TYPE, call.media_type().as_str());
            Outgoing::Made(call.into_pieces().into())
        }
        Content::Upload(upload) => {
            headers.add(&header::CONTENT_TYPE, "application/octet-stream");
            Outgoing::Upload(upload)
        }
    };
    let path = path(facts.endpoint, &facts.parameter).ok_or(Rejection::Internal)?;
    Ok(Request { method: method(facts.endpoint, facts.asked), path, headers, body })
}

/// The method that Ollama gets.
#[must_use]
pub fn method(endpoint: Endpoint, asked: Asked) -> Method {
    if asked == Asked::Head {
        return Method::HEAD;
    }
    match endpoint.facts().methods.first() {
        Some(&"POST") => Method::POST,
        Some(&"DELETE") => Method::DELETE,
        Some(&"HEAD") => Method::HEAD,
        Some(_) | None => Method::GET,
    }
}

/// The table's path, with the parameter as it was parsed.
#[must_use]
pub fn path(endpoint: Endpoint, parameter: &PathParameter) -> Option<Cow<'static, str>> {
    let fixed = endpoint.facts().path;
    match parameter {
        // One model is picked out of the list: its own route reads names differently.
        PathParameter::Model(_) => Some(Endpoint::Models.facts().path.into()),
        PathParameter::None => Some(fixed.into()),
        PathParameter::Digest(text) | PathParameter::Key(text) => {
            let whole: PathAndQuery = format!("{fixed}{text}").parse().ok()?;
            whole.query().is_none().then(|| whole.as_str().to_owned().into())
        }
    }
}

fn rejected(failure: &Failure, record: &Record) -> Rejection {
    let (fault, detail) = match failure {
        Failure::Unreachable(error) => (UpstreamFault::Unreachable, format!("connect: {error}")),
        Failure::Broken(error) => (UpstreamFault::Cut, error.clone()),
        Failure::Silent => (UpstreamFault::Timeout, "no first byte within the deadline".to_owned()),
    };
    record.note_detail(SecurityEvent::UpstreamUnavailable, fault.facts().code, Some(&detail));
    Rejection::Upstream { fault, detail }
}
