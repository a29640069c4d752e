//! `/v1/messages`. Source: Ollama's `anthropic/anthropic.go`.
//!
//! Guarantees: content blocks are of the types that a client makes; what Ollama would ignore silently is refused, so that
//! nobody believes that a document was read. Blocks of a server's own search pass only where the role names web search.

use super::draft::Draft;
use super::image::base64_image;
use super::message::{Carries, Speaker, role, turns};
use super::options::max_tokens;
use super::rows::{flag, label, model, nested, number, required, stop, stream_if_true, string, text, whole, word};
use super::table::{Field, Keys, Members, Shape, clamp, drop, is_empty, nothing, pass, refuse, set};
use super::tools::{ANTHROPIC_TOOL, arguments, by_table, tools};
use crate::config::types::{Allowance, SystemPrompt};
use crate::ollama::fault::BodyFault;
use crate::ollama::strict_json::{Text, Value};

type Done = Result<(), BodyFault>;

/// `/v1/messages`
pub(super) const MESSAGES: Shape = &[
    set("model", model),
    set("stream", stream_if_true),
    clamp("max_tokens", max_tokens),
    set("system", system).within(&[TEXT]),
    set("messages", turns).within(&[MESSAGE]),
    pass("temperature", number::<0, 5>),
    pass("top_p", number::<0, 1>),
    pass("top_k", whole::<0, 1000>),
    pass("stop_sequences", stop),
    pass("tools", tools).within(&[ANTHROPIC_TOOL]),
    pass("thinking", nested).within(&[THINKING_CONFIG]),
    pass("output_config", nested).within(&[OUTPUT_CONFIG]),
    drop("tool_choice"),
    drop("metadata"),
    drop("service_tier"),
    drop("container"),
    drop("context_management"),
    drop("cache_control"),
    drop("betas"),
    refuse("mcp_servers"),
];

const MESSAGE: Shape =
    &[set("role", role), set("content", content).within(&[TEXT, IMAGE, TOOL_USE, TOOL_RESULT, THINKING])];

const TEXT: Shape = &[pass("type", same), pass("text", said), drop("citations"), drop("cache_control")];
const IMAGE: Shape = &[pass("type", same), set("source", source).within(&[SOURCE]), drop("cache_control")];
const SOURCE: Shape = &[pass("type", nothing), pass("media_type", nothing), pass("data", nothing), refuse("url")];
const TOOL_USE: Shape = &[
    pass("type", same),
    set("id", needed),
    set("name", needed),
    pass("input", arguments),
    drop("cache_control"),
    drop("caller"),
];
const TOOL_RESULT: Shape = &[
    pass("type", same),
    pass("tool_use_id", label),
    pass("content", result).within(&[TEXT, IMAGE]),
    pass("is_error", flag),
    drop("cache_control"),
];
const THINKING: Shape = &[pass("type", same), pass("thinking", text), pass("signature", signature)];

const THINKING_CONFIG: Shape = &[pass("type", thinking_type), drop("budget_tokens"), drop("display")];
const OUTPUT_CONFIG: Shape = &[pass("effort", effort), drop("format"), drop("task_budget")];

/// `system`: a text, or blocks of text.
fn system(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let given = members.get(field.name).filter(|value| !is_empty(value));
    if let SystemPrompt::Pin(prompt) = &draft.rules.role.system_prompt {
        draft.pinned(field.name, prompt);
        return Ok(());
    }
    let Some(value) = given else { return Ok(()) };
    if draft.rules.role.system_prompt == SystemPrompt::Deny {
        return Err(BodyFault::SystemPromptDenied);
    }
    draft.open_turn(Speaker::System);
    blocks_or_text(draft, field, value, system_block)?;
    draft.close_turn()
}

fn content(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let value = members.get(field.name).ok_or(BodyFault::FieldMissing { field: field.name })?;
    blocks_or_text(draft, field, value, block)
}

/// What a tool gave: a text, or blocks. It is no text of the user's, so it is not counted as one.
fn result(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    draft.apart(|draft| blocks_or_text(draft, field, value, result_block))
}

fn blocks_or_text(
    draft: &mut Draft<'_>,
    field: &'static Field,
    value: &Value<'_>,
    block: fn(&mut Draft<'_>, &Value<'_>) -> Done,
) -> Done {
    draft.out.key(field.name);
    let Some(blocks) = value.as_array() else {
        let text = draft.say(string(field.name, value)?)?;
        draft.out.text(&text);
        return Ok(());
    };
    draft.expect_parts(blocks);
    draft.out.open_array();
    blocks.iter().try_for_each(|value| block(draft, value))?;
    draft.out.close_array();
    Ok(())
}

