//! Sixth stage: what does the body say, and may this caller say it?
//!
//! Guarantees of [`Admitted`]: the body was read whole, under its cap and above its least rate, in plain
//! `application/json` (a transcription: `multipart/form-data`), and parsed into a call of this endpoint: the
//! model canonical and permitted, every field by its fate, our own bytes around strings that were checked. An upload has
//! been read not at all. Answers `threats.md` §0.3, §2, §4.4, §5.

use super::authenticate::Principal;
use super::budget;
use super::conversation;
use super::limit::Limited;
use super::queue::whole_seconds;
use super::record::Record;
use crate::config::types::{Role, Validation};
use crate::gateway::{BODY_PAGE, Gateway, Policy};
use crate::limits::{Permit, Subject};
use crate::ollama::call::{self, Boundary, Call, Rules};
use crate::ollama::endpoint::{Endpoint, Media, PathParameter, Payload};
use crate::ollama::fault::BodyFault;
use crate::ollama::model_name::permits;
use crate::rejection::Rejection;
use crate::telemetry::event::SecurityEvent;
use crate::upstream::upload::{Kept, MinimumRate, Pace, Upload};
use bytes::Bytes;
use http::header::{self, HeaderMap};
use http_body::Body as _;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// A request whose body is ours.
///
/// ```compile_fail
/// fn forge(a: &ollama_gateway::pipeline::admit::Admitted) -> ollama_gateway::pipeline::admit::Admitted {
///     a.clone()
/// }
/// ```
/// ```
/// fn read(a: &ollama_gateway::pipeline::admit::Admitted) -> ollama_gateway::ollama::endpoint::Endpoint { a.endpoint() }
/// ```
#[derive(Debug)]
pub struct Admitted {
    endpoint: Endpoint,
    parameter: PathParameter,
    method: Asked,
    principal: Principal,
    role: Arc<Role>,
    content: Content,
    own: Permit,
    _memory: Option<OwnedSemaphorePermit>,
}

/// What of the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// All of it.
    Whole,
    /// Its head only.
    Head,
}

/// What goes to Ollama as a body.
#[derive(Debug)]
pub enum Content {
    /// None.
    Nothing,
    /// A call, parsed and written anew.
    Call(Box<Call>),
    /// Bytes, passed on as they come.
    Upload(Pin<Box<Upload>>),
}

impl Admitted {
    /// The endpoint.
    #[must_use]
    pub const fn endpoint(&self) -> Endpoint {
        self.endpoint
    }

    /// The path's parameter.
    #[must_use]
    pub const fn parameter(&self) -> &PathParameter {
        &self.parameter
    }

    /// What of the answer is wanted.
    #[must_use]
    pub const fn asked(&self) -> Asked {
        self.method
    }

    /// Who calls.
    #[must_use]
    pub const fn principal(&self) -> &Principal {
        &self.principal
    }

    /// The call, where the body is one.
    #[must_use]
    pub fn call(&self) -> Option<&Call> {
        match &self.content {
            Content::Call(call) => Some(call),
            Content::Nothing | Content::Upload(_) => None,
        }
    }

    /// The caller's role.
    #[must_use]
    pub const fn role(&self) -> &Arc<Role> {
        &self.role
    }

    /// The content, and the caller's own permit.
    pub(in crate::pipeline) fn into_content(self) -> (Facts, Content, Permit) {
        let facts = Facts { endpoint: self.endpoint, parameter: self.parameter, asked: self.method, role: self.role };
        (facts, self.content, self.own)
    }
}

/// What is left of a request when its body has gone.
#[derive(Debug)]
pub(in crate::pipeline) struct Facts {
    pub(in crate::pipeline) endpoint: Endpoint,
    pub(in crate::pipeline) parameter: PathParameter,
    pub(in crate::pipeline) asked: Asked,
    pub(in crate::pipeline) role: Arc<Role>,
}

