//! `/v1/chat/completions` and `/v1/completions`. Source: Ollama's `openai/openai.go`.
//!
//! Guarantees: fields that Ollama does not know but clients send (`n`, `user`, `tool_choice`, …) are dropped by name;
//! `max_completion_tokens` becomes `max_tokens`; a stream always tells its usage.

use super::draft::Draft;
use super::image::data_uri;
use super::message::{messages, prompt, role};
use super::options::{MAX_COMPLETION_TOKENS, max_completion_tokens, top_logprobs};
use super::rows::{
    flag, label, model, nested, number, stop, stream_if_true, stream_options, string, suffix, text, whole, word,
};
use super::schema::schema;
use super::table::{Field, Keys, Members, Shape, clamp, drop, is_empty, nothing, pass, refuse_unless, set};
use super::tools::{OPENAI_CALL, TOOL, tool_calls, tools};
use crate::config::types::{Allowance, SystemPrompt};
use crate::ollama::fault::BodyFault;
use crate::ollama::strict_json::Value;

type Done = Result<(), BodyFault>;

/// A seed that fits Go's `int`, and a double.
const SEED: i64 = 9_007_199_254_740_991;

/// `/v1/chat/completions`
pub(super) const CHAT_COMPLETIONS: Shape = &[
    set("model", model),
    set("stream", stream_if_true),
    set("stream_options", stream_options).within(&[STREAM_OPTIONS]),
    set("messages", messages).within(&[MESSAGE]),
    clamp("max_tokens", max_completion_tokens),
    MAX_COMPLETION_TOKENS,
    pass("seed", whole::<{ -SEED }, SEED>),
    pass("stop", stop),
    pass("temperature", number::<0, 5>),
    pass("frequency_penalty", number::<-2, 2>),
    pass("presence_penalty", number::<-2, 2>),
    pass("top_p", number::<0, 1>),
    pass("response_format", nested).within(&[RESPONSE_FORMAT]),
    pass("tools", tools).within(&[TOOL]),
    pass("reasoning", nested).within(&[REASONING]),
    pass("reasoning_effort", effort),
    pass("logprobs", flag),
    clamp("top_logprobs", top_logprobs),
    refuse_unless("_debug_render_only", Allowance::DebugRender, flag),
    drop("n"),
    drop("tool_choice"),
    drop("user"),
    drop("logit_bias"),
    drop("parallel_tool_calls"),
    drop("metadata"),
    drop("store"),
    drop("service_tier"),
    drop("modalities"),
    drop("prediction"),
    drop("verbosity"),
    drop("safety_identifier"),
    drop("prompt_cache_key"),
    drop("prompt_cache_retention"),
];

/// `/v1/completions`
pub(super) const COMPLETIONS: Shape = &[
    set("model", model),
    set("stream", stream_if_true),
    set("stream_options", stream_options).within(&[STREAM_OPTIONS]),
    refuse_unless("suffix", Allowance::Suffix, suffix),
    set("prompt", completion_prompt),
    clamp("max_tokens", max_completion_tokens),
    MAX_COMPLETION_TOKENS,
    pass("seed", whole::<{ -SEED }, SEED>),
    pass("stop", stop),
    pass("temperature", number::<0, 5>),
    pass("frequency_penalty", number::<-2, 2>),
    pass("presence_penalty", number::<-2, 2>),
    pass("top_p", number::<0, 1>),
    clamp("logprobs", top_logprobs),
    refuse_unless("_debug_render_only", Allowance::DebugRender, flag),
    drop("n"),
    drop("best_of"),
    drop("echo"),
    drop("logit_bias"),
    drop("user"),
];

const STREAM_OPTIONS: Shape = &[set("include_usage", nothing), drop("include_obfuscation")];

