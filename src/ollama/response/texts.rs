//! Where the text of an answer stands in a frame or in a whole answer of each protocol.
//!
//! Guarantees: every string that the model wrote as a value is visited, tool-call arguments, reasoning and the repetitions
//! in `/v1/responses` events included, each under the channel it belongs to.
//! Does not: visit keys of tool-call arguments, what the caller wrote (`instructions`, `tools`), or what Ollama names (ids, models).

use serde_json::Value;

use super::rules::{Channel, Field};
use super::shape::Shape;

/// Is shown each text, and may change it.
pub(super) type Visit<'a> = dyn FnMut(Channel, &mut String) + 'a;

/// Visits the texts of one frame.
pub(super) fn of_frame(shape: Shape, frame: &mut Value, visit: &mut Visit<'_>) {
    match shape {
        Shape::Chat => of_message(frame.get_mut("message"), 0, visit),
        Shape::Generate => of_message(Some(frame), 0, visit),
        Shape::ChatChunks | Shape::TextChunks => of_choices(frame, visit),
        Shape::Messages => of_messages_event(frame, visit),
        Shape::Responses => of_responses_event(frame, visit),
        Shape::Progress | Shape::Nothing => {}
    }
}

/// Visits the texts of a whole answer, all as [`Field::Whole`].
pub(super) fn of_answer(answer: &mut Value, visit: &mut Visit<'_>) {
    let mut visit = |_part: Channel, text: &mut String| visit(Channel { index: 0, field: Field::Whole }, text);
    of_message(answer.get_mut("message"), 0, &mut visit);
    of_choices(answer, &mut visit);
    for part in ["content", "output"] {
        keyed(answer.get_mut(part), &mut visit);
    }
    for text in ["response", "thinking", "text"] {
        string(answer.get_mut(text), 0, Field::Whole, &mut visit);
    }
}

/// Text that a message, a delta or `/api/generate` holds.
const MESSAGE_TEXTS: [(&str, Field); 6] = [
    ("content", Field::Content),
    ("text", Field::Content),
    ("response", Field::Content),
    ("thinking", Field::Thinking),
    ("reasoning", Field::Thinking),
    ("reasoning_content", Field::Thinking),
];

fn of_message(message: Option<&mut Value>, index: u32, visit: &mut Visit<'_>) {
    let Some(message) = message else { return };
    for (key, field) in MESSAGE_TEXTS {
        string(message.get_mut(key), index, field, visit);
    }
    let calls = message.get_mut("tool_calls").and_then(Value::as_array_mut);
    for call in calls.into_iter().flatten() {
        arguments(call.pointer_mut("/function/arguments"), index, visit);
    }
}

fn of_choices(frame: &mut Value, visit: &mut Visit<'_>) {
    let choices = frame.get_mut("choices").and_then(Value::as_array_mut);
    for choice in choices.into_iter().flatten() {
        let index = number(choice, "index");
        string(choice.get_mut("text"), index, Field::Content, visit);
        for part in ["delta", "message"] {
            of_message(choice.get_mut(part), index, visit);
        }
    }
}

fn of_messages_event(frame: &mut Value, visit: &mut Visit<'_>) {
    let index = number(frame, "index");
    if let Some(delta) = frame.get_mut("delta") {
        string(delta.get_mut("text"), index, Field::Content, visit);
        string(delta.get_mut("thinking"), index, Field::Thinking, visit);
        arguments(delta.get_mut("partial_json"), index, visit);
    }
    keyed(frame.get_mut("content_block"), visit);
}

fn of_responses_event(frame: &mut Value, visit: &mut Visit<'_>) {
    let index = number(frame, "output_index");
    let kind = frame.get("type").and_then(Value::as_str).unwrap_or_default();
    match kind {
        kind if kind.contains("arguments") => arguments(frame.get_mut("delta"), index, visit),
        kind if kind.contains("reasoning") => string(frame.get_mut("delta"), index, Field::Thinking, visit),
        _ => string(frame.get_mut("delta"), index, Field::Content, visit),
    }
    arguments(frame.get_mut("arguments"), index, visit);
    string(frame.get_mut("text"), index, Field::Whole, visit);
    for part in ["part", "item"] {
        keyed(frame.get_mut(part), visit);
    }
    keyed(frame.pointer_mut("/response/output"), visit);
}

fn number(value: &Value, key: &str) -> u32 {
    value.get(key).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or_default()
}

fn string(value: Option<&mut Value>, index: u32, field: Field, visit: &mut Visit<'_>) {
    if let Some(Value::String(text)) = value {
        visit(Channel { index, field }, text);
    }
}

/// Keys below which a content block or an output item holds what the model wrote.
const TEXT_KEYS: [&str; 4] = ["text", "thinking", "encrypted_content", "refusal"];

/// Every string at or below a text key.
fn keyed(value: Option<&mut Value>, visit: &mut Visit<'_>) {
    match value {
        Some(Value::Array(items)) => items.iter_mut().for_each(|item| keyed(Some(item), visit)),
        Some(Value::Object(fields)) => {
            for (key, field) in fields.iter_mut() {
                match key.as_str() {
                    "arguments" | "input" => arguments(Some(field), 0, visit),
                    key if TEXT_KEYS.contains(&key) => strings(Some(field), visit),
                    _ => keyed(Some(field), visit),
                }
            }
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) | None => {}
    }
}

/// The arguments of a tool call: an object, or its JSON in a string. Ollama sends them in one piece, and they are visited
/// decoded, so that an escape hides nothing; a part of a JSON text is visited as it is.
fn arguments(value: Option<&mut Value>, index: u32, visit: &mut Visit<'_>) {
    let Some(value) = value else { return };
    let Value::String(text) = value else { return strings(Some(value), visit) };
    match serde_json::from_str::<Value>(text) {
        Ok(mut decoded) if decoded.is_object() => {
            let before = decoded.clone();
            strings(Some(&mut decoded), visit);
            if decoded != before {
                *text = decoded.to_string();
            }
        }
        Ok(_) | Err(_) => visit(Channel { index, field: Field::Arguments }, text),
    }
}

/// Every string.
fn strings(value: Option<&mut Value>, visit: &mut Visit<'_>) {
    match value {
        Some(Value::String(text)) => visit(Channel { index: 0, field: Field::Whole }, text),
        Some(Value::Array(items)) => items.iter_mut().for_each(|item| strings(Some(item), visit)),
        Some(Value::Object(fields)) => fields.iter_mut().for_each(|(_, field)| strings(Some(field), visit)),
        Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => {}
    }
}