/// Reads and parses the body.
///
/// # Errors
/// 400, 404 (model), 408, 413, 415, 422.
pub async fn admit(
    limited: Limited,
    gateway: &Gateway,
    policy: &Policy,
    record: &mut Record,
) -> Result<Admitted, Rejection> {
    let (routed, principal, role) = limited.into_inner().into_parts();
    let endpoint = routed.endpoint();
    let method = if routed.is_head() { Asked::Head } else { Asked::Whole };
    let (parameter, headers) = routed.into_parts();
    conversation::own(endpoint, &headers, &principal, (gateway, policy), record).await?;
    if let PathParameter::Model(name) = &parameter {
        record.model = Some(name.canonical().to_owned());
        if !permits(&role, name) {
            return Err(Rejection::Body(BodyFault::ModelNotFound));
        }
    }
    // Before the body: a caller with too much in flight does not fill memory with more.
    let subject = principal.subject(record.client);
    let own = own_permit(&subject, &role, gateway)?;
    let mut memory = None;
    let content = match endpoint.facts().payload {
        Payload::Nothing => Content::Nothing,
        Payload::Json | Payload::Multipart => {
            let lowered = |length| budget::lowered(&role, &subject, &gateway.ledger, length);
            let mut room = Room { gateway, held: &mut memory };
            Content::Call(Box::new(call(endpoint, &headers, (policy, &lowered), (record, &mut room)).await?))
        }
        Payload::Blob => upload(&headers, policy, record)?,
    };
    Ok(Admitted { endpoint, parameter, method, principal, role, content, own, _memory: memory })
}

fn upload(headers: &HeaderMap, policy: &Policy, record: &mut Record) -> Result<Content, Rejection> {
    no_encoding(headers)?;
    let Some(body) = record.body.take() else { return Ok(Content::Nothing) };
    Ok(Content::Upload(Box::pin(Upload::new(body, minimum_rate(policy), Box::new(record.peer.activity.upload())))))
}

fn minimum_rate(policy: &Policy) -> MinimumRate {
    let server = &policy.config.server;
    MinimumRate { rate: server.body_min_rate, grace: server.body_grace }
}

async fn call(
    endpoint: Endpoint,
    headers: &HeaderMap,
    (policy, role): (&Policy, &(dyn Fn(usize) -> Arc<Role> + Sync)),
    (record, room): (&mut Record, &mut Room<'_>),
) -> Result<Call, Rejection> {
    let form = form_boundary(endpoint, headers)?;
    no_encoding(headers)?;
    let validation = &policy.config.validation;
    let mut bytes = read_capped(cap(endpoint, validation), minimum_rate(policy), record, room).await?;
    bytes.shrink_to_fit(); // what came in pieces has room for more, and may be kept until Ollama has it
    let bytes = Bytes::from(bytes);
    record.prompt_hash = record.audit.as_ref().and_then(|audit| audit.hash_prompt(&bytes));
    let role = role(bytes.len());
    let rules = Rules { role: &role, validation, content: &policy.content, pins: &policy.config.models };
    let parsed = match form {
        Some(boundary) => call::parse_multipart(&boundary, &bytes, &rules),
        None => call::parse(endpoint, &bytes, &rules),
    };
    let call = parsed.map_err(Rejection::Body)?;
    record.model = call.model().map(|model| model.canonical().to_owned());
    if !call.matches().is_empty() {
        record.note(SecurityEvent::ContentBlocked, "logged");
    }
    Ok(call)
}

/// Routes that take images or audio have room for them besides the text.
#[must_use]
pub const fn cap(endpoint: Endpoint, validation: &Validation) -> usize {
    match endpoint.facts().media {
        // base64 takes four bytes for three.
        Media::Images => validation.max_body.saturating_add(validation.max_images_bytes.saturating_mul(4) / 3),
        Media::Audio => validation.max_body.saturating_add(validation.max_audio_bytes),
        Media::Nothing => validation.max_body,
    }
}

/// The boundary where the route takes a form; `None` where it takes JSON. Each route takes its own type alone.
/// A web page may send a form without asking first; `inspect` has refused foreign origins that show no key.
fn form_boundary(endpoint: Endpoint, headers: &HeaderMap) -> Result<Option<Boundary>, Rejection> {
    if endpoint.facts().payload != Payload::Multipart {
        return json_content_type(headers).map(|()| None);
    }
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    Boundary::of_content_type(value).map(Some).ok_or(Rejection::ContentTypeUnsupported)
}

/// `application/json`, with `charset=utf-8` at most: anything else can be sent by a web page without a preflight.
fn json_content_type(headers: &HeaderMap) -> Result<(), Rejection> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    if value == "application/json" {
        return Ok(()); // what every client sends
    }
    let (kind, parameter) = value.split_once(';').unwrap_or((value, "charset=utf-8"));
    let parameter = parameter.trim().replace('"', "");
    let fits = kind.trim().eq_ignore_ascii_case("application/json") && parameter.eq_ignore_ascii_case("charset=utf-8");
    if fits { Ok(()) } else { Err(Rejection::ContentTypeUnsupported) }
}

