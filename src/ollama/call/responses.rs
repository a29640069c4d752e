//! `/v1/responses`. Source: Ollama's `openai/responses.go`.
//!
//! Guarantees: items and parts are of the types that Ollama knows, others are refused; arguments within strings are read
//! strictly; reasoning that a client sends back is text like any other.

use super::draft::Draft;
use super::image::data_uri;
use super::message::{Speaker, Written, list, message, role};
use super::openai::effort;
use super::options::max_tokens;
use super::rows::{label, model, nested, number, required, stream_if_true, string, system, text, word};
use super::schema::schema;
use super::table::{Field, Keys, Members, Shape, clamp, drop, nothing, object, pass, refuse, set};
use super::tools::{RESPONSES_TOOL, argument_string, tools};
use crate::ollama::fault::BodyFault;
use crate::ollama::strict_json::Value;

type Done = Result<(), BodyFault>;

/// `/v1/responses`
pub(super) const RESPONSES: Shape = &[
    set("model", model),
    set("stream", stream_if_true),
    set("instructions", system),
    set("input", input).within(&[MESSAGE, CALL, OUTPUT, REASONING_ITEM]),
    clamp("max_output_tokens", max_tokens),
    pass("reasoning", nested).within(&[REASONING]),
    pass("temperature", number::<0, 5>),
    pass("top_p", number::<0, 1>),
    pass("text", nested).within(&[TEXT]),
    pass("truncation", truncation),
    pass("tools", tools).within(&[RESPONSES_TOOL]),
    // Ollama keeps nothing between calls; a client that counts on it must be told.
    refuse("background"),
    refuse("conversation"),
    drop("previous_response_id"),
    drop("include"),
    drop("store"),
    drop("metadata"),
    drop("user"),
    drop("tool_choice"),
    drop("parallel_tool_calls"),
    drop("max_tool_calls"),
    drop("service_tier"),
    drop("safety_identifier"),
    drop("prompt_cache_key"),
    drop("prompt_cache_retention"),
    drop("stream_options"),
    drop("top_logprobs"),
];

const REASONING: Shape = &[pass("effort", effort), pass("summary", summary), drop("generate_summary")];
const TEXT: Shape = &[pass("format", nested).within(&[FORMAT]), drop("verbosity")];
const FORMAT: Shape =
    &[pass("type", format_type), pass("name", label), pass("schema", schema), drop("strict"), drop("description")];

const MESSAGE: Shape = &[
    set("type", message_type),
    set("role", role),
    pass("content", content).within(&[PART_TEXT, PART_IMAGE]),
    drop("id"),
    drop("status"),
    drop("phase"),
];
const CALL: Shape = &[
    set("type", call_type),
    pass("id", label),
    pass("call_id", label),
    pass("name", label),
    set("arguments", argument_string),
    drop("status"),
    drop("namespace"),
];
const OUTPUT: Shape = &[
    set("type", output_type),
    pass("call_id", label),
    pass("output", content).within(&[PART_TEXT, PART_IMAGE]),
    drop("id"),
    drop("status"),
];
const REASONING_ITEM: Shape = &[
    set("type", reasoning_type),
    pass("id", label),
    pass("summary", summaries).within(&[SUMMARY]),
    pass("encrypted_content", text),
    drop("content"),
    drop("status"),
];
const SUMMARY: Shape = &[pass("type", summary_type), pass("text", text)];
const PART_TEXT: Shape = &[pass("type", nothing), pass("text", nothing), drop("annotations"), drop("logprobs")];
const PART_IMAGE: Shape = &[pass("type", nothing), pass("image_url", nothing), refuse("file_id"), drop("detail")];

/// A text, or items.
fn input(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let value = members.get(field.name).ok_or(BodyFault::FieldMissing { field: field.name })?;
    if value.as_text().is_some() {
        draft.open_turn(Speaker::User);
        super::message::content(draft, field, members)?;
        return draft.close_turn();
    }
    let items = list(draft, field.name, members)?;
    draft.out.key(field.name);
    draft.out.open_array();
    let mut written = 0;
    for value in items {
        written += usize::from(item(draft, value)? == Written::Yes);
    }
    draft.out.close_array();
    if written == 0 { Err(BodyFault::MessageEmpty) } else { Ok(()) }
}

