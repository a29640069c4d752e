//! What a refusal or a failure of Ollama becomes.
//!
//! Guarantees: what a client learns is one sentence of a closed list, chosen by route, status and a few recognised
//! message shapes; no byte of Ollama's answer is in it (an error of Ollama may hold file paths, addresses, the body of an
//! internal service that a pull reached, a sign-in link with the host's key: `ollama-facts.md` (d), `threats.md` §4.5).
//! Does not: keep what Ollama said; for the log, and for nothing else, there is [`original`].

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::ollama::endpoint::{Class, Endpoint};
use crate::ollama::fault::MODEL_NOT_FOUND;

/// Why there is no answer, or no whole answer, of Ollama.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UpstreamFault {
    /// Its queue is full.
    Busy,
    /// It has no such model.
    ModelNotFound,
    /// It has no such thing: a blob, a key.
    NotFound,
    /// It could not read the request.
    InvalidRequest,
    /// The model, or this version of Ollama, cannot do it.
    Unsupported {
        /// What cannot be done.
        what: Ability,
    },
    /// The prompt does not fit into the model's context.
    ContextExceeded,
    /// The model does not fit into the machine's memory.
    NoMemory,
    /// 401 or 403: it refuses the gateway, or the cloud is off.
    Refused(u16),
    /// 3xx: the gateway never asks for a path that redirects.
    Redirected(u16),
    /// 5xx, or its own words for a failure inside a stream.
    Failed(u16),
    /// The answer is not what this route answers.
    Invalid,
    /// The answer ended before its end.
    Cut,
    /// A frame or a body above its bound.
    TooLong,
    /// Nothing came in time.
    Timeout,
    /// No connection.
    Unreachable,
}

/// What a model may be unable to do: a closed list, since the word is said to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the sentence of each is in `sentence`")]
pub enum Ability {
    Tools,
    Thinking,
    Images,
    Embeddings,
    Generate,
    Chat,
    Insert,
    Route,
}

/// What is told of a fault: a row of the one table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultFacts {
    /// The HTTP status, where it can still be sent.
    pub status: u16,
    /// The stable code.
    pub code: &'static str,
    /// The sentence.
    pub text: &'static str,
    /// `Retry-After` in seconds, where waiting helps.
    pub retry_after: Option<u32>,
}

impl FaultFacts {
    const fn new(status: u16, code: &'static str, text: &'static str) -> Self {
        Self { status, code, text, retry_after: None }
    }

    const fn after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl UpstreamFault {
    /// What a client is told of it.
    #[must_use]
    #[rustfmt::skip]
    pub const fn facts(&self) -> FaultFacts {
        match self {
            Self::Busy => FaultFacts::new(503, "upstream_busy", "The model server is busy, try again later").after(5),
            Self::ModelNotFound => FaultFacts::new(404, MODEL_NOT_FOUND.0, MODEL_NOT_FOUND.1),
            Self::NotFound => FaultFacts::new(404, "not_found", "Not found"),
            Self::InvalidRequest => FaultFacts::new(400, "invalid_request", "Invalid request format"),
            Self::Unsupported { what } => FaultFacts::new(400, "unsupported", what.sentence()),
            Self::ContextExceeded => FaultFacts::new(400, "context_length_exceeded", "The prompt is longer than the model's context"),
            Self::NoMemory => FaultFacts::new(503, "upstream_no_memory", "The model does not fit into the server's memory"),
            Self::Refused(_) => FaultFacts::new(502, "upstream_refused", "The model server refused the request"),
            Self::Redirected(_) | Self::Invalid => FaultFacts::new(502, "upstream_invalid", "The model server gave no valid answer"),
            Self::Failed(_) => FaultFacts::new(502, "upstream_failed", "The model server failed"),
            Self::Cut => FaultFacts::new(502, "upstream_cut", "The model server ended the answer early"),
            Self::TooLong => FaultFacts::new(502, "upstream_too_long", "The model server's answer is too long"),
            Self::Timeout => FaultFacts::new(504, "upstream_timeout", "The model server did not answer in time"),
            Self::Unreachable => FaultFacts::new(503, "upstream_unreachable", "Connection error - service unavailable").after(5),
        }
    }
}

impl Ability {
    const fn sentence(self) -> &'static str {
        match self {
            Self::Tools => "The model does not support tools",
            Self::Thinking => "The model does not support thinking",
            Self::Images => "The model does not support images",
            Self::Embeddings => "The model does not support embeddings",
            Self::Generate => "The model does not support generate",
            Self::Chat => "The model does not support chat",
            Self::Insert => "The model does not support insert",
            Self::Route => "The model server does not support this request",
        }
    }
}

