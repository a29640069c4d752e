//! Which kind of stream an endpoint answers, and what one frame of it means.
//!
//! Guarantees: a frame passes only if it is one JSON object of the shape that its route streams, without an error in any
//! of the places where the three protocols have one; the fields that give away more than an answer (`context`,
//! `remote_host`, `_debug_info`, …) are named here.
//! Does not: look at the text of an answer (see `rules`).
//! Frames are read into borrowed slices: the text itself is skipped over, not decoded.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::frames::Framing;
use super::upstream_fault::{self, UpstreamFault};
use super::usage::{Finish, Usage};
use crate::ollama::endpoint::Endpoint;

/// The kinds of streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// `/api/chat`
    Chat,
    /// `/api/generate`
    Generate,
    /// `/api/pull`, `/api/push`, `/api/create`
    Progress,
    /// `/v1/chat/completions`
    ChatChunks,
    /// `/v1/completions`
    TextChunks,
    /// `/v1/responses`
    Responses,
    /// `/v1/messages`
    Messages,
    /// The route does not stream: every frame is a fault.
    Nothing,
}

impl Shape {
    pub(super) const fn of(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::Chat => Self::Chat,
            Endpoint::Generate => Self::Generate,
            Endpoint::Pull | Endpoint::Push | Endpoint::Create => Self::Progress,
            Endpoint::ChatCompletions => Self::ChatChunks,
            Endpoint::Completions => Self::TextChunks,
            Endpoint::Responses => Self::Responses,
            Endpoint::Messages => Self::Messages,
            Endpoint::Root
            | Endpoint::Health
            | Endpoint::Version
            | Endpoint::Status
            | Endpoint::Tags
            | Endpoint::Show
            | Endpoint::Delete
            | Endpoint::Me
            | Endpoint::Signout
            | Endpoint::UserKeys
            | Endpoint::BlobUpload
            | Endpoint::BlobHead
            | Endpoint::Copy
            | Endpoint::WebSearch
            | Endpoint::WebFetch
            | Endpoint::Recommendations
            | Endpoint::Ps
            | Endpoint::Embed
            | Endpoint::Embeddings
            | Endpoint::V1Embeddings
            | Endpoint::Models
            | Endpoint::Model
            | Endpoint::Transcriptions => Self::Nothing,
        }
    }

    pub(super) const fn framing(self) -> Framing {
        match self {
            Self::Chat | Self::Generate | Self::Progress | Self::Nothing => Framing::Lines,
            Self::ChatChunks | Self::TextChunks | Self::Responses | Self::Messages => Framing::Events,
        }
    }

    /// Whether an event says its type in an `event:` line.
    pub(super) const fn names_events(self) -> bool {
        matches!(self, Self::Responses | Self::Messages)
    }

    /// Reads one frame's JSON.
    pub(super) fn read<'a>(self, json: &'a str) -> Result<Reading<'a>, UpstreamFault> {
        if !json.trim_start().starts_with('{') {
            return Err(UpstreamFault::Invalid);
        }
        match self {
            Self::Chat | Self::Generate => parse::<NativeLine<'a>>(json)?.read(self),
            Self::Progress => parse::<ProgressLine<'a>>(json)?.read(),
            Self::ChatChunks | Self::TextChunks => parse::<Chunk<'a>>(json)?.read(self),
            Self::Responses => parse::<ResponsesEvent<'a>>(json)?.read(),
            Self::Messages => parse::<MessagesEvent<'a>>(json)?.read(),
            Self::Nothing => Err(UpstreamFault::Invalid),
        }
    }
}

fn parse<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, UpstreamFault> {
    serde_json::from_str(json).map_err(|_| UpstreamFault::Invalid)
}

/// What one frame says about the stream. The slices are JSON as it came.
#[derive(Debug, Default)]
pub(super) struct Reading<'a> {
    pub(super) kind: Kind,
    /// The event's type, where the protocol has one.
    pub(super) event: Option<&'a str>,
    pub(super) model: Option<&'a str>,
    pub(super) id: Option<&'a str>,
    pub(super) created: Option<&'a str>,
    pub(super) sequence: Option<u64>,
    /// The content block of an Anthropic event.
    pub(super) block: Option<u64>,
    /// Whether the frame has a `usage` of OpenAI's.
    pub(super) counted: bool,
    pub(super) usage: Usage,
}