const MESSAGE: Shape = &[
    set("role", role),
    set("content", content).within(&[TEXT, IMAGE]),
    pass("reasoning", text),
    pass("tool_calls", tool_calls).within(&[OPENAI_CALL]),
    pass("name", label),
    pass("tool_call_id", label),
    drop("refusal"),
    drop("annotations"),
    drop("audio"),
    drop("function_call"),
];

const TEXT: Shape = &[pass("type", nothing), pass("text", nothing)];
const IMAGE: Shape = &[pass("type", nothing), pass("image_url", nothing).within(&[IMAGE_URL])];
const IMAGE_URL: Shape = &[pass("url", nothing), drop("detail")];

const RESPONSE_FORMAT: Shape = &[pass("type", format_type), pass("json_schema", nested).within(&[JSON_SCHEMA])];
const JSON_SCHEMA: Shape = &[pass("schema", schema), drop("name"), drop("description"), drop("strict")];

const REASONING: Shape =
    &[pass("effort", effort), drop("summary"), drop("max_tokens"), drop("exclude"), drop("enabled")];

fn format_type(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    word(draft, field, members, &["text", "json_object", "json_schema"])
}

/// How much a model thinks.
pub(super) fn effort(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    word(draft, field, members, &["none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra"])
}

/// This route has no place for a system prompt, so a role whose prompt is pinned cannot use it.
fn completion_prompt(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    if matches!(draft.rules.role.system_prompt, SystemPrompt::Pin(_)) {
        return Err(BodyFault::SystemPromptPinned);
    }
    prompt(draft, field, members)
}

/// `content`: a string, parts, or nothing beside calls of tools.
fn content(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    match members.get(field.name) {
        None if members.get("tool_calls").is_some_and(|calls| !is_empty(calls)) => Ok(()),
        None => {
            draft.out.key(field.name);
            draft.out.string("");
            Ok(())
        }
        Some(Value::Array(items)) => parts(draft, field, items),
        Some(_) => super::message::content(draft, field, members),
    }
}

fn parts(draft: &mut Draft<'_>, field: &'static Field, items: &[Value<'_>]) -> Done {
    draft.expect_parts(items);
    draft.out.key(field.name);
    draft.out.open_array();
    for item in items {
        let members = item.as_object().ok_or(BodyFault::PartRefused)?;
        // Ollama reads a part as a map, so its names are compared byte by byte.
        match item.get("type").and_then(Value::as_text).map(|kind| kind.as_str()) {
            Some("text") => text_part(draft, &Members::read(draft, Keys::Map, TEXT, members)?)?,
            Some("image_url") => image_part(draft, &Members::read(draft, Keys::Map, IMAGE, members)?)?,
            Some(_) | None => return Err(BodyFault::PartRefused),
        }
    }
    draft.out.close_array();
    Ok(())
}

fn text_part(draft: &mut Draft<'_>, members: &Members<'_>) -> Done {
    let value = members.get("text").ok_or(BodyFault::FieldMissing { field: "text" })?;
    let text = draft.say(string("text", value)?)?;
    if text.is_empty() {
        return Ok(());
    }
    draft.out.open_object();
    draft.out.key("type");
    draft.out.string("text");
    draft.out.key("text");
    draft.out.text(&text);
    draft.out.close_object();
    Ok(())
}

fn image_part(draft: &mut Draft<'_>, members: &Members<'_>) -> Done {
    let value = members.get("image_url").ok_or(BodyFault::FieldMissing { field: "image_url" })?;
    let url = match value.as_object() {
        Some(inner) => Members::read(draft, Keys::Map, IMAGE_URL, inner)?
            .get("url")
            .ok_or(BodyFault::FieldMissing { field: "url" })?,
        None => value,
    };
    draft.out.open_object();
    draft.out.key("type");
    draft.out.string("image_url");
    draft.out.key("image_url");
    draft.out.open_object();
    draft.out.key("url");
    data_uri(draft, "image_url", url)?;
    draft.out.close_object();
    draft.out.close_object();
    Ok(())
}
