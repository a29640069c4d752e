//! Request bodies as typed calls: what of a body reaches Ollama, and as what.
//!
//! Guarantees: a [`Call`]'s body is written here, field by field, from a strictly read one ([`parse`]); every field of
//! every route has one [`Fate`], in one table a route, and the tables are what runs; the model is canonical and allowed
//! to the role; the length of an answer is always bounded; nothing that loads, unloads or reconfigures a runner is left
//! to the caller. [`fates`] shows the tables. Answers `threats.md` §0.3, §0.6–§0.8, §1.1, §2 and §5.
//! Does not: know whether a model exists; count tokens (see [`Call::prompt_chars`]).

mod anthropic;
mod audio;
mod disposition;
mod draft;
mod embed;
mod image;
mod jpeg;
mod management;
mod message;
mod multipart;
mod native;
mod openai;
mod options;
mod responses;
mod rows;
mod schema;
mod schema_words;
mod table;
mod tools;
mod transcription;

#[cfg(test)]
mod copies;
#[cfg(test)]
mod dialect_tests;
#[cfg(test)]
pub(crate) mod fixtures;
#[cfg(test)]
mod policy_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod recorded_tests;

pub use multipart::Boundary;
pub use table::Fate;

use crate::config::types::{ModelPins, Role, Validation};
use crate::ollama::content::{ContentRules, RuleId};
use crate::ollama::endpoint::Endpoint;
use crate::ollama::fault::BodyFault;
use crate::ollama::model_name::ModelName;
use crate::ollama::strict_json;
use bytes::Bytes;
use draft::Draft;
use std::borrow::Cow;
use table::{Keys, Shape, object};

/// What a body is judged by.
#[derive(Debug, Clone, Copy)]
pub struct Rules<'a> {
    /// What the caller may do.
    pub role: &'a Role,
    /// `[validation]`
    pub validation: &'a Validation,
    /// Its blocked words and patterns.
    pub content: &'a ContentRules,
    /// `[models.*]`
    pub pins: &'a ModelPins,
}

/// How the answer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerShape {
    /// One JSON value.
    Whole,
    /// NDJSON or server-sent events.
    Stream,
}

/// The last chunk of an OpenAI stream that tells the usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageChunk {
    /// The caller asked for it.
    Keep,
    /// It was asked for here, for accounting.
    Hide,
}

/// What a call's body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaType {
    /// JSON.
    Json,
    /// A form, with our boundary.
    Form,
}

impl MediaType {
    /// The `Content-Type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => multipart::CONTENT_TYPE,
        }
    }
}

/// A request as Ollama will get it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    model: Option<ModelName>,
    body: Vec<Bytes>,
    media_type: MediaType,
    shape: AnswerShape,
    usage: UsageChunk,
    max_tokens: Option<u32>,
    prompt_chars: usize,
    images: usize,
    matches: Vec<RuleId>,
}

impl Call {
    /// The model it names, canonical and allowed.
    #[must_use]
    pub const fn model(&self) -> Option<&ModelName> {
        self.model.as_ref()
    }

    /// What is sent.
    #[must_use]
    pub fn body(&self) -> Cow<'_, [u8]> {
        match self.body.as_slice() {
            [one] => Cow::Borrowed(one),
            several => Cow::Owned(several.concat()),
        }
    }

    /// How many bytes are sent.
    #[must_use]
    pub fn body_bytes(&self) -> usize {
        self.body.iter().map(Bytes::len).sum()
    }

    /// What is sent, taken out: pieces that follow each other. A long string is a part of the body that was read.
    #[must_use]
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.body
    }

    /// What it is written in.
    #[must_use]
    pub const fn media_type(&self) -> MediaType {
        self.media_type
    }

    /// How the answer comes.
    #[must_use]
    pub const fn shape(&self) -> AnswerShape {
        self.shape
    }

    /// What happens to a stream's usage chunk.
    #[must_use]
    pub const fn usage(&self) -> UsageChunk {
        self.usage
    }

    /// The most tokens of the answer, for calls that generate.
    #[must_use]
    pub const fn max_tokens(&self) -> Option<u32> {
        self.max_tokens
    }

    /// Characters of all text that the model will read: an upper bound of its tokens for most languages.
    /// For audio, an estimate of its tokens.
    #[must_use]
    pub const fn prompt_chars(&self) -> usize {
        self.prompt_chars
    }

    /// Images that the model will see; each is some hundred tokens, which [`Call::prompt_chars`] does not count.
    #[must_use]
    pub const fn images(&self) -> usize {
        self.images
    }

    /// Content rules that matched, where a match is only logged.
    #[must_use]
    pub fn matches(&self) -> &[RuleId] {
        &self.matches
    }
}

