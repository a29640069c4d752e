//! `/v1/audio/transcriptions`. Source: Ollama's `middleware/openai.go` and `openai/openai.go` (`FromTranscriptionRequest`).
//!
//! Guarantees: of a form, the model (canonical and permitted), one audio file under its cap and a language of two or three
//! letters reach Ollama, which makes a chat of them; it copies `language` and `prompt` into the system prompt, so the
//! prompt is dropped. The answer is JSON. A role whose system prompt is pinned cannot use this route, which has no place
//! for it. Answers `threats.md` §1 row 31 and §1.1.
//! Does not: bound the answer, for which the form has no field: Ollama ends it at ten times the model's context. Search
//! what is said in the audio; the rules for answers see the text of it.

use super::audio::Audio;
use super::disposition::Kind;
use super::multipart::{self, Boundary, Part};
use super::rows::why_not;
use super::{AnswerShape, Call, Fate, MediaType, Rules, UsageChunk};
use crate::config::types::{SystemPrompt, UnknownFields};
use crate::ollama::fault::BodyFault;
use crate::ollama::model_name::{ModelName, permits};

type Done = Result<(), BodyFault>;

/// Bytes of a value that is read.
const VALUE_BYTES: usize = 512;
/// Bytes of audio that are counted as one token: a second of speech is some 25 tokens, and from 4 to 32 KB.
const AUDIO_BYTES: usize = 256;

/// One row.
struct Field {
    name: &'static str,
    fate: Fate,
    rule: fn(&mut Form<'_>, &'static str, Option<&Part<'_>>) -> Done,
}

/// The fields of the form. Ollama reads the first five.
const TRANSCRIPTION: [Field; 10] = [
    Field { name: "model", fate: Fate::Set, rule: model },
    Field { name: "file", fate: Fate::Set, rule: file },
    Field { name: "language", fate: Fate::Pass, rule: language },
    Field { name: "response_format", fate: Fate::Set, rule: response_format },
    Field { name: "prompt", fate: Fate::Drop, rule: nothing },
    Field { name: "stream", fate: Fate::Refuse, rule: nothing },
    Field { name: "temperature", fate: Fate::Drop, rule: nothing },
    Field { name: "timestamp_granularities[]", fate: Fate::Drop, rule: nothing },
    Field { name: "include[]", fate: Fate::Drop, rule: nothing },
    Field { name: "chunking_strategy", fate: Fate::Drop, rule: nothing },
];

/// What has been decided so far.
struct Form<'r> {
    rules: &'r Rules<'r>,
    out: multipart::Writer,
    model: Option<ModelName>,
    file_bytes: usize,
}

/// Reads the form and writes it anew.
pub(super) fn parse(boundary: &Boundary, body: &[u8], rules: &Rules<'_>) -> Result<Call, BodyFault> {
    if matches!(rules.role.system_prompt, SystemPrompt::Pin(_)) {
        return Err(BodyFault::SystemPromptPinned);
    }
    let parts = multipart::parse(boundary, body)?;
    known(&parts, rules.validation.unknown_fields)?;
    let out = multipart::Writer::with_capacity(body.len() + 1024);
    let mut form = Form { rules, out, model: None, file_bytes: 0 };
    for field in &TRANSCRIPTION {
        let part = parts.iter().find(|part| part.name == field.name);
        match field.fate {
            Fate::Drop => {}
            Fate::Set | Fate::Clamp => (field.rule)(&mut form, field.name, part)?,
            Fate::Pass if part.is_none() => {}
            Fate::Pass => (field.rule)(&mut form, field.name, part)?,
            Fate::Refuse => refused(field.name, part)?,
        }
    }
    form.into_call(body.len())
}

/// The fate of every field.
pub(super) fn fates() -> Vec<(String, Fate)> {
    TRANSCRIPTION.iter().map(|field| (field.name.to_owned(), field.fate)).collect()
}

