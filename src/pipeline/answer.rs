//! What may become a response: a sanitised answer, something said here, or a refusal.
//!
//! Guarantees: an [`Answer`] is made by `sanitise`, from a [`Local`], or from a [`Rejection`], or is one of these
//! still to come ([`Pending`]); a refusal is JSON in the caller's dialect with a stable code and the request's id (`field.md` E 24).

use super::body::Body;
use super::heartbeat::Pending;
use super::peer::Peer;
use super::record::{Outcome, Record};
use super::reply::{Fields, Headers, Reply};
use super::route::Local;
use super::token;
use crate::gateway::Policy;
use crate::ollama::dialect::{Told, error_body};
use crate::rejection::{Connection, Rejection};
use crate::telemetry::request_id::RequestId;
use http::StatusCode;
use http::header::{self, HeaderValue};

/// What may become a response.
///
/// ```compile_fail
/// fn forge() -> ollama_gateway::pipeline::answer::Answer {
///     ollama_gateway::pipeline::answer::Answer { status: http::StatusCode::OK, headers: Vec::new(),
///         body: ollama_gateway::pipeline::body::Body::empty(), connection: ollama_gateway::rejection::Connection::Keep }
/// }
/// ```
/// ```
/// fn read(a: &ollama_gateway::pipeline::answer::Answer) -> http::StatusCode { a.status() }
/// ```
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    headers: Fields,
    body: Body,
    connection: Connection,
    preflight: Preflight,
}

/// Whether an answer is one to a preflight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preflight {
    /// It carries the methods and headers that may be used.
    Yes,
    /// It does not.
    No,
}

impl Answer {
    /// Its status.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    pub(in crate::pipeline) fn sanitised(status: StatusCode, kind: Option<HeaderValue>, body: Body) -> Self {
        let headers = kind.into_iter().map(|kind| (header::CONTENT_TYPE, kind)).collect();
        Self { status, headers, body, connection: Connection::Keep, preflight: Preflight::No }
    }

    /// One that is still to come: its head goes out now.
    pub(in crate::pipeline) fn pending(pending: Box<Pending>, peer: &Peer) -> Self {
        let kind = pending.format().content_type();
        Self::sanitised(StatusCode::OK, Some(kind), Body::pending(pending, peer))
    }

    pub(in crate::pipeline) fn head(status: StatusCode, kind: Option<HeaderValue>) -> Self {
        Self::sanitised(status, kind, Body::empty())
    }

    /// What is said here.
    #[must_use]
    pub fn local(local: Local) -> Self {
        let (status, kind, text, preflight) = match local {
            Local::Root => (StatusCode::OK, "text/plain; charset=utf-8", "ollama-gateway is running", Preflight::No),
            Local::Health => (StatusCode::OK, "application/json", "{\"status\":\"ok\"}", Preflight::No),
            Local::Preflight => (StatusCode::NO_CONTENT, "", "", Preflight::Yes),
        };
        let kind = (!kind.is_empty()).then(|| HeaderValue::from_static(kind));
        Self { preflight, ..Self::sanitised(status, kind, Body::whole(text.as_bytes().to_vec())) }
    }

    /// A JSON document that was made here.
    pub(in crate::pipeline) fn document(json: String) -> Self {
        Self::sanitised(StatusCode::OK, Some(HeaderValue::from_static("application/json")), Body::whole(json.into()))
    }

    /// A refusal.
    #[must_use]
    pub fn refuse(rejection: Rejection, record: &mut Record) -> Self {
        let facts = rejection.facts();
        record.refused(&rejection);
        record.ended(Outcome::Refused);
        if let Rejection::AuthenticationThrottled(exceeded) = &rejection {
            record.quota = Some(exceeded.quota);
        }
        let (text, id) = (rejection.text(), record.id.to_string());
        let body = if let Rejection::Token(fault) = &rejection {
            token::error_body(*fault, &text, &id)
        } else {
            error_body(record.dialect, &told(&rejection, &text, &id))
        };
        let body = Body::refusal(body.into_bytes());
        let mut headers = Fields::with_capacity(4);
        headers.push((header::CONTENT_TYPE, HeaderValue::from_static("application/json")));
        if let Some(seconds) = facts.retry_after {
            headers.push((header::RETRY_AFTER, HeaderValue::from(seconds)));
        }
        if let Rejection::MethodNotAllowed { allow } = rejection {
            headers.push((header::ALLOW, HeaderValue::from_static(allow)));
        }
        if facts.status == StatusCode::UNAUTHORIZED {
            headers.push((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ollama-gateway\"")));
        }
        Self { status: facts.status, headers, body, connection: facts.connection, preflight: Preflight::No }
    }

    pub(in crate::pipeline) fn into_parts(self) -> (StatusCode, Fields, Body, Connection, Preflight) {
        (self.status, self.headers, self.body, self.connection, self.preflight)
    }
}

/// What a client is told of a refusal, for its dialect to put into words.
pub(in crate::pipeline) fn told<'a>(rejection: &Rejection, text: &'a str, request_id: &'a str) -> Told<'a> {
    let facts = rejection.facts();
    Told { status: facts.status.as_u16(), code: facts.code, text, request_id }
}

/// What is said after a fault of ours that nothing else caught.
#[must_use]
pub(in crate::pipeline) fn after_panic(policy: &Policy) -> Reply {
    let body = b"{\"error\":\"The gateway failed to answer.\",\"code\":\"internal_error\"}";
    let headers = Headers::of_json(policy, RequestId::new());
    let (status, connection) = (StatusCode::INTERNAL_SERVER_ERROR, Connection::Keep);
    Reply { status, headers, connection, body: Body::whole(body.to_vec()) }
}