/// What an answer with a status outside 2xx becomes. The body is only compared, never passed.
#[must_use]
pub fn classify(endpoint: Endpoint, status: u16, body: &[u8]) -> UpstreamFault {
    match status {
        300..=399 => UpstreamFault::Redirected(status),
        401 | 403 => UpstreamFault::Refused(status),
        404 => missing(endpoint, body),
        429 => UpstreamFault::Busy,
        413 | 431 => UpstreamFault::InvalidRequest,
        400..=499 if dials_out(endpoint) => UpstreamFault::InvalidRequest,
        500..=599 if dials_out(endpoint) => UpstreamFault::Failed(status),
        400..=499 => recognise(&message(body)).unwrap_or(UpstreamFault::InvalidRequest),
        500..=599 => recognise(&message(body)).unwrap_or(UpstreamFault::Failed(status)),
        _ => UpstreamFault::Invalid,
    }
}

/// What Ollama itself said, for the log alone: the `error` of a JSON object, else the begin of a text that is none. Nothing
/// else of an object: it may be the answer to a prompt.
#[must_use]
pub fn original(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    if body.trim_ascii().is_empty() {
        return None;
    }
    if !body.trim_ascii_start().starts_with(b"{") {
        return Some(String::from_utf8_lossy(body).chars().take(ORIGINAL_TEXT).collect());
    }
    let error = serde_json::from_slice::<Body<'_>>(body).ok()?.error?;
    Some(error.get().chars().take(ORIGINAL_ERROR).collect())
}

/// Characters of an `error` that are worth a log line.
const ORIGINAL_ERROR: usize = 1000;
/// Characters of a text that is no JSON: the router's `404 page not found`, the HTTP server's `400 Bad Request`.
const ORIGINAL_TEXT: usize = 100;

/// Ollama connects to an address of the caller's choice: which kind of failure it met is not told, or a caller could find
/// out what answers inside.
fn dials_out(endpoint: Endpoint) -> bool {
    endpoint.facts().class == Class::Egress || endpoint == Endpoint::Create
}

/// What an `error` inside a stream becomes, from its JSON.
pub(super) fn of_error(json: &str) -> UpstreamFault {
    let said = serde_json::from_str::<Said>(json).map(Said::into_text).unwrap_or_default();
    recognise(&said).unwrap_or(UpstreamFault::Failed(500))
}

/// A 404 without Ollama's own JSON is its router's: this version does not have the route.
fn missing(endpoint: Endpoint, body: &[u8]) -> UpstreamFault {
    let by_status = matches!(endpoint, Endpoint::BlobHead | Endpoint::BlobUpload | Endpoint::UserKeys);
    let has_model = !by_status && !matches!(endpoint, Endpoint::Me | Endpoint::Signout | Endpoint::WebFetch);
    if !by_status && message(body).is_empty() {
        return UpstreamFault::Unsupported { what: Ability::Route };
    }
    if has_model { UpstreamFault::ModelNotFound } else { UpstreamFault::NotFound }
}

