//! `explain`: what the policy would do with a request, stage by stage, and what Ollama would get.
//!
//! Guarantees: the decisions are made by the functions that serve; nothing is sent or counted; standard output is the
//! body that Ollama would get, byte for byte, and nothing else; exit 0 where it would be sent, 1 where not.
//! Does not: take from a rate, or know what Ollama would answer.

mod budgets;
mod caller;

use super::key::{Console, IdArgument};
use crate::config::types::{Rate, Role};
use crate::gateway::Policy;
use crate::limits::Ledger;
use crate::ollama::call::{self, Boundary, Call, Rules};
use crate::ollama::dialect::{Told, error_body};
use crate::ollama::endpoint::{Class, Dialect, Endpoint, NoRoute, PathParameter, Payload, RateClass};
use crate::ollama::fault::BodyFault;
use crate::ollama::model_name::permits;
use crate::pipeline::admit::{self, Asked};
use crate::pipeline::{budget, forward, headers};
use crate::rejection::Rejection;
use crate::store::{Store, StoreError};
use crate::telemetry::request_id::RequestId;
use bytes::Bytes;
use caller::{Caller, authenticate, listed};
use clap::Args;
use std::io::{Read as _, Write};
use std::net::IpAddr;
use std::process::ExitCode;
use std::time::SystemTime;

/// Which request.
#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// The id of the key that it would come with.
    #[arg(long, value_name = "ID", conflicts_with = "role")]
    pub key: Option<IdArgument>,
    /// The role that it would come with, instead of a key.
    #[arg(long)]
    pub role: Option<String>,
    /// The address that it would come from.
    #[arg(long, value_name = "ADDRESS")]
    pub from: Option<IpAddr>,
    /// GET, POST, …
    pub method: String,
    /// The path, for example /api/chat
    pub path: String,
}

/// Whether it would be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It would.
    Sent,
    /// It would be answered here.
    AnsweredHere,
    /// It would be refused.
    Refused,
}

impl Verdict {
    /// The exit code of the process.
    #[must_use]
    pub fn exit_code(self) -> ExitCode {
        match self {
            Self::Sent | Self::AnsweredHere => ExitCode::SUCCESS,
            Self::Refused => ExitCode::FAILURE,
        }
    }
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No id.
    #[error(transparent)]
    Key(#[from] super::key::KeyCommandError),
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The body cannot be read, or nothing can be written.
    #[error("standard input or output: {0}")]
    Stream(#[from] std::io::Error),
}

impl ExplainError {
    /// 1: it failed; 2: it was asked for wrongly.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Key(error) => error.exit_code(),
            Self::Store(_) | Self::Stream(_) => 1,
        }
    }
}

/// What has become of the request: it goes on with a value, or it ended.
type Stage<T> = Result<T, Ended>;

enum Ended {
    Refused(Rejection),
    Here,
    Failed(ExplainError),
}

impl From<std::io::Error> for Ended {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.into())
    }
}

/// What Ollama would get as a body.
enum Content {
    Nothing,
    Call(Box<Call>),
    PassedOn,
}

impl Content {
    fn call(&self) -> Option<&Call> {
        match self {
            Self::Call(call) => Some(call),
            Self::Nothing | Self::PassedOn => None,
        }
    }
}

/// Explains one request; its body comes from standard input where its route takes one.
///
/// # Errors
/// [`ExplainError`]
pub async fn run(
    wanted: &ExplainArguments,
    (policy, store): (&Policy, &Store),
    now: SystemTime,
    console: Console<'_>,
) -> Result<Verdict, ExplainError> {
    let Console { out, err } = console;
    match explain(wanted, (policy, store), now, err).await {
        Ok(content) => {
            match content {
                Content::Nothing => {}
                Content::Call(call) => out.write_all(&call.body())?,
                Content::PassedOn => drop(std::io::copy(&mut std::io::stdin().lock(), out)?),
            }
            out.flush()?;
            Ok(Verdict::Sent)
        }
        Err(Ended::Here) => Ok(Verdict::AnsweredHere),
        Err(Ended::Failed(error)) => Err(error),
        Err(Ended::Refused(rejection)) => {
            writeln!(err, "{}", refusal(&rejection, Endpoint::dialect_of_path(&wanted.path)))?;
            Ok(Verdict::Refused)
        }
    }
}

