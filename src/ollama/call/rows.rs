//! Rules that many tables share: texts, numbers, flags, the model, the stream.
//!
//! Guarantees: a number is in its range and written as Go's type for it expects (`3.0` becomes `3`); a flag is a flag.

use super::draft::{Draft, Ends};
use super::table::{Field, Keys, Members, object};
use super::{AnswerShape, UsageChunk};
use crate::config::types::SystemPrompt;
use crate::ollama::fault::BodyFault;
use crate::ollama::model_name::{ModelName, permits};
use crate::ollama::strict_json::{Text, Value};

type Done = Result<(), BodyFault>;

/// Stop sequences: how many, and how long.
const STOPS: usize = 8;
const STOP_BYTES: usize = 64;
/// Names of tools and ids of calls.
const LABEL_BYTES: usize = 256;

/// The model: canonical, and one that the role may use.
pub(super) fn model(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let text = required(field.name, members.get(field.name))?;
    let name = ModelName::parse(text.as_str()).map_err(|_| BodyFault::ModelName)?;
    write_model(draft, field.name, name)
}

/// Writes an allowed model and remembers it.
pub(super) fn write_model(draft: &mut Draft<'_>, key: &'static str, name: ModelName) -> Done {
    if !permits(draft.rules.role, &name) {
        return Err(why_not(&name));
    }
    draft.out.key(key);
    draft.out.string(name.canonical());
    draft.model = Some(name);
    Ok(())
}

/// What the record says; the client is told the same for each.
pub(super) const fn why_not(name: &ModelName) -> BodyFault {
    if name.is_cloud() {
        BodyFault::CloudModel
    } else if name.is_foreign() {
        BodyFault::ForeignModel
    } else {
        BodyFault::ModelNotFound
    }
}

/// A text that must be there and not be empty.
pub(super) fn required<'v>(field: &'static str, value: Option<&'v Value<'v>>) -> Result<&'v Text<'v>, BodyFault> {
    let text = string(field, value.ok_or(BodyFault::FieldMissing { field })?)?;
    if text.is_empty() { Err(BodyFault::FieldMissing { field }) } else { Ok(text) }
}

/// A value that must be a string.
pub(super) fn string<'v>(field: &'static str, value: &'v Value<'v>) -> Result<&'v Text<'v>, BodyFault> {
    value.as_text().ok_or(BodyFault::FieldType { field })
}

/// The string of a field, if it is there.
pub(super) fn optional<'v>(field: &'static str, members: &Members<'v>) -> Result<Option<&'v Text<'v>>, BodyFault> {
    members.get(field).map(|value| string(field, value)).transpose()
}

/// A text that is read by the model.
pub(super) fn text(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(text) = optional(field.name, members)? else { return Ok(()) };
    draft.out.key(field.name);
    draft.text(text)
}

/// A name or an id: short, and without control characters.
pub(super) fn label(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(text) = optional(field.name, members)? else { return Ok(()) };
    let (limit, length) = (LABEL_BYTES, text.as_str().len());
    if length > limit {
        return Err(BodyFault::FieldTooLong { field: field.name, limit, length });
    }
    if text.as_str().chars().any(char::is_control) {
        return Err(BodyFault::ControlCharacter);
    }
    draft.out.key(field.name);
    draft.text(text)
}

/// `true` or `false`.
pub(super) fn flag(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    if let Some(value) = flag_of(field.name, members)? {
        draft.out.key(field.name);
        draft.out.bool(value);
    }
    Ok(())
}

/// The flag of a field, if it is there.
pub(super) fn flag_of(field: &'static str, members: &Members<'_>) -> Result<Option<bool>, BodyFault> {
    let value = members.get(field);
    value.map(|value| value.as_bool().ok_or(BodyFault::FieldType { field })).transpose()
}

/// `raw`: the prompt is sent as it is.
pub(super) fn raw(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    draft.ends = Ends::Keep;
    flag(draft, field, members)
}

/// `suffix`: the prompt is the text before it, to its last space.
pub(super) fn suffix(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    draft.ends = Ends::Keep;
    text(draft, field, members)
}

/// A number from `MIN` to `MAX`.
pub(super) fn number<const MIN: i64, const MAX: i64>(
    draft: &mut Draft<'_>,
    field: &'static Field,
    members: &Members<'_>,
) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    let number = value.as_number().ok_or(BodyFault::FieldType { field: field.name })?;
    #[expect(clippy::cast_precision_loss, reason = "the bounds are small")]
    let range = MIN as f64..=MAX as f64;
    if !range.contains(&number.as_f64()) {
        return Err(BodyFault::FieldRange { field: field.name, min: MIN, max: MAX });
    }
    draft.out.key(field.name);
    draft.out.value(value);
    Ok(())
}

