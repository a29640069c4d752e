//! Last stage: the response, with the headers that every answer carries.

use super::answer::{Answer, Preflight};
use super::body::Body;
use super::headers::{self, Marks};
use super::peer::Protocol;
use super::record::Record;
use crate::gateway::Policy;
use crate::rejection::Connection;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use std::sync::Arc;

/// Makes the response. The record leaves inside its body.
#[must_use]
pub fn respond(answer: Answer, policy: &Policy, mut record: Record) -> Response<Body> {
    let (status, headers, body, connection, preflight) = answer.into_parts();
    let mut headers = headers::to_client(policy, &marks(&record), headers);
    if preflight == Preflight::Yes {
        policy.cors.write_preflight(&mut headers);
    }
    if record.protocol == Protocol::Http1 && record.must_close(connection) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    record.answered(status);
    let body = if record.is_head() { headless(body, &mut headers) } else { body };
    response(status, headers, body.with_record(record))
}

/// A `HEAD` is told how long the body would be, and gets none: HTTP/2's library would send it (RFC 9110 §9.3.2).
fn headless(body: Body, headers: &mut HeaderMap) -> Body {
    let (body, length) = body.headless();
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    body
}

fn marks(record: &Record) -> Marks {
    Marks { id: record.id, cors: record.cors.clone(), quota: record.quota }
}

/// What the head of an answer needs to know, for the case that it goes out while its record is still written.
pub(in crate::pipeline) struct Head {
    marks: Marks,
    policy: Arc<Policy>,
    closes: bool,
}

impl Head {
    /// Of an answer to this request.
    pub(in crate::pipeline) fn of(policy: &Arc<Policy>, record: &Record) -> Self {
        let closes = record.protocol == Protocol::Http1 && record.must_close(Connection::Keep);
        Self { marks: marks(record), policy: Arc::clone(policy), closes }
    }

    /// The response: the record comes to its body later.
    pub(in crate::pipeline) fn respond(self, answer: Answer) -> Response<Body> {
        let (status, headers, body, ..) = answer.into_parts();
        let mut headers = headers::to_client(&self.policy, &self.marks, headers);
        if self.closes {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response(status, headers, body)
    }
}

fn response(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