async fn explain(
    wanted: &ExplainArguments,
    (policy, store): (&Policy, &Store),
    now: SystemTime,
    err: &mut (dyn Write + Send),
) -> Stage<Content> {
    let (endpoint, parameter) = route(wanted, err)?;
    let caller = authenticate(wanted, (policy, store), now, err).await?;
    authorize(wanted, endpoint, &caller.role, err)?;
    limit(endpoint, policy, err)?;
    let ledger = Ledger::default();
    ledger.read(store, now).await.map_err(|error| Ended::Failed(error.into()))?;
    let content = admit((endpoint, &parameter), policy, (&caller, &ledger), err)?;
    queue(policy, &caller.role, err)?;
    head(wanted, (endpoint, &parameter), (policy, content.call()), err)?;
    Ok(content)
}

fn say(err: &mut (dyn Write + Send), stage: &str, text: &str) -> Stage<()> {
    Ok(writeln!(err, "{stage:<14}{text}")?)
}

fn route(wanted: &ExplainArguments, err: &mut (dyn Write + Send)) -> Stage<(Endpoint, PathParameter)> {
    let path = wanted.path.split('?').next().unwrap_or_default();
    let found = Endpoint::find(&wanted.method, path).map_err(|no| match no {
        NoRoute::UnknownPath => Ended::Refused(Rejection::UnknownRoute),
        NoRoute::UnknownMethod(allow) => Ended::Refused(Rejection::MethodNotAllowed { allow }),
    })?;
    let facts = found.0.facts();
    say(err, "route", &format!("{} ({:?})", facts.name, facts.class).to_lowercase())?;
    if facts.class == Class::Public {
        say(err, "", "answered here, for anybody; Ollama gets nothing")?;
        return Err(Ended::Here);
    }
    Ok(found)
}

fn authorize(wanted: &ExplainArguments, endpoint: Endpoint, role: &Role, err: &mut (dyn Write + Send)) -> Stage<()> {
    if !role.addresses.is_empty() {
        say(err, "authorize", &format!("only from {}", listed(&role.addresses)))?;
        if !wanted.is_from(&role.addresses) {
            return Err(Ended::Refused(Rejection::AddressForbidden));
        }
    }
    if !role.endpoints.contains(endpoint) {
        return Err(Ended::Refused(Rejection::EndpointForbidden));
    }
    say(err, "authorize", &format!("{} may call {}", role.name, endpoint.facts().name))
}

fn limit(endpoint: Endpoint, policy: &Policy, err: &mut (dyn Write + Send)) -> Stage<()> {
    let limits = &policy.config.limits;
    let told = |name: &str, rate: Rate| {
        format!("{name} {} in {}, {} at once", rate.count, humantime::format_duration(rate.per), rate.burst)
    };
    let text = match endpoint.facts().rate {
        RateClass::General => told("general", limits.general),
        RateClass::Health => told("health", limits.health),
        RateClass::Chat => format!("{}; {}", told("chat", limits.chat), told("general", limits.general)),
    };
    say(err, "limit", &format!("{text} (not counted now)"))
}

