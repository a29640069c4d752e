//! Last stage: the reply, with the headers that every answer carries.

use super::answer::{Answer, Preflight};
use super::body::Body;
use super::cors::Decision;
use super::record::Record;
use super::reply::{Fields, Headers, Reply};
use crate::gateway::Policy;
use crate::limits::Quota;
use crate::rejection::Connection;
use crate::telemetry::request_id::RequestId;
use http::header::{self, HeaderValue};
use std::sync::Arc;

/// Makes the reply. The record leaves inside its body.
#[must_use]
pub fn respond(answer: Answer, policy: &Policy, mut record: Box<Record>) -> Reply {
    let (status, mut own, body, connection, preflight) = answer.into_parts();
    if preflight == Preflight::Yes {
        policy.cors.write_preflight(&mut own);
    }
    let connection = if record.must_close(connection) { Connection::Close } else { Connection::Keep };
    record.answered(status);
    let body = if record.is_head() { headless(body, &mut own) } else { body };
    let headers = Marks::of(&record).headers(policy, own);
    Reply { status, headers, connection, body: body.with_record(record) }
}

/// A `HEAD` is told how long the body would be, and gets none: HTTP/2's library would send it (RFC 9110 §9.3.2).
fn headless(body: Body, own: &mut Fields) -> Body {
    let (body, length) = body.headless();
    own.extend(length.map(|length| (header::CONTENT_LENGTH, HeaderValue::from(length))));
    body
}

/// What the headers of an answer tell of its request.
struct Marks {
    id: RequestId,
    cors: Decision,
    quota: Option<Quota>,
}

impl Marks {
    fn of(record: &Record) -> Self {
        Self { id: record.id, cors: record.cors.clone(), quota: record.quota }
    }

    fn headers(self, policy: &Policy, mut own: Fields) -> Headers {
        policy.cors.write(&self.cors, &mut own);
        Headers { standing: Arc::clone(&policy.standing.to_client), id: self.id, quota: self.quota, own }
    }
}

/// What the head of an answer needs to know, for the case that it goes out while its record is still written.
pub(in crate::pipeline) struct Head {
    marks: Marks,
    policy: Arc<Policy>,
    connection: Connection,
}

impl Head {
    /// Of an answer to this request.
    pub(in crate::pipeline) fn of(policy: &Arc<Policy>, record: &Record) -> Self {
        let connection = if record.must_close(Connection::Keep) { Connection::Close } else { Connection::Keep };
        Self { marks: Marks::of(record), policy: Arc::clone(policy), connection }
    }

    /// The reply: the record comes to its body later.
    pub(in crate::pipeline) fn respond(self, answer: Answer) -> Reply {
        let (status, own, body, ..) = answer.into_parts();
        Reply { status, headers: self.marks.headers(&self.policy, own), connection: self.connection, body }
    }
}