fn kind<'v>(value: &'v Value<'_>) -> &'v str {
    value.get("type").and_then(Value::as_text).map_or("", Text::as_str)
}

fn block(draft: &mut Draft<'_>, value: &Value<'_>) -> Done {
    match kind(value) {
        "text" => by_table(draft, TEXT, value, "content"),
        "image" => by_table(draft, IMAGE, value, "content"),
        "tool_use" => by_table(draft, TOOL_USE, value, "content"),
        "tool_result" => {
            draft.turn.carries = Carries::More;
            by_table(draft, TOOL_RESULT, value, "content")
        }
        "thinking" => by_table(draft, THINKING, value, "content"),
        "server_tool_use" | "web_search_tool_result" => server_block(draft, value),
        _ => Err(BodyFault::PartRefused),
    }
}

fn system_block(draft: &mut Draft<'_>, value: &Value<'_>) -> Done {
    if kind(value) == "text" { by_table(draft, TEXT, value, "system") } else { Err(BodyFault::PartRefused) }
}

fn result_block(draft: &mut Draft<'_>, value: &Value<'_>) -> Done {
    match kind(value) {
        "text" => by_table(draft, TEXT, value, "content"),
        "image" => by_table(draft, IMAGE, value, "content"),
        _ => Err(BodyFault::PartRefused),
    }
}

/// History of searches that Ollama made, sent back by the client: only where it may have them made.
fn server_block(draft: &mut Draft<'_>, value: &Value<'_>) -> Done {
    const SERVER_TOOL_USE: Shape =
        &[pass("type", same), set("id", needed), set("name", needed), pass("input", arguments)];
    const SEARCH_RESULT: Shape = &[pass("type", same), pass("tool_use_id", label), pass("content", opaque)];
    if !draft.allows(Allowance::WebSearch) {
        return Err(BodyFault::WebSearch);
    }
    let shape = if kind(value) == "server_tool_use" { SERVER_TOOL_USE } else { SEARCH_RESULT };
    draft.turn.carries = Carries::More;
    by_table(draft, shape, value, "content")
}

/// The type, which chose the table and so is one of ours: no text to be searched.
fn same(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    draft.out.key(field.name);
    draft.out.value(value);
    Ok(())
}

fn said(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    super::message::content(draft, field, members)
}

fn needed(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    required(field.name, members.get(field.name))?;
    label(draft, field, members)
}

fn opaque(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    draft.out.key(field.name);
    draft.opaque(value)
}

/// A signature is no text that the model reads; its length is bounded by the body's.
fn signature(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    draft.out.key(field.name);
    draft.out.text(string(field.name, value)?);
    Ok(())
}

/// `source`: base64 alone.
fn source(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let value = members.get(field.name).ok_or(BodyFault::FieldMissing { field: field.name })?;
    let inner = value.as_object().ok_or(BodyFault::FieldType { field: field.name })?;
    let inner = Members::read(draft, Keys::Fields, SOURCE, inner)?;
    let kind = required("type", inner.get("type"))?;
    if kind.as_str() != "base64" || inner.get("url").is_some() {
        return Err(BodyFault::ImageUrl);
    }
    let data = required("data", inner.get("data"))?;
    draft.out.key(field.name);
    draft.out.open_object();
    draft.out.key("type");
    draft.out.string("base64");
    if let Some(kind) = inner.get("media_type") {
        draft.out.key("media_type");
        draft.out.string(image_type(kind)?);
    }
    draft.out.key("data");
    base64_image(draft, data, "")?;
    draft.out.close_object();
    Ok(())
}

fn image_type(value: &Value<'_>) -> Result<&'static str, BodyFault> {
    match string("media_type", value)?.as_str() {
        "image/png" => Ok("image/png"),
        "image/jpeg" | "image/jpg" => Ok("image/jpeg"),
        _ => Err(BodyFault::ImageFormat),
    }
}

fn thinking_type(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    word(draft, field, members, &["enabled", "disabled", "adaptive"])
}

fn effort(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    word(draft, field, members, &["low", "medium", "high", "xhigh", "max"])
}