fn admit(
    (endpoint, parameter): (Endpoint, &PathParameter),
    policy: &Policy,
    (caller, ledger): (&Caller, &Ledger),
    err: &mut (dyn Write + Send),
) -> Stage<Content> {
    if let PathParameter::Model(name) = parameter
        && !permits(&caller.role, name)
    {
        return Err(Ended::Refused(Rejection::Body(BodyFault::ModelNotFound)));
    }
    let payload = endpoint.facts().payload;
    match payload {
        Payload::Nothing => return say(err, "admit", "no body").map(|()| Content::Nothing),
        Payload::Blob => {
            let rate = policy.config.server.body_min_rate;
            say(err, "admit", &format!("the body is passed on as it comes: of any size, at {rate} bytes a second"))?;
            return Ok(Content::PassedOn);
        }
        Payload::Json | Payload::Multipart => {}
    }
    let validation = &policy.config.validation;
    let cap = admit::cap(endpoint, validation);
    let mut body = Vec::new();
    std::io::stdin().lock().take((cap as u64).saturating_add(1)).read_to_end(&mut body)?;
    let body = Bytes::from(body);
    if body.len() > cap {
        return Err(Ended::Refused(Rejection::BodyTooLarge { limit: cap }));
    }
    let role = budget::lowered(&caller.role, &caller.subject, ledger, body.len());
    let rules = Rules { role: &role, validation, content: &policy.content, pins: &policy.config.models };
    let call = if payload == Payload::Multipart {
        let boundary = boundary_of(&body).ok_or(Ended::Refused(Rejection::ContentTypeUnsupported))?;
        call::parse_multipart(&boundary, &body, &rules)
    } else {
        call::parse(endpoint, &body, &rules)
    };
    let call = call.map_err(|fault| Ended::Refused(Rejection::Body(fault)))?;
    tell(&call, body.len(), err)?;
    if endpoint.facts().class == Class::Inference {
        budgets::reserve(caller, ledger, &call, err)?;
    }
    Ok(Content::Call(Box::new(call)))
}

/// A form begins with its boundary; the header that would announce it is not here.
fn boundary_of(body: &[u8]) -> Option<Boundary> {
    let line = body.split(|byte| *byte == b'\r').next()?.strip_prefix(b"--")?;
    Boundary::of_content_type(&format!("multipart/form-data; boundary=\"{}\"", std::str::from_utf8(line).ok()?))
}

fn tell(call: &Call, came: usize, err: &mut (dyn Write + Send)) -> Stage<()> {
    if let Some(model) = call.model() {
        say(err, "admit", &format!("the model {} is allowed", model.canonical()))?;
    }
    if let Some(tokens) = call.max_tokens() {
        say(err, "", &format!("at most {tokens} tokens of answer"))?;
    }
    for rule in call.matches() {
        say(err, "", &format!("validation.{rule} matches, and is only logged"))?;
    }
    say(err, "", &format!("{came} bytes came, {} bytes go on, written anew", call.body_bytes()))
}

fn queue(policy: &Policy, role: &Role, err: &mut (dyn Write + Send)) -> Stage<()> {
    let own = role.concurrent.map_or_else(String::new, |most| format!("{most} in flight of one key, "));
    say(err, "queue", &format!("{own}{} to Ollama, of all", policy.config.upstream.max_connections))
}

fn head(
    wanted: &ExplainArguments,
    (endpoint, parameter): (Endpoint, &PathParameter),
    (policy, call): (&Policy, Option<&Call>),
    err: &mut (dyn Write + Send),
) -> Stage<()> {
    let asked = if wanted.method == "HEAD" { Asked::Head } else { Asked::Whole };
    let path = forward::path(endpoint, parameter).ok_or(Ended::Refused(Rejection::Internal))?;
    say(err, "forward", &format!("{} {path}", forward::method(endpoint, asked)))?;
    for line in headers::to_ollama(policy, RequestId::new(), wanted.client()).lines() {
        say(err, "", line)?;
    }
    let Some(call) = call else { return Ok(()) };
    say(err, "", &format!("content-type: {}", call.media_type().as_str()))?;
    say(err, "", &format!("content-length: {}", call.body_bytes()))
}

/// What the caller would be told, and what the log would.
fn refusal(rejection: &Rejection, dialect: Dialect) -> String {
    let facts = rejection.facts();
    let text = rejection.exact().map_or_else(|| facts.public.to_owned(), |exact| format!("{} ({exact})", facts.public));
    let told = Told { status: facts.status.as_u16(), code: facts.code, text: &text, request_id: "req_…" };
    format!("{:<14}{} {}\n{:<14}{}", "refused", facts.status.as_u16(), facts.code, "", error_body(dialect, &told))
}
