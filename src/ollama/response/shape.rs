//! Which kind of stream an endpoint answers, and what one frame of it means.
//!
//! Guarantees: a frame passes only if it is one JSON object of the shape that its route streams, without an error in any
//! of the places where the three protocols have one; the fields that give away more than an answer (`context`,
//! `remote_host`, `_debug_info`, …) are named here.
//! Does not: look at the text of an answer (see `rules`).
//! Frames are read into borrowed slices: the text itself is skipped over, not decoded.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::anthropic::MessagesEvent;
use super::frames::Framing;
use super::native::{NativeLine, ProgressLine};
use super::openai::{Chunk, ResponsesEvent};
use super::upstream_fault::{self, UpstreamFault};
use super::usage::Usage;
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

impl Reading<'_> {
    /// Whether the frame goes on with the answer's text: where events have names, not all do.
    pub(super) fn is_text(&self) -> bool {
        let piece = matches!(self.kind, Kind::Piece | Kind::Rewrite);
        piece && self.event.map_or(self.model.is_some(), |name| name.ends_with("delta"))
    }
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

/// Both protocols' names.
#[derive(Deserialize)]
pub(super) struct Counts {
    #[serde(alias = "input_tokens")]
    pub(super) prompt_tokens: Option<u64>,
    #[serde(alias = "output_tokens")]
    pub(super) completion_tokens: Option<u64>,
}

/// An error of Ollama's, in whatever form, is a fault of the stream.
pub(super) fn no_error(error: Option<&RawValue>) -> Result<(), UpstreamFault> {
    error.map_or(Ok(()), |error| Err(upstream_fault::of_error(error.get())))
}

pub(super) fn raw(value: Option<&RawValue>) -> Option<&str> {
    value.map(RawValue::get)
}

pub(super) fn begins(value: Option<&RawValue>, first: char) -> bool {
    value.is_some_and(|value| value.get().starts_with(first))
}
