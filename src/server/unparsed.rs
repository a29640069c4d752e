//! What is answered to bytes that are no HTTP request.
//!
//! There is no request then that could enter the pipeline; it is said as everything else is said: JSON, a code, an id, the
//! security headers, and a line in the log.

use crate::gateway::Policy;
use crate::http1::request::{After, HeadFault};
use crate::http1::response::{self, Asked, HeadAlone};
use crate::ollama::dialect::{Told, error_body};
use crate::ollama::endpoint::Dialect;
use crate::pipeline::peer::Protocol;
use crate::pipeline::reply::Headers;
use crate::telemetry::clock;
use crate::telemetry::event::{About, SecurityEvent};
use crate::telemetry::request_id::RequestId;
use bytes::BytesMut;
use http::{StatusCode, Version};
use std::net::IpAddr;

/// Writes the whole answer; its connection ends with it.
pub(super) fn answer(fault: HeadFault, client: IpAddr, policy: &Policy, out: &mut BytesMut) {
    let (status, code, text) = match fault {
        HeadFault::TooLarge => (
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers_too_many",
            "The request's head is too large or has too many headers.",
        ),
        HeadFault::TargetTooLong => (StatusCode::URI_TOO_LONG, "target_too_long", "The request target is too long."),
        HeadFault::Malformed => (StatusCode::BAD_REQUEST, "request_malformed", "The request is not well-formed HTTP."),
    };
    let id = RequestId::new();
    report(id, client, (status, code));
    let told = Told { status: status.as_u16(), code, text, request_id: id.as_str() };
    let body = error_body(Dialect::Ollama, &told);
    let headers = Headers::of_json(policy, id);
    let asked = Asked { head_alone: HeadAlone::No, version: Version::HTTP_11, after: After::Closed };
    let lines = |out: &mut BytesMut| headers.write_lines(out);
    response::head((status, lines), Some(body.len() as u64), (asked, clock::now()), out);
    out.extend_from_slice(body.as_bytes());
}

fn report(id: RequestId, client: IpAddr, (status, code): (StatusCode, &'static str)) {
    SecurityEvent::InvalidInput.report(&About {
        client: Some(client),
        request_id: Some(id),
        reason: Some(code),
        ..About::default()
    });
    tracing::info!(
        event = "request",
        request_id = %id,
        client = %client,
        protocol = Protocol::Http1.name(),
        status = status.as_u16(),
        code,
        outcome = "refused",
    );
}
