//! How an error is said in each of the three protocols: as a body, and as the last frames of a stream.
//!
//! Guarantees: a body holds the public sentence, the stable code and the request id, and no byte of a client's or of
//! Ollama's. Answers `threats.md` §4.5 (clients that parse JSON never meet an HTML page or a bare word).

use serde_json::Value;

use crate::ollama::endpoint::{Dialect, Endpoint};

/// What a client is told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    /// The HTTP status it goes with.
    pub status: u16,
    /// The stable code.
    pub code: &'a str,
    /// The sentence.
    pub text: &'a str,
    /// The id of the request.
    pub request_id: &'a str,
}

/// The whole body of a refusal, in the caller's dialect.
#[must_use]
pub fn error_body(dialect: Dialect, told: &Told<'_>) -> String {
    match dialect {
        // The `ollama` command prints the `status` of a 401 and nothing else of it (api/types.go, AuthorizationError).
        Dialect::Ollama if told.status == 401 => serde_json::json!({
            "error": told.text, "code": told.code, "request_id": told.request_id, "status": told.text,
        }),
        Dialect::Ollama => serde_json::json!({
            "error": told.text, "code": told.code, "request_id": told.request_id,
        }),
        Dialect::OpenAi => serde_json::json!({
            "error": { "message": told.text, "type": openai_type(told.status), "param": null, "code": told.code,
                       "request_id": told.request_id },
        }),
        Dialect::Anthropic => serde_json::json!({
            "type": "error",
            "error": { "type": anthropic_type(told.status), "message": told.text, "code": told.code },
            "request_id": told.request_id,
        }),
    }
    .to_string()
}

/// OpenAI's `error.type` of a status.
#[must_use]
pub const fn openai_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// Anthropic's `error.type` of a status.
#[must_use]
pub const fn anthropic_type(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        400..=499 => "invalid_request_error",
        503 | 529 => "overloaded_error",
        _ => "api_error",
    }
}

/// What was last seen of a stream that now ends with an error: what the protocol wants repeated.
///
/// The three texts are JSON as it came (a string with its quotes, a number).
#[derive(Debug, Clone, Copy, Default)]
pub struct LastSeen<'a> {
    /// The id of the response.
    pub id: Option<&'a str>,
    /// The model.
    pub model: Option<&'a str>,
    /// When it began.
    pub created: Option<&'a str>,
    /// The number of the next event.
    pub next_sequence: u64,
}

/// The last frames of a stream that has failed: the error, and what ends a stream in this protocol, so that neither a
/// client that reads errors nor one that waits for the end takes half an answer for a whole one.
///
/// - NDJSON: one line with `error`, as Ollama itself ends a stream. No `done`: a client that looks at nothing else would
///   take the answer as complete; all official clients raise at `error`.
/// - OpenAI: an event with `error` (the official clients raise at it), then `[DONE]`. `/v1/responses`: `response.failed`.
/// - Anthropic: `event: error` (the official clients raise at it), then `message_stop`.
#[must_use]
pub fn error_frames(endpoint: Endpoint, told: &Told<'_>, last: &LastSeen<'_>) -> Vec<u8> {
    let dialect = endpoint.facts().dialect;
    let body = error_body(dialect, told);
    match dialect {
        Dialect::Ollama => format!("{body}\n"),
        Dialect::OpenAi if endpoint == Endpoint::Responses => response_failed(told, last),
        Dialect::OpenAi => format!("data: {body}\n\ndata: [DONE]\n\n"),
        Dialect::Anthropic => {
            format!("event: error\ndata: {body}\n\nevent: message_stop\ndata: {{\"type\":\"message_stop\"}}\n\n")
        }
    }
    .into_bytes()
}

/// OpenAI's `response.failed` event, with the id, the model and the number that the stream had.
fn response_failed(told: &Told<'_>, last: &LastSeen<'_>) -> String {
    let seen = |json: Option<&str>| json.and_then(|json| serde_json::from_str(json).ok()).unwrap_or(Value::Null);
    let event = serde_json::json!({
        "type": "response.failed",
        "sequence_number": last.next_sequence,
        "response": {
            "id": seen(last.id), "object": "response", "created_at": seen(last.created), "status": "failed",
            "error": { "code": told.code, "message": told.text, "request_id": told.request_id },
            "incomplete_details": null, "instructions": null, "metadata": {}, "model": seen(last.model),
            "output": [], "parallel_tool_calls": true, "temperature": null, "tool_choice": "auto", "tools": [],
            "top_p": null, "usage": null,
        },
    });
    format!("event: response.failed\ndata: {event}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: Told<'_> = Told { status: 502, code: "upstream_cut", text: "a \"b\"\n", request_id: "r" };

    fn frames(endpoint: Endpoint, last: &LastSeen<'_>) -> String {
        String::from_utf8(error_frames(endpoint, &TOLD, last)).unwrap()
    }

    #[test]
    fn a_failed_stream_says_so_and_ends() {
        let last = LastSeen::default();
        let native = frames(Endpoint::Chat, &last);
        assert_eq!(native, "{\"error\":\"a \\\"b\\\"\\n\",\"code\":\"upstream_cut\",\"request_id\":\"r\"}\n");
        let openai = frames(Endpoint::Completions, &last);
        assert!(openai.starts_with("data: {\"error\":{\"message\":") && openai.ends_with("}\n\ndata: [DONE]\n\n"));
        let anthropic = frames(Endpoint::Messages, &last);
        assert!(anthropic.starts_with("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\""));
        assert!(anthropic.ends_with("\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"));
    }

    #[test]
    fn a_failed_response_goes_on_with_what_was_seen() {
        let last = LastSeen { id: Some("\"resp_1\""), model: Some("\"m\""), created: Some("5"), next_sequence: 7 };
        let frame = frames(Endpoint::Responses, &last);
        let json = frame.strip_prefix("event: response.failed\ndata: ").unwrap();
        let event: Value = serde_json::from_str(json.trim_end()).unwrap();
        let response = &event["response"];
        assert_eq!(
            (&event["sequence_number"], &response["id"], &response["model"]),
            (&7.into(), &"resp_1".into(), &"m".into())
        );
        assert_eq!((&response["status"], &response["error"]["code"]), (&"failed".into(), &"upstream_cut".into()));
    }
}
