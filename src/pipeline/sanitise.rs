//! Ninth stage: what of Ollama's answer may pass.
//!
//! Guarantees: the status and headers are ours; an answer that is one value was read whole, under its cap, and parsed; a
//! stream is read frame by frame by [`StreamSanitiser`]; a refusal or failure of Ollama becomes one of ours, and its text
//! goes to the log only. Answers `threats.md` §4.5 (upstream headers, redirects, 101, error texts), `field.md` E 32.

use super::admit::{Asked, Facts};
use super::answer::Answer;
use super::body::Body;
use super::budget;
use super::forward::{Expected, Received};
use super::output::AnswerRules;
use super::pulse::{Beat, Pulse};
use super::record::Record;
use crate::config::types::Allowance;
use crate::config::types::Role;
use crate::gateway::Policy;
use crate::ollama::call::UsageChunk;
use crate::ollama::endpoint::{Endpoint, PathParameter};
use crate::ollama::model_name::{ModelName, permits};
use crate::ollama::response::{
    self, Context, Finish, Full, OutputRules, StreamOptions, StreamSanitiser, UpstreamFault, Usage, View, Whole,
};
use crate::rejection::Rejection;
use crate::telemetry::event::SecurityEvent;
use crate::upstream::{Encoding, Head, PipeEnd, Reply};
use http::StatusCode;
use http::header::HeaderValue;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a refusal of Ollama that are read for the log.
const MAX_REFUSAL: usize = 64 * 1024;
/// For a refusal to come.
const REFUSAL: Duration = Duration::from_secs(2);

/// Makes an [`Answer`] of what came back.
///
/// # Errors
/// Ollama's refusals and failures, as ours.
pub async fn sanitise(received: Received, policy: &Arc<Policy>, record: &mut Record) -> Result<Answer, Rejection> {
    let (mut reply, facts, expected, mut permits) = received.into_parts();
    let status = reply.head.status;
    if !status.is_success() {
        permits.refused();
        record.prompt_estimate = None;
        return Err(refused(&facts, status, reply).await);
    }
    let kind = kind(&reply.head)?;
    if facts.asked == Asked::Head {
        reply.body.finish();
        return Ok(Answer::head(status, kind.value()));
    }
    if let Kind::Stream(beat) = kind {
        let sanitiser = StreamSanitiser::new(facts.endpoint, stream_options(&facts, expected, policy, record));
        let pulse = Pulse::new(beat, policy.config.upstream.heartbeat_after);
        let body = Body::stream(reply.body.into_stream(), sanitiser, permits, pulse);
        return Ok(Answer::sanitised(status, kind.value(), body));
    }
    let bytes = read_whole(&mut reply, policy.config.upstream.max_answer).await?;
    let may_see = |name: &str| visible(&facts.role, name);
    let view = View {
        may_see: &may_see,
        full: full(&facts.role),
        context: context(&facts.role),
        shown_version: &policy.config.upstream.shown_version,
        wanted: match &facts.parameter {
            PathParameter::Model(name) => Some(name.canonical()),
            PathParameter::None | PathParameter::Digest(_) | PathParameter::Key(_) => None,
        },
    };
    let whole = response::whole(facts.endpoint, &bytes, &view).map_err(unexpected)?;
    let whole = match AnswerRules::new(policy, record) {
        Some(mut rules) => response::apply_rules(whole, &mut rules).map_err(unexpected)?,
        None => whole,
    };
    record.usage = Usage { pieces: unsaid_tokens(&whole), ..whole.usage };
    if permits.spend(&record.usage).is_err() {
        record.note(SecurityEvent::BudgetUsedUp, "at_the_end");
    }
    Ok(Answer::sanitised(status, kind.value(), Body::whole(whole.body)))
}