/// What is done with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Kind {
    /// A piece of the answer.
    #[default]
    Piece,
    /// The last piece: why the answer ended. The end of the stream may come in a frame of its own.
    Finish,
    /// The end of the stream.
    End,
    /// OpenAI's extra frame with nothing but the usage.
    UsageOnly,
    /// A piece with a field that is not for the caller, or a progress line: written anew.
    Rewrite,
    /// [`Kind::End`] and [`Kind::Rewrite`].
    RewriteEnd,
    /// Of no known type: left out.
    Unknown,
}

/// Fields at the top of a frame that are not part of an answer.
pub(super) const PRIVATE_FIELDS: [&str; 4] = ["context", "remote_model", "remote_host", "_debug_info"];

#[derive(Deserialize)]
struct NativeLine<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    done: Option<bool>,
    #[serde(borrow)]
    done_reason: Option<&'a RawValue>,
    total_duration: Option<u64>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    context: Option<IgnoredAny>,
    remote_model: Option<IgnoredAny>,
    remote_host: Option<IgnoredAny>,
    #[serde(rename = "_debug_info")]
    debug_info: Option<IgnoredAny>,
}

impl<'a> NativeLine<'a> {
    fn read(self, shape: Shape) -> Result<Reading<'a>, UpstreamFault> {
        no_error(self.error)?;
        let body = if shape == Shape::Chat { begins(self.message, '{') } else { begins(self.response, '"') };
        if !body || !begins(self.model, '"') {
            return Err(UpstreamFault::Invalid);
        }
        let private = self.context.is_some()
            || self.remote_model.is_some()
            || self.remote_host.is_some()
            || self.debug_info.is_some();
        let kind = match (self.done.ok_or(UpstreamFault::Invalid)?, private) {
            (false, false) => Kind::Piece,
            (false, true) => Kind::Rewrite,
            (true, false) => Kind::End,
            (true, true) => Kind::RewriteEnd,
        };
        let mut usage = Usage { total_duration_ns: self.total_duration, ..Usage::default() };
        usage.note(self.prompt_eval_count, self.eval_count);
        usage.finish = self.done_reason.map(|word| Finish::of_word(word.get())).unwrap_or_default();
        Ok(Reading { kind, model: raw(self.model), created: raw(self.created_at), usage, ..Reading::default() })
    }
}

#[derive(Deserialize)]
struct ProgressLine<'a> {
    error: Option<IgnoredAny>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

impl ProgressLine<'_> {
    fn read<'a>(self) -> Result<Reading<'a>, UpstreamFault> {
        if self.error.is_some() {
            // Not even which kind of failure: it would tell what answers at an address inside (`threats.md` §1 row 4).
            return Err(UpstreamFault::Failed(500));
        }
        let status = self.status.map(RawValue::get).filter(|status| status.starts_with('"'));
        let kind = match status {
            Some("\"success\"") => Kind::RewriteEnd,
            Some(_) => Kind::Rewrite,
            None => return Err(UpstreamFault::Invalid),
        };
        Ok(Reading { kind, ..Reading::default() })
    }
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    created: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
    usage: Option<Counts>,
    #[serde(rename = "_debug_info")]
    debug_info: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

/// Both protocols' names.
#[derive(Deserialize)]
pub(super) struct Counts {
    #[serde(alias = "input_tokens")]
    pub(super) prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    pub(super) completion_tokens: Option<u64>,
}

impl<'a> Chunk<'a> {
    fn read(self, shape: Shape) -> Result<Reading<'a>, UpstreamFault> {
        // A runner that crashed shows in an empty model alone: Ollama loses its own error here.
        no_error(self.error)?;
        if raw(self.model) == Some("\"\"") {
            return Err(UpstreamFault::Failed(500));
        }
        let body = |choice: &Choice<'_>| {
            if shape == Shape::TextChunks { begins(choice.text, '"') } else { begins(choice.delta, '{') }
        };
        let empty = self.choices.is_empty() && self.usage.is_none();
        if !begins(self.model, '"') || empty || !self.choices.iter().all(body) {
            return Err(UpstreamFault::Invalid);
        }
        let finish = self.choices.iter().find_map(|choice| choice.finish_reason.filter(|word| word.get() != "null"));
        let word = finish.map(|word| Finish::of_word(word.get())).unwrap_or_default();
        let mut usage = Usage { finish: word, ..Usage::default() };
        if let Some(counts) = &self.usage {
            usage.note(counts.prompt_tokens, counts.completion_tokens);
        }
        let kind = match (self.choices.is_empty(), finish.is_some(), self.debug_info.is_some()) {
            (true, _, _) => Kind::UsageOnly,
            (false, _, true) => Kind::Rewrite,
            (false, true, false) => Kind::Finish,
            (false, false, false) => Kind::Piece,
        };
        let (id, created, model) = (raw(self.id), raw(self.created), raw(self.model));
        Ok(Reading { kind, id, created, model, counted: self.usage.is_some(), usage, ..Reading::default() })
    }
}

