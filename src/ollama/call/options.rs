//! `options`, and the bounds of an answer's length.
//!
//! Guarantees: a call that generates always tells how many tokens at most; what reloads the runner or makes it need
//! more memory never passes (`num_ctx` up to the role's bound, if it has one). Answers `threats.md` §0.7, §0.8, §1.1.

use super::draft::Draft;
use super::rows::{number, stop, whole};
use super::table::{Field, Keys, Members, Shape, clamp, drop, nothing, object, pass};
use crate::ollama::fault::BodyFault;
use crate::ollama::strict_json::Value;

type Done = Result<(), BodyFault>;

/// Seeds that a double holds exactly, since Go reads options as doubles.
const SEED: i64 = 9_007_199_254_740_991;

/// `options`: a map for Go, so its keys are compared byte by byte.
pub(super) const OPTIONS: Shape = &[
    clamp("num_predict", num_predict),
    clamp("num_ctx", num_ctx),
    pass("stop", stop),
    pass("temperature", number::<0, 5>),
    pass("top_p", number::<0, 1>),
    pass("min_p", number::<0, 1>),
    pass("typical_p", number::<0, 1>),
    pass("top_k", whole::<0, 1000>),
    pass("repeat_penalty", number::<0, 10>),
    pass("presence_penalty", number::<-2, 2>),
    pass("frequency_penalty", number::<-2, 2>),
    pass("repeat_last_n", whole::<0, 4096>),
    pass("seed", whole::<{ -SEED }, SEED>),
    // A change of any of these reloads the model.
    drop("num_batch"),
    drop("num_gpu"),
    drop("main_gpu"),
    drop("num_thread"),
    drop("use_mmap"),
    drop("draft_num_predict"),
    drop("num_keep"),
    // Of older versions: clients still send them.
    drop("mirostat"),
    drop("mirostat_tau"),
    drop("mirostat_eta"),
    drop("tfs_z"),
    drop("penalize_newline"),
    drop("numa"),
    drop("low_vram"),
    drop("f16_kv"),
    drop("logits_all"),
    drop("vocab_only"),
    drop("use_mlock"),
];

/// `options` of a call that generates: always there, since they hold `num_predict`.
pub(super) fn options(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let none = Value::Object(Vec::new());
    let value = members.get(field.name).unwrap_or(&none);
    let inner = value.as_object().ok_or(BodyFault::FieldType { field: field.name })?;
    draft.out.key(field.name);
    object(draft, Keys::Map, field.inner(), inner)
}

fn num_predict(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let tokens = cap(draft, field.name, members.get(field.name))?;
    write_cap(draft, field.name, tokens)
}

fn num_ctx(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    if let Some(pinned) = draft.pin().and_then(|pin| pin.num_ctx) {
        draft.out.key(field.name);
        draft.out.whole(i64::from(pinned));
        return Ok(());
    }
    let Some(max) = draft.rules.role.options.num_ctx_max else { return Ok(()) };
    let Some(value) = members.get(field.name) else { return Ok(()) };
    let asked = value.as_number().and_then(|number| number.as_whole());
    let asked = asked.ok_or(BodyFault::FieldType { field: field.name })?;
    if asked > 0 {
        draft.out.key(field.name);
        draft.out.whole(asked.min(i64::from(max)));
    }
    Ok(())
}

/// The most tokens: what was asked, up to the role's bound. Nothing, zero and less mean the role's default, since Ollama
/// takes them for "no end".
fn cap(draft: &Draft<'_>, field: &'static str, asked: Option<&Value<'_>>) -> Result<u32, BodyFault> {
    let options = &draft.rules.role.options;
    let default = options.num_predict_default.min(options.num_predict_max).max(1);
    let Some(asked) = asked else { return Ok(default) };
    let asked = asked.as_number().and_then(|number| number.as_whole()).ok_or(BodyFault::FieldType { field })?;
    if asked <= 0 {
        return Ok(default);
    }
    Ok(u32::try_from(asked).unwrap_or(u32::MAX).min(options.num_predict_max.max(1)))
}

fn write_cap(draft: &mut Draft<'_>, key: &'static str, tokens: u32) -> Done {
    draft.max_tokens = Some(tokens);
    draft.out.key(key);
    draft.out.whole(i64::from(tokens));
    Ok(())
}

/// `options` of a call that generates nothing: what is pinned for the model, since another `num_ctx` would reload it.
pub(super) fn pinned_options(draft: &mut Draft<'_>, field: &'static Field, _: &Members<'_>) -> Done {
    if let Some(pinned) = draft.pin().and_then(|pin| pin.num_ctx) {
        draft.out.key(field.name);
        draft.out.open_object();
        draft.out.key("num_ctx");
        draft.out.whole(i64::from(pinned));
        draft.out.close_object();
    }
    Ok(())
}

/// `max_tokens`, `max_output_tokens`.
pub(super) fn max_tokens(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    num_predict(draft, field, members)
}

/// OpenAI's `max_tokens`, with its newer name `max_completion_tokens`, which Ollama does not know: the smaller holds.
pub(super) fn max_completion_tokens(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    const NEWER: &str = "max_completion_tokens";
    let tokens = match (members.get(field.name), members.get(NEWER)) {
        (older, None) => cap(draft, field.name, older)?,
        (None, newer) => cap(draft, NEWER, newer)?,
        (older, newer) => cap(draft, field.name, older)?.min(cap(draft, NEWER, newer)?),
    };
    write_cap(draft, field.name, tokens)
}

/// The row of `max_completion_tokens`, which is read with `max_tokens`.
pub(super) const MAX_COMPLETION_TOKENS: Field = clamp("max_completion_tokens", nothing);

/// `top_logprobs`, up to the role's bound.
pub(super) fn top_logprobs(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(asked) = super::rows::whole_of(field.name, members)? else { return Ok(()) };
    let max = i64::from(draft.rules.role.options.top_logprobs_max.min(20));
    draft.out.key(field.name);
    draft.out.whole(asked.clamp(0, max));
    Ok(())
}
