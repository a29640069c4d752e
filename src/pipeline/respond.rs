//! Last stage: the response, with the headers that every answer carries.

use super::answer::{Answer, Preflight};
use super::body::Body;
use super::headers;
use super::peer::Protocol;
use super::record::Record;
use crate::gateway::Policy;
use http::Response;
use http::header::{self, HeaderValue};

/// Makes the response. The record leaves inside its body.
#[must_use]
pub fn respond(answer: Answer, policy: &Policy, mut record: Record) -> Response<Body> {
    let (status, mut headers, body, connection, preflight) = answer.into_parts();
    headers::to_client(policy, &record, &mut headers);
    if preflight == Preflight::Yes {
        policy.cors.write_preflight(&mut headers);
    }
    if record.protocol == Protocol::Http1 && record.must_close(connection) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    record.answered(status);
    let mut response = Response::new(body.with_record(record));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}
