//! Events of Anthropic's streams, as Ollama speaks them: `/v1/messages`.
//!
//! Guarantees: see `shape`; an event of a type that is not known is left out.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::shape::{Counts, Kind, Reading, no_error, raw};
use super::upstream_fault::UpstreamFault;
use super::usage::Finish;

#[derive(Deserialize)]
pub(super) struct MessagesEvent<'a> {
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
    pub(super) fn read(self) -> Result<Reading<'a>, UpstreamFault> {
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
