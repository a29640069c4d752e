//! `/api/generate` and `/api/chat`. Source: Ollama's `api/types.go`; the fates are those of `threats.md` §1.1.

use super::draft::Draft;
use super::image::images;
use super::message::{content, messages, prompt, role};
use super::options::{OPTIONS, options, top_logprobs};
use super::rows::{flag, keep_alive, label, model, raw, stream_unless_false, suffix, system, text, truncate};
use super::schema::format;
use super::table::{Field, Members, Shape, clamp, drop, pass, refuse_unless, set};
use super::tools::{CALL, TOOL, tool_calls, tools};
use crate::config::types::Allowance;
use crate::ollama::fault::BodyFault;
use crate::ollama::strict_json::Value;

/// `/api/generate`
pub(super) const GENERATE: Shape = &[
    set("model", model),
    set("stream", stream_unless_false),
    // Before `prompt`: they tell how it is read.
    refuse_unless("raw", Allowance::Raw, raw),
    refuse_unless("suffix", Allowance::Suffix, suffix),
    pass("images", images),
    set("prompt", prompt),
    set("system", system),
    refuse_unless("template", Allowance::Template, text),
    refuse_unless("context", Allowance::Context, context),
    pass("format", format),
    set("options", options).within(&[OPTIONS]),
    pass("think", think),
    set("keep_alive", keep_alive),
    set("truncate", truncate),
    drop("shift"),
    refuse_unless("_debug_render_only", Allowance::DebugRender, flag),
    pass("logprobs", flag),
    clamp("top_logprobs", top_logprobs),
];

/// `/api/chat`
pub(super) const CHAT: Shape = &[
    set("model", model),
    set("stream", stream_unless_false),
    set("messages", messages).within(&[MESSAGE]),
    pass("tools", tools).within(&[TOOL]),
    pass("format", format),
    set("options", options).within(&[OPTIONS]),
    pass("think", think),
    set("keep_alive", keep_alive),
    set("truncate", truncate),
    drop("shift"),
    refuse_unless("_debug_render_only", Allowance::DebugRender, flag),
    pass("logprobs", flag),
    clamp("top_logprobs", top_logprobs),
];

const MESSAGE: Shape = &[
    set("role", role),
    pass("content", content),
    pass("thinking", text),
    pass("images", images),
    pass("tool_calls", tool_calls).within(&[CALL]),
    pass("tool_name", label),
    pass("tool_call_id", label),
];

/// `think`: a flag or a level.
fn think(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Result<(), BodyFault> {
    match members.get(field.name) {
        Some(Value::Text(_)) => super::rows::word(draft, field, members, &["high", "medium", "low", "max"]),
        Some(_) | None => flag(draft, field, members),
    }
}

/// `context`: token numbers of an earlier answer. Ollama does not check them, so negative ones are refused here.
fn context(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Result<(), BodyFault> {
    const LARGEST: i64 = 1 << 24;
    let Some(value) = members.get(field.name) else { return Ok(()) };
    let items = value.as_array().ok_or(BodyFault::FieldType { field: field.name })?;
    draft.out.key(field.name);
    draft.out.open_array();
    for item in items {
        let token = item.as_number().and_then(|number| number.as_whole());
        let token = token.ok_or(BodyFault::FieldType { field: field.name })?;
        if !(0..=LARGEST).contains(&token) {
            return Err(BodyFault::FieldRange { field: field.name, min: 0, max: LARGEST });
        }
        draft.out.whole(token);
    }
    draft.out.close_array();
    Ok(())
}
