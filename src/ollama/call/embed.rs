//! `/api/embed`, `/api/embeddings` and `/v1/embeddings`.
//!
//! Guarantees: number and bytes of the inputs are bounded, since Ollama starts a task for each; no input at all, which
//! would only load the model, is refused. Answers `threats.md` §5 row 9.

use super::draft::Draft;
use super::options::pinned_options;
use super::rows::{keep_alive, model, string, truncate, whole, word};
use super::table::{Field, Members, Shape, drop, pass, set};
use crate::ollama::fault::BodyFault;

type Done = Result<(), BodyFault>;

/// `/api/embed`
pub(super) const EMBED: Shape = &[
    set("model", model),
    set("input", input),
    set("truncate", truncate),
    pass("dimensions", dimensions),
    set("keep_alive", keep_alive),
    set("options", pinned_options),
];

/// `/api/embeddings`
pub(super) const EMBEDDINGS: Shape =
    &[set("model", model), set("prompt", input), set("keep_alive", keep_alive), set("options", pinned_options)];

/// `/v1/embeddings`
pub(super) const V1_EMBEDDINGS: Shape = &[
    set("model", model),
    set("input", input),
    pass("dimensions", dimensions),
    pass("encoding_format", encoding),
    drop("user"),
];

/// One text or several. The legacy route's `prompt` is one.
fn input(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let value = members.get(field.name).ok_or(BodyFault::FieldMissing { field: field.name })?;
    draft.out.key(field.name);
    let several = value.as_array().filter(|_| field.name == "input");
    let items = several.unwrap_or(std::slice::from_ref(value));
    let (limit, length) = (draft.rules.validation.max_embed_inputs, items.len());
    if length > limit {
        return Err(BodyFault::TooManyInputs { limit, length });
    }
    if several.is_some() {
        draft.out.open_array();
    }
    let mut bytes = 0;
    for item in items {
        let text = string(field.name, item)?;
        bytes += text.len();
        draft.text(text)?;
    }
    if several.is_some() {
        draft.out.close_array();
    }
    let (limit, length) = (draft.rules.validation.max_embed_bytes, bytes);
    if length > limit {
        return Err(BodyFault::InputsTooLarge { limit, length });
    }
    if length == 0 { Err(BodyFault::MessageEmpty) } else { Ok(()) }
}

/// Zero is none, as for Go.
fn dimensions(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    whole::<0, 65_536>(draft, field, members)
}

fn encoding(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    word(draft, field, members, &["float", "base64"])
}