#[derive(Deserialize)]
struct ResponsesEvent<'a> {
    r#type: &'a str,
    sequence_number: Option<u64>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<ResponseObject<'a>>,
}

#[derive(Deserialize)]
struct ResponseObject<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    usage: Option<Counts>,
}

impl<'a> ResponsesEvent<'a> {
    fn read(self) -> Result<Reading<'a>, UpstreamFault> {
        no_error(self.error)?;
        no_error(self.response.as_ref().and_then(|response| response.error))?;
        if matches!(self.r#type, "error" | "response.failed") {
            return Err(UpstreamFault::Failed(500));
        }
        let kind = match self.r#type {
            "response.completed" | "response.incomplete" => Kind::End,
            other if is_event_name(other, "response.") => Kind::Piece,
            _ => Kind::Unknown,
        };
        let mut reading =
            Reading { kind, event: Some(self.r#type), sequence: self.sequence_number, ..Reading::default() };
        if let Some(response) = self.response {
            (reading.id, reading.created) = (raw(response.id), raw(response.created_at));
            reading.model = raw(response.model);
            if kind == Kind::End {
                reading.usage.finish = response.status.map(|word| Finish::of_word(word.get())).unwrap_or_default();
            }
            if let Some(counts) = response.usage {
                reading.usage.note(counts.prompt_tokens, counts.completion_tokens);
            }
        }
        Ok(reading)
    }
}

#[derive(Deserialize)]
struct MessagesEvent<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    index: Option<u64>,
    #[serde(borrow)]
    message: Option<MessageStart<'a>>,
    #[serde(borrow)]
    delta: Option<MessageDelta<'a>>,
    usage: Option<Counts>,
}

#[derive(Deserialize)]
struct MessageStart<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct MessageDelta<'a> {
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
}

impl<'a> MessagesEvent<'a> {
    fn read(self) -> Result<Reading<'a>, UpstreamFault> {
        no_error(self.error)?;
        if self.r#type == "error" {
            return Err(UpstreamFault::Failed(500));
        }
        let kind = match self.r#type {
            "message_stop" => Kind::End,
            "message_delta" => Kind::Finish,
            "message_start" | "content_block_start" | "content_block_delta" | "content_block_stop" | "ping" => {
                Kind::Piece
            }
            _ => Kind::Unknown,
        };
        let mut reading = Reading { kind, event: Some(self.r#type), block: self.index, ..Reading::default() };
        if let Some(message) = self.message {
            (reading.id, reading.model) = (raw(message.id), raw(message.model));
        }
        let word = self.delta.and_then(|delta| delta.stop_reason);
        reading.usage.finish = word.map(|word| Finish::of_word(word.get())).unwrap_or_default();
        if let Some(counts) = self.usage {
            reading.usage.note(counts.prompt_tokens, counts.completion_tokens);
        }
        Ok(reading)
    }
}

/// An error of Ollama's, in whatever form, is a fault of the stream.
fn no_error(error: Option<&RawValue>) -> Result<(), UpstreamFault> {
    error.map_or(Ok(()), |error| Err(upstream_fault::of_error(error.get())))
}

fn is_event_name(name: &str, prefix: &str) -> bool {
    name.starts_with(prefix)
        && name.len() < 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.'))
}

fn raw(value: Option<&RawValue>) -> Option<&str> {
    value.map(RawValue::get)
}

fn begins(value: Option<&RawValue>, first: char) -> bool {
    value.is_some_and(|value| value.get().starts_with(first))
}