/// A whole number from `MIN` to `MAX`.
pub(super) fn whole<const MIN: i64, const MAX: i64>(
    draft: &mut Draft<'_>,
    field: &'static Field,
    members: &Members<'_>,
) -> Done {
    let Some(value) = whole_of(field.name, members)? else { return Ok(()) };
    if !(MIN..=MAX).contains(&value) {
        return Err(BodyFault::FieldRange { field: field.name, min: MIN, max: MAX });
    }
    draft.out.key(field.name);
    draft.out.whole(value);
    Ok(())
}

/// The whole number of a field, if it is there.
pub(super) fn whole_of(field: &'static str, members: &Members<'_>) -> Result<Option<i64>, BodyFault> {
    let whole = |value: &Value<'_>| value.as_number()?.as_whole();
    members.get(field).map(|value| whole(value).ok_or(BodyFault::FieldType { field })).transpose()
}

/// One of a few words.
pub(super) fn word(
    draft: &mut Draft<'_>,
    field: &'static Field,
    members: &Members<'_>,
    words: &[&'static str],
) -> Done {
    let Some(text) = optional(field.name, members)? else { return Ok(()) };
    if text.is_empty() {
        return Ok(());
    }
    let known = words.iter().find(|word| **word == text.as_str());
    let word = known.ok_or(BodyFault::FieldValue { field: field.name })?;
    draft.out.key(field.name);
    draft.out.string(word);
    Ok(())
}

/// Words at which the answer ends: one, or a list.
pub(super) fn stop(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    let words = value.as_array().unwrap_or(std::slice::from_ref(value));
    let (limit, length) = (STOPS, words.len());
    if length > limit {
        return Err(BodyFault::FieldTooLong { field: field.name, limit, length });
    }
    draft.out.key(field.name);
    draft.out.open_array();
    for word in words {
        let word = string(field.name, word)?;
        let (limit, length) = (STOP_BYTES, word.as_str().len());
        if length > limit {
            return Err(BodyFault::FieldTooLong { field: field.name, limit, length });
        }
        draft.text(word)?;
    }
    draft.out.close_array();
    Ok(())
}

/// An object with a table of its own.
pub(super) fn nested(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    let inner = value.as_object().ok_or(BodyFault::FieldType { field: field.name })?;
    draft.out.key(field.name);
    object(draft, Keys::Fields, field.inner(), inner)
}

/// `stream` where Ollama streams by default.
pub(super) fn stream_unless_false(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let stream = flag_of(field.name, members)?.unwrap_or(true);
    write_stream(draft, field, stream)
}

/// `stream` where Ollama does not stream by default.
pub(super) fn stream_if_true(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let stream = flag_of(field.name, members)?.unwrap_or(false);
    write_stream(draft, field, stream)
}

fn write_stream(draft: &mut Draft<'_>, field: &'static Field, stream: bool) -> Done {
    draft.shape = if stream { AnswerShape::Stream } else { AnswerShape::Whole };
    draft.out.key(field.name);
    draft.out.bool(stream);
    Ok(())
}

/// `stream_options`: a stream always tells its usage, so that it can be accounted; comes after `stream`.
pub(super) fn stream_options(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let wanted = match members.get(field.name) {
        None => false,
        Some(value) => {
            let inner = value.as_object().ok_or(BodyFault::FieldType { field: field.name })?;
            let inner = Members::read(draft, Keys::Fields, field.inner(), inner)?;
            flag_of("include_usage", &inner)?.unwrap_or(false)
        }
    };
    if draft.shape == AnswerShape::Stream {
        draft.usage = if wanted { UsageChunk::Keep } else { UsageChunk::Hide };
        draft.out.key(field.name);
        draft.out.open_object();
        draft.out.key("include_usage");
        draft.out.bool(true);
        draft.out.close_object();
    }
    Ok(())
}

/// `truncate`: an over-long prompt is cut, as by default.
pub(super) fn truncate(draft: &mut Draft<'_>, field: &'static Field, _: &Members<'_>) -> Done {
    draft.out.key(field.name);
    draft.out.bool(true);
    Ok(())
}

/// `keep_alive`: the operator's.
pub(super) fn keep_alive(draft: &mut Draft<'_>, field: &'static Field, _: &Members<'_>) -> Done {
    let pinned = draft.pin().and_then(|pin| pin.keep_alive.as_ref());
    if let Some(duration) = pinned.or(draft.rules.role.options.keep_alive.as_ref()) {
        draft.out.key(field.name);
        draft.out.string(duration);
    }
    Ok(())
}

/// A system prompt that is a field of its own.
pub(super) fn system(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let given = optional(field.name, members)?.filter(|text| !text.is_empty());
    match (&draft.rules.role.system_prompt, given) {
        (SystemPrompt::Pin(prompt), _) => {
            draft.pinned(field.name, prompt);
            Ok(())
        }
        (SystemPrompt::Deny, Some(_)) => Err(BodyFault::SystemPromptDenied),
        (SystemPrompt::Deny | SystemPrompt::Allow, None) => Ok(()),
        (SystemPrompt::Allow, Some(text)) => {
            draft.out.key(field.name);
            draft.text(text)
        }
    }
}
