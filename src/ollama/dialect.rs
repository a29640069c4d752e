//! How an error is said in each of the three protocols: as a body, and as the last frames of a stream.
//!
//! Guarantees: a body holds the public sentence, the stable code and the request id, and no byte of a client's or of
//! Ollama's. Answers `threats.md` §4.5 (clients that parse JSON never meet an HTML page or a bare word).

use crate::ollama::endpoint::Dialect;

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
