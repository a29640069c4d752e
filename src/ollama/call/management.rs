//! Routes that show, change or fetch models, and the two that search the web.
//!
//! Guarantees: the name that was checked is the only name sent (`name`, the old spelling of `model`, becomes `model`, and
//! must not contradict it); a name of another registry passes only if the role lists its host; connections are never made
//! insecure and no password is passed on; `create` can only derive from a model of this server's by name, so that no
//! file, template, adapter or remote host gets in. Answers `threats.md` §1 rows 4, 5, 7, 8, 12, 15–17.
//! Does not: know whether `from` is here already; Ollama would fetch it, from its own registry alone.

use super::draft::Draft;
use super::options::OPTIONS;
use super::rows::{optional, required, stream_unless_false, text, whole, why_not, write_model};
use super::table::{Field, Members, Shape, clamp, drop, nothing, pass, refuse, set};
use crate::config::types::{Allowance, SystemPrompt};
use crate::ollama::fault::BodyFault;
use crate::ollama::model_name::ModelName;

type Done = Result<(), BodyFault>;

/// `/api/show`
pub(super) const SHOW: Shape =
    &[set("model", shown), NAME, drop("verbose"), drop("system"), drop("template"), drop("options")];

/// `/api/delete`
pub(super) const DELETE: Shape = &[set("model", managed), NAME];

/// `/api/copy`
pub(super) const COPY: Shape = &[set("source", copied), set("destination", copied)];

/// `/api/pull` and `/api/push`
pub(super) const TRANSFER: Shape = &[
    set("model", managed),
    NAME,
    set("stream", stream_unless_false),
    drop("insecure"),
    drop("username"),
    drop("password"),
];

/// `/api/create`
pub(super) const CREATE: Shape = &[
    set("model", managed),
    NAME,
    set("from", from),
    set("stream", stream_unless_false),
    pass("system", created_system),
    pass("parameters", parameters).within(&[OPTIONS]),
    drop("license"),
    refuse("files"),
    refuse("draft_files"),
    refuse("adapters"),
    refuse("template"),
    refuse("quantize"),
    refuse("quantization"),
    refuse("draft_quantize"),
    refuse("remote_host"),
    refuse("messages"),
    refuse("renderer"),
    refuse("parser"),
    refuse("requires"),
    refuse("info"),
    refuse("path"),
    refuse("modelfile"),
];

/// `/api/experimental/web_search`
pub(super) const WEB_SEARCH: Shape = &[set("query", query), clamp("max_results", results)];

/// `/api/experimental/web_fetch`
pub(super) const WEB_FETCH: Shape = &[set("url", url)];

/// The old spelling of `model`, read with it.
const NAME: Field = set("name", nothing);

/// The one name that `model` and `name` give.
fn either<'v>(members: &Members<'v>) -> Result<&'v str, BodyFault> {
    let given = |field| optional(field, members).map(|text| text.map_or("", |text| text.as_str()));
    match (given("model")?, given("name")?) {
        ("", "") => Err(BodyFault::FieldMissing { field: "model" }),
        (name, "") | ("", name) => Ok(name),
        (name, other) if name == other => Ok(name),
        _ => Err(BodyFault::FieldConflict { field: "name" }),
    }
}

fn parsed(text: &str) -> Result<ModelName, BodyFault> {
    ModelName::parse(text).map_err(|_| BodyFault::ModelName)
}

fn shown(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    write_model(draft, field.name, parsed(either(members)?)?)
}

fn managed(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    write_managed(draft, field, parsed(either(members)?)?)
}

fn copied(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let text = required(field.name, members.get(field.name))?;
    write_managed(draft, field, parsed(text.as_str())?)
}

/// A name that a manager may change: of the role's models, and of a registry that it lists.
fn write_managed(draft: &mut Draft<'_>, field: &'static Field, name: ModelName) -> Done {
    let role = draft.rules.role;
    let listed = |host: &str| role.registries.iter().any(|registry| registry.eq_ignore_ascii_case(host));
    if name.is_cloud() && !draft.allows(Allowance::Cloud) {
        return Err(why_not(&name));
    }
    if name.foreign_host().is_some_and(|host| !listed(host)) {
        return Err(BodyFault::RegistryRefused);
    }
    if !role.names(&name) {
        return Err(BodyFault::ModelNotFound);
    }
    draft.out.key(field.name);
    draft.out.string(name.canonical());
    draft.model.get_or_insert(name);
    Ok(())
}

/// `from`: a model of Ollama's own registry, never an address.
fn from(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let name = parsed(required(field.name, members.get(field.name))?.as_str())?;
    if name.is_foreign() {
        return Err(BodyFault::RegistryRefused);
    }
    write_managed(draft, field, name)
}

/// A system prompt in a model would go round one that is denied or pinned.
fn created_system(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    if draft.rules.role.system_prompt != SystemPrompt::Allow {
        return Err(BodyFault::SystemPromptDenied);
    }
    text(draft, field, members)
}

/// Parameters of the model that is made; they too bound its answers. This call itself generates nothing.
fn parameters(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    super::options::options(draft, field, members)?;
    draft.max_tokens = None;
    Ok(())
}

fn query(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    const LIMIT: usize = 1024;
    bounded(draft, field, members, LIMIT)
}

fn url(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    const LIMIT: usize = 2048;
    let text = required(field.name, members.get(field.name))?.as_str();
    let web = text.starts_with("https://") || text.starts_with("http://");
    if !web || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(BodyFault::FieldValue { field: field.name });
    }
    bounded(draft, field, members, LIMIT)
}

fn bounded(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>, limit: usize) -> Done {
    let length = required(field.name, members.get(field.name))?.as_str().len();
    if length > limit {
        return Err(BodyFault::FieldTooLong { field: field.name, limit, length });
    }
    text(draft, field, members)
}

fn results(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    whole::<0, 10>(draft, field, members)
}