fn stream_options(facts: &Facts, expected: Expected, policy: &Arc<Policy>, record: &Record) -> StreamOptions {
    StreamOptions {
        request_id: record.id.to_string(),
        usage_chunk: match expected.usage {
            UsageChunk::Keep => response::UsageChunk::Show,
            UsageChunk::Hide => response::UsageChunk::Hide,
        },
        context: context(&facts.role),
        max_frame: policy.config.upstream.max_answer,
        rules: AnswerRules::new(policy, record).map(|rules| Box::new(rules) as Box<dyn OutputRules>),
    }
}

/// Where Ollama does not say what an answer cost, its length does.
fn unsaid_tokens(whole: &Whole) -> u64 {
    let generates = whole.usage.finish != Finish::Unknown;
    if generates { budget::estimate(whole.body.len()) } else { 0 }
}

/// A role that manages the server sees what Ollama says of it.
fn full(role: &Role) -> Full {
    if role.endpoints.contains(Endpoint::Create) { Full::Management } else { Full::Reduced }
}

/// Who may send `context` back may have it.
fn context(role: &Role) -> Context {
    if role.allow.contains(&Allowance::Context) { Context::Keep } else { Context::Drop }
}

/// The same question as for a call, so that no listing shows what a call would refuse.
fn visible(role: &Role, name: &str) -> bool {
    ModelName::parse(name).is_ok_and(|name| permits(role, &name))
}

/// The kinds of content that Ollama answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Json,
    Stream(Beat),
}

impl Kind {
    const fn value(self) -> Option<HeaderValue> {
        match self {
            Self::Nothing => None,
            Self::Json => Some(HeaderValue::from_static("application/json; charset=utf-8")),
            Self::Stream(beat) => Some(beat.stream_type()),
        }
    }
}

fn kind(head: &Head) -> Result<Kind, Rejection> {
    if head.encoding == Encoding::Other {
        return Err(invalid("a compressed answer"));
    }
    let value = head.content_type.as_deref().unwrap_or_default();
    let end = value.iter().position(|b| *b == b';').unwrap_or(value.len());
    match value.get(..end) {
        Some(b"application/json") => Ok(Kind::Json),
        Some(b"application/x-ndjson") => Ok(Kind::Stream(Beat::Space)),
        Some(b"text/event-stream") => Ok(Kind::Stream(Beat::Comment)),
        Some(b"") => Ok(Kind::Nothing),
        Some(_) | None => Err(invalid("an answer of an unexpected content type")),
    }
}

fn unexpected(fault: UpstreamFault) -> Rejection {
    Rejection::Upstream { fault, detail: "the answer is not of the expected shape".to_owned() }
}

fn invalid(detail: &str) -> Rejection {
    Rejection::Upstream { fault: UpstreamFault::Invalid, detail: detail.to_owned() }
}

/// Reads a refusal for the log, and tells the client what its kind is.
async fn refused(facts: &Facts, status: StatusCode, mut reply: Reply) -> Rejection {
    // The text is for the log alone: nobody waits long for it.
    let bytes = reply.body.beginning(MAX_REFUSAL, REFUSAL).await;
    let fault = response::classify(facts.endpoint, status.as_u16(), &bytes);
    let said = response::original(&bytes).unwrap_or_default();
    Rejection::Upstream { fault, detail: format!("{}: {said}", status.as_u16()) }
}

async fn read_whole(reply: &mut Reply, limit: usize) -> Result<Vec<u8>, Rejection> {
    let mut bytes = Vec::new();
    loop {
        match reply.body.next().await {
            Ok(piece) if bytes.len().saturating_add(piece.len()) > limit => {
                let detail = format!("an answer above {limit} bytes");
                return Err(Rejection::Upstream { fault: UpstreamFault::TooLong, detail });
            }
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(PipeEnd::Clean) => return Ok(bytes),
            Err(PipeEnd::Silent) => {
                let detail = "silent in the middle of an answer".to_owned();
                return Err(Rejection::Upstream { fault: UpstreamFault::Timeout, detail });
            }
            Err(PipeEnd::Broken | PipeEnd::Stalled) => {
                let detail = "the connection broke in the middle of an answer".to_owned();
                return Err(Rejection::Upstream { fault: UpstreamFault::Cut, detail });
            }
        }
    }
}
