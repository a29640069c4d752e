//! Events of OpenAI's streams, as Ollama speaks them: chunks of chat and text completions, and `/v1/responses`.
//!
//! Guarantees: see `shape`; a chunk without a model, which is all that Ollama shows of a crashed runner, is a fault.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::shape::{Counts, Kind, Reading, Shape, begins, no_error, raw};
use super::upstream_fault::UpstreamFault;
use super::usage::{Finish, Usage};

#[derive(Deserialize)]
pub(super) struct Chunk<'a> {
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

impl<'a> Chunk<'a> {
    pub(super) fn read(self, shape: Shape) -> Result<Reading<'a>, UpstreamFault> {
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
pub(super) struct ResponsesEvent<'a> {
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
    pub(super) fn read(self) -> Result<Reading<'a>, UpstreamFault> {
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

fn is_event_name(name: &str, prefix: &str) -> bool {
    name.starts_with(prefix)
        && name.len() < 64
        && name.bytes().all(|b| b.is_ascii_lowercase() || matches!(b, b'_' | b'.'))
}