/// Go compares names of forms byte by byte, but a client that writes `Model` means the field.
fn known(parts: &[Part<'_>], unknown: UnknownFields) -> Done {
    for part in parts {
        if TRANSCRIPTION.iter().any(|field| field.name == part.name) {
            continue;
        }
        if TRANSCRIPTION.iter().any(|field| field.name.eq_ignore_ascii_case(part.name)) {
            return Err(BodyFault::KeyVariant);
        }
        match unknown {
            UnknownFields::Drop => {}
            UnknownFields::Refuse => return Err(BodyFault::UnknownField),
        }
    }
    Ok(())
}

impl Form<'_> {
    fn into_call(self, length: usize) -> Result<Call, BodyFault> {
        let limit = self.rules.validation.max_body;
        let length = length.saturating_sub(self.file_bytes);
        if length > limit {
            return Err(BodyFault::TooLarge { limit, length });
        }
        Ok(Call {
            model: self.model,
            body: vec![self.out.finish().into()],
            media_type: MediaType::Form,
            shape: AnswerShape::Whole,
            usage: UsageChunk::Keep,
            max_tokens: None,
            prompt_chars: self.file_bytes / AUDIO_BYTES,
            images: 0,
            matches: Vec::new(),
        })
    }
}

/// A value as text; an empty one is none, as for Ollama.
fn text<'b>(field: &'static str, part: Option<&Part<'b>>) -> Result<Option<&'b str>, BodyFault> {
    let Some(part) = part else { return Ok(None) };
    if part.kind == Kind::File {
        return Err(BodyFault::FieldType { field });
    }
    let (limit, length) = (VALUE_BYTES, part.content.len());
    if length > limit {
        return Err(BodyFault::FieldTooLong { field, limit, length });
    }
    let text = str::from_utf8(part.content).map_err(|_| BodyFault::NotUtf8)?;
    if text.contains(char::is_control) {
        return Err(BodyFault::ControlCharacter);
    }
    Ok((!text.is_empty()).then_some(text))
}

fn nothing(_: &mut Form<'_>, _: &'static str, _: Option<&Part<'_>>) -> Done {
    Ok(())
}

fn refused(field: &'static str, part: Option<&Part<'_>>) -> Done {
    // Official clients send the value of "off".
    match text(field, part)? {
        None | Some("false") => Ok(()),
        Some(_) => Err(BodyFault::FieldRefused { field }),
    }
}

fn model(form: &mut Form<'_>, field: &'static str, part: Option<&Part<'_>>) -> Done {
    let text = text(field, part)?.ok_or(BodyFault::FieldMissing { field })?;
    let name = ModelName::parse(text).map_err(|_| BodyFault::ModelName)?;
    if !permits(form.rules.role, &name) {
        return Err(why_not(&name));
    }
    form.out.value(field, name.canonical())?;
    form.model = Some(name);
    Ok(())
}

fn file(form: &mut Form<'_>, field: &'static str, part: Option<&Part<'_>>) -> Done {
    let part = part.ok_or(BodyFault::FieldMissing { field })?;
    if part.kind == Kind::Value {
        return Err(BodyFault::FieldType { field });
    }
    let (limit, length) = (form.rules.validation.max_audio_bytes, part.content.len());
    if length > limit {
        return Err(BodyFault::AudioTooLarge { limit, length });
    }
    let audio = Audio::of(part.content)?;
    form.file_bytes = length;
    form.out.file(field, (audio.file_name(), audio.media_type()), part.content)
}

/// ISO 639: it stands in the system prompt, where a sentence would be an order.
fn language(form: &mut Form<'_>, field: &'static str, part: Option<&Part<'_>>) -> Done {
    let Some(text) = text(field, part)? else { return Ok(()) };
    if !(2..=3).contains(&text.len()) || !text.bytes().all(|b| b.is_ascii_lowercase()) {
        return Err(BodyFault::FieldValue { field });
    }
    form.out.value(field, text)
}

/// The only format whose answer can be told from an error.
fn response_format(form: &mut Form<'_>, field: &'static str, part: Option<&Part<'_>>) -> Done {
    match text(field, part)? {
        None | Some("json") => form.out.value(field, "json"),
        Some(_) => Err(BodyFault::FieldValue { field }),
    }
}