/// Ollama decodes zstd on some routes and nothing on others: nothing is passed, so that there is nothing to decode.
fn no_encoding(headers: &HeaderMap) -> Result<(), Rejection> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"identity") => {
            Err(Rejection::ContentEncodingUnsupported)
        }
        Some(_) | None => Ok(()),
    }
}

/// A body that is held in memory may not take longer, however large it is: see `upstream::upload` for those that are not held.
const LONGEST: Duration = Duration::from_secs(120);

/// A share of the memory for bodies.
struct Room<'a> {
    gateway: &'a Gateway,
    held: &'a mut Option<OwnedSemaphorePermit>,
}

impl Room<'_> {
    /// Room for so many bytes in all.
    fn take(&mut self, bytes: usize) -> Result<(), Rejection> {
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = bytes.div_ceil(BODY_PAGE).saturating_sub(held);
        let more = u32::try_from(more).map_err(|_| Rejection::Overloaded { retry_after_s: 1 })?;
        if more == 0 {
            return Ok(());
        }
        let pages = self.gateway.bodies.clone().try_acquire_many_owned(more);
        let pages = pages.map_err(|_| Rejection::Overloaded { retry_after_s: 1 })?;
        match self.held {
            Some(held) => held.merge(pages),
            None => *self.held = Some(pages),
        }
        Ok(())
    }
}

fn own_permit(subject: &Subject, role: &Role, gateway: &Gateway) -> Result<Permit, Rejection> {
    gateway.concurrency.acquire(subject, role.concurrent).map_err(|_| Rejection::TooManyInFlight {
        retry_after_s: whole_seconds(gateway.slots.expected_return(subject)),
    })
}

/// Reads the small body of a request that is answered here.
pub(super) async fn read_small(
    limit: usize,
    (gateway, policy): (&Gateway, &Policy),
    record: &mut Record,
) -> Result<Vec<u8>, Rejection> {
    let mut held = None;
    read_capped(limit, minimum_rate(policy), record, &mut Room { gateway, held: &mut held }).await
}

/// Reads a body into memory: at most `limit` bytes, no slower than the least rate.
async fn read_capped(
    limit: usize,
    minimum: MinimumRate,
    record: &mut Record,
    room: &mut Room<'_>,
) -> Result<Vec<u8>, Rejection> {
    let Some(body) = record.body.peek() else { return Ok(Vec::new()) };
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(Rejection::BodyTooLarge { limit });
    }
    room.take(announced)?;
    let mut bytes = Vec::with_capacity(announced);
    let mut pace = Pace::new(minimum);
    loop {
        let read = poll_fn(|cx| match body.poll_into(&mut bytes, cx) {
            Poll::Ready(read) => Poll::Ready(read.map_err(|_| Rejection::BodyIncomplete)),
            Poll::Pending => pace.poll_gap(cx).map(|()| Err(Rejection::BodyTooSlow)),
        });
        if read.await? == 0 {
            break;
        }
        if bytes.len() > limit {
            return Err(Rejection::BodyTooLarge { limit });
        }
        room.take(bytes.len())?;
        let now = Instant::now();
        if pace.took(bytes.len() as u64, now) == Kept::No || pace.age(now) > LONGEST {
            return Err(Rejection::BodyTooSlow);
        }
    }
    record.body.done();
    record.bytes_in = bytes.len() as u64;
    Ok(bytes)
}