fn item(draft: &mut Draft<'_>, value: &Value<'_>) -> Result<Written, BodyFault> {
    let members = value.as_object().ok_or(BodyFault::FieldType { field: "input" })?;
    let kind = value.get("type").and_then(Value::as_text).map_or("", |text| text.as_str());
    match kind {
        "" | "message" => return message(draft, MESSAGE, value),
        "function_call" => turn(draft, Speaker::Assistant, CALL, members)?,
        "function_call_output" => turn(draft, Speaker::Tool, OUTPUT, members)?,
        "reasoning" => turn(draft, Speaker::Assistant, REASONING_ITEM, members)?,
        "web_search_call" => return Err(BodyFault::WebSearch),
        _ => return Err(BodyFault::PartRefused),
    }
    Ok(Written::Yes)
}

fn turn(
    draft: &mut Draft<'_>,
    speaker: Speaker,
    shape: Shape,
    members: &[(crate::ollama::strict_json::Text<'_>, Value<'_>)],
) -> Done {
    draft.open_turn(speaker);
    object(draft, Keys::Fields, shape, members)?;
    draft.close_turn()
}

/// A string, or parts.
fn content(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(items) = members.get(field.name).and_then(Value::as_array) else {
        return super::message::content(draft, field, members);
    };
    draft.expect_parts(items);
    draft.out.key(field.name);
    draft.out.open_array();
    items.iter().try_for_each(|item| part(draft, item))?;
    draft.out.close_array();
    Ok(())
}

fn part(draft: &mut Draft<'_>, value: &Value<'_>) -> Done {
    let members = value.as_object().ok_or(BodyFault::PartRefused)?;
    let kind = value.get("type").and_then(Value::as_text).map(|text| text.as_str());
    draft.out.open_object();
    match kind {
        Some(kind @ ("input_text" | "output_text")) => {
            let members = Members::read(draft, Keys::Fields, PART_TEXT, members)?;
            let text = members.get("text").ok_or(BodyFault::FieldMissing { field: "text" })?;
            let text = draft.say(string("text", text)?)?;
            draft.out.key("type");
            draft.out.string(kind);
            draft.out.key("text");
            draft.out.text(&text);
        }
        Some("input_image") => {
            let members = Members::read(draft, Keys::Fields, PART_IMAGE, members)?;
            if members.get("file_id").is_some() {
                return Err(BodyFault::FieldRefused { field: "file_id" });
            }
            let url = members.get("image_url");
            required("image_url", url)?;
            draft.out.key("type");
            draft.out.string("input_image");
            draft.out.key("image_url");
            url.map_or(Ok(()), |url| data_uri(draft, "image_url", url))?;
        }
        Some(_) | None => return Err(BodyFault::PartRefused),
    }
    draft.out.close_object();
    Ok(())
}

fn summaries(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    let items = value.as_array().ok_or(BodyFault::FieldType { field: field.name })?;
    draft.out.key(field.name);
    draft.out.open_array();
    for item in items {
        super::tools::by_table(draft, SUMMARY, item, field.name)?;
    }
    draft.out.close_array();
    Ok(())
}

fn constant(draft: &mut Draft<'_>, field: &'static Field, value: &str) -> Done {
    draft.out.key(field.name);
    draft.out.string(value);
    Ok(())
}

fn message_type(draft: &mut Draft<'_>, field: &'static Field, _: &Members<'_>) -> Done {
    constant(draft, field, "message")
}

fn call_type(draft: &mut Draft<'_>, field: &'static Field, _: &Members<'_>) -> Done {
    constant(draft, field, "function_call")
}

fn output_type(draft: &mut Draft<'_>, field: &'static Field, _: &Members<'_>) -> Done {
    constant(draft, field, "function_call_output")
}

fn reasoning_type(draft: &mut Draft<'_>, field: &'static Field, _: &Members<'_>) -> Done {
    constant(draft, field, "reasoning")
}

fn summary_type(draft: &mut Draft<'_>, field: &'static Field, _: &Members<'_>) -> Done {
    constant(draft, field, "summary_text")
}

fn format_type(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    word(draft, field, members, &["text", "json_object", "json_schema"])
}

fn summary(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    word(draft, field, members, &["auto", "concise", "detailed"])
}

fn truncation(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    word(draft, field, members, &["auto", "disabled"])
}