/// Part of a message of Ollama's, and what it means whatever the status. The first match counts.
const RECOGNISED: [(&str, UpstreamFault); 17] = [
    ("server busy", UpstreamFault::Busy),
    ("does not support tools", UpstreamFault::Unsupported { what: Ability::Tools }),
    ("does not support thinking", UpstreamFault::Unsupported { what: Ability::Thinking }),
    ("does not support multimodal", UpstreamFault::Unsupported { what: Ability::Images }),
    ("does not support vision", UpstreamFault::Unsupported { what: Ability::Images }),
    ("does not support embed", UpstreamFault::Unsupported { what: Ability::Embeddings }),
    ("does not support generate", UpstreamFault::Unsupported { what: Ability::Generate }),
    ("does not support completion", UpstreamFault::Unsupported { what: Ability::Generate }),
    ("does not support chat", UpstreamFault::Unsupported { what: Ability::Chat }),
    ("does not support insert", UpstreamFault::Unsupported { what: Ability::Insert }),
    ("exceed_context_size_error", UpstreamFault::ContextExceeded),
    ("exceeds the context length", UpstreamFault::ContextExceeded),
    ("exceeds maximum context length", UpstreamFault::ContextExceeded),
    ("requires more system memory", UpstreamFault::NoMemory),
    ("invalid format:", UpstreamFault::InvalidRequest),
    ("unmarshal", UpstreamFault::InvalidRequest),
    ("connection refused", UpstreamFault::Unreachable),
];

fn recognise(message: &str) -> Option<UpstreamFault> {
    RECOGNISED.iter().find(|(part, _)| message.contains(part)).map(|(_, fault)| *fault)
}

/// The two forms of an `error`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Text(String),
    Object { message: String },
}

impl Said {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) | Self::Object { message: text } => text,
        }
    }
}

/// The text of `{"error":"…"}` or `{"error":{"message":"…"}}`; empty if it is neither.
fn message(body: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Body {
        error: Said,
    }
    serde_json::from_slice::<Body>(body).map(|body| body.error.into_text()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentences_of_the_hardening_guide() {
        let refused = br#"{"error":"dial unix /var/run/ollama.sock: connect: connection refused"}"#;
        let fault = classify(Endpoint::Chat, 500, refused);
        assert_eq!(fault.facts().text, "Connection error - service unavailable");
        let decode =
            br#"{"error":"json: cannot unmarshal string into Go struct field ChatRequest.stream of type bool"}"#;
        assert_eq!(classify(Endpoint::Chat, 400, decode).facts().text, "Invalid request format");
    }

    #[test]
    fn recognised_shapes() {
        let rows: [(Endpoint, u16, &str, UpstreamFault); 9] = [
            (
                Endpoint::Chat,
                503,
                r#"{"error":"server busy, please try again.  maximum pending"}"#,
                UpstreamFault::Busy,
            ),
            (Endpoint::Chat, 404, r#"{"error":"model 'x' not found"}"#, UpstreamFault::ModelNotFound),
            (Endpoint::Chat, 404, "404 page not found", UpstreamFault::Unsupported { what: Ability::Route }),
            (Endpoint::BlobHead, 404, "", UpstreamFault::NotFound),
            (
                Endpoint::ChatCompletions,
                400,
                r#"{"error":{"message":"a/b does not support tools"}}"#,
                UpstreamFault::Unsupported { what: Ability::Tools },
            ),
            (Endpoint::Chat, 401, r#"{"signin_url":"https://x"}"#, UpstreamFault::Refused(401)),
            (Endpoint::Chat, 307, "", UpstreamFault::Redirected(307)),
            (Endpoint::Chat, 500, "{", UpstreamFault::Failed(500)),
            (Endpoint::Chat, 101, "", UpstreamFault::Invalid),
        ];
        for (endpoint, status, body, fault) in rows {
            assert_eq!(classify(endpoint, status, body.as_bytes()), fault, "{status} {body}");
        }
    }

    #[test]
    fn what_answers_inside_is_not_told() {
        let body = |text: &str| format!("{{\"error\":\"pull model manifest: {text}\"}}").into_bytes();
        for endpoint in [Endpoint::Pull, Endpoint::Push, Endpoint::Create, Endpoint::WebFetch] {
            let refused = classify(endpoint, 500, &body("dial tcp 10.0.0.1:22: connect: connection refused"));
            let answered = classify(endpoint, 500, &body("500: {}"));
            assert_eq!(refused, answered, "{endpoint:?}");
        }
    }

    #[test]
    fn the_log_gets_the_error_and_no_answer() {
        assert_eq!(original(br#"{"error":"open /x"}"#).as_deref(), Some("\"open /x\""));
        assert_eq!(original(br#"{"message":{"content":"a prompt's answer"}}"#), None);
        assert_eq!(original(b"404 page not found").as_deref(), Some("404 page not found"));
        assert_eq!(original(b" \n"), None);
    }
}