/// Reads the body of a route whose payload is JSON.
///
/// # Errors
/// The first reason to refuse it; also for a route that has no JSON body.
pub fn parse(endpoint: Endpoint, body: &Bytes, rules: &Rules<'_>) -> Result<Call, BodyFault> {
    let shape = shape_of(endpoint).ok_or(BodyFault::NotAnObject)?;
    let tree = strict_json::parse(body, rules.validation.max_depth)?;
    let mut draft = Draft::new(rules, body);
    let members = tree.as_object().ok_or(BodyFault::NotAnObject)?;
    object(&mut draft, Keys::Fields, shape, members)?;
    draft.into_call(body.len())
}

/// Reads the form of `/v1/audio/transcriptions`.
///
/// # Errors
/// The first reason to refuse it.
pub fn parse_multipart(boundary: &Boundary, body: &[u8], rules: &Rules<'_>) -> Result<Call, BodyFault> {
    transcription::parse(boundary, body, rules)
}

/// The fate of every field of a route, by its path (`messages.content`): the table that [`parse`] or
/// [`parse_multipart`] runs.
#[must_use]
pub fn fates(endpoint: Endpoint) -> Vec<(String, Fate)> {
    if endpoint == Endpoint::Transcriptions {
        return transcription::fates();
    }
    let mut rows = Vec::new();
    if let Some(shape) = shape_of(endpoint) {
        table::flatten(shape, "", &mut rows);
    }
    rows
}

/// The table of a route; `None`: it has no JSON body.
const fn shape_of(endpoint: Endpoint) -> Option<Shape> {
    match endpoint {
        Endpoint::Generate => Some(native::GENERATE),
        Endpoint::Chat => Some(native::CHAT),
        Endpoint::Embed => Some(embed::EMBED),
        Endpoint::Embeddings => Some(embed::EMBEDDINGS),
        Endpoint::V1Embeddings => Some(embed::V1_EMBEDDINGS),
        Endpoint::ChatCompletions => Some(openai::CHAT_COMPLETIONS),
        Endpoint::Completions => Some(openai::COMPLETIONS),
        Endpoint::Responses => Some(responses::RESPONSES),
        Endpoint::Messages => Some(anthropic::MESSAGES),
        Endpoint::Show => Some(management::SHOW),
        Endpoint::Delete => Some(management::DELETE),
        Endpoint::Copy => Some(management::COPY),
        Endpoint::Pull | Endpoint::Push => Some(management::TRANSFER),
        Endpoint::Create => Some(management::CREATE),
        Endpoint::WebSearch => Some(management::WEB_SEARCH),
        Endpoint::WebFetch => Some(management::WEB_FETCH),
        Endpoint::Root
        | Endpoint::Health
        | Endpoint::Version
        | Endpoint::Status
        | Endpoint::Tags
        | Endpoint::Me
        | Endpoint::Signout
        | Endpoint::UserKeys
        | Endpoint::BlobUpload
        | Endpoint::BlobHead
        | Endpoint::Recommendations
        | Endpoint::Ps
        | Endpoint::Models
        | Endpoint::Model
        | Endpoint::Transcriptions => None,
    }
}
