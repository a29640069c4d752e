//! What is answered to bytes that are no HTTP request.
//!
//! There is no request then that could enter the pipeline; it is said as everything else is said: JSON, a code, an id, the
//! security headers, and a line in the log.

use crate::gateway::Policy;
use crate::http1::request::HeadFault;
use crate::ollama::dialect::{Told, error_body};
use crate::ollama::endpoint::Dialect;
use crate::pipeline::cors::Decision;
use crate::pipeline::headers::{Marks, to_client};
use crate::pipeline::peer::Protocol;
use crate::telemetry::event::{About, SecurityEvent};
use crate::telemetry::request_id::RequestId;
use http::HeaderMap;
use std::net::IpAddr;

/// The whole answer; its connection ends with it.
pub(super) fn answer(fault: HeadFault, client: IpAddr, policy: &Policy) -> Vec<u8> {
    let (status, line, code, text) = match fault {
        HeadFault::TooLarge => (
            431,
            "431 Request Header Fields Too Large",
            "headers_too_many",
            "The request's head is too large or has too many headers.",
        ),
        HeadFault::TargetTooLong => (414, "414 URI Too Long", "target_too_long", "The request target is too long."),
        HeadFault::Malformed => (400, "400 Bad Request", "request_malformed", "The request is not well-formed HTTP."),
    };
    let id = RequestId::new();
    SecurityEvent::InvalidInput.report(&About {
        client: Some(client),
        request_id: Some(id),
        reason: Some(code),
        ..About::default()
    });
    tracing::info!(event = "request", request_id = %id, client = %client, protocol = Protocol::Http1.name(), status, code, outcome = "refused");
    let told = Told { status, code, text, request_id: &id.to_string() };
    let body = error_body(Dialect::Ollama, &told);
    let headers = to_client(policy, &Marks { id, cors: Decision::NoOrigin, quota: None }, HeaderMap::new());
    let field = |(name, value): (&_, &http::HeaderValue)| Some(format!("{name}: {}\r\n", value.to_str().ok()?));
    let fields: String = headers.iter().filter_map(field).collect();
    format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\
         {fields}\r\n{body}",
        body.len()
    )
    .into_bytes()
}
