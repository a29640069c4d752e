//! Tools that the model may call, and the calls it made.
//!
//! Guarantees: number and size of tools are bounded, their parameters checked as schemas; a tool that the server itself
//! would run (web search) passes only where the role names it; arguments that come as a string of JSON are read as
//! strictly as the body, and pass as they came. Answers `threats.md` §1.1 and §5 rows 16 and 7.

use super::draft::Draft;
use super::rows::{label, nested, optional, text, whole};
use super::schema::parameters;
use super::table::{Field, Keys, Members, Shape, drop, object, pass, rows, set};
use crate::config::types::Allowance;
use crate::ollama::fault::BodyFault;
use crate::ollama::strict_json::{self, Value};

type Done = Result<(), BodyFault>;

/// Bytes of all tools of one request.
const TOOLS_BYTES: usize = 65_536;

/// A tool of `/api/chat` and `/v1/chat/completions`.
pub(super) const TOOL: Shape =
    &[set("type", function_type), drop("items"), set("function", nested_function).within(&[FUNCTION]), drop("strict")];

const FUNCTION: Shape =
    &[set("name", tool_name), pass("description", text), pass("parameters", parameters), drop("strict")];

/// A tool of `/v1/responses`.
pub(super) const RESPONSES_TOOL: Shape = &[
    set("type", responses_type),
    pass("name", label),
    pass("description", text),
    drop("strict"),
    pass("parameters", parameters),
    pass("tools", namespace).within(&[RESPONSES_MEMBER]),
];

/// A tool within a namespace.
const RESPONSES_MEMBER: Shape = &[
    set("type", function_type),
    set("name", tool_name),
    pass("description", text),
    drop("strict"),
    pass("parameters", parameters),
];

/// A tool of `/v1/messages`.
pub(super) const ANTHROPIC_TOOL: Shape = &[
    pass("type", anthropic_type),
    set("name", tool_name),
    pass("description", text),
    pass("input_schema", parameters),
    pass("max_uses", whole::<0, 3>),
    drop("cache_control"),
];

/// A call in `/api/chat`.
pub(super) const CALL: Shape =
    &[pass("id", label), drop("type"), set("function", nested_call).within(&[CALL_FUNCTION])];

const CALL_FUNCTION: Shape =
    &[pass("index", whole::<0, 1024>), set("name", tool_name), pass("arguments", arguments), drop("description")];

/// A call in `/v1/chat/completions`.
pub(super) const OPENAI_CALL: Shape = &[
    pass("id", label),
    pass("index", whole::<0, 1024>),
    pass("type", function_type),
    set("function", nested_call).within(&[OPENAI_CALL_FUNCTION]),
];

const OPENAI_CALL_FUNCTION: Shape = &[set("name", tool_name), set("arguments", argument_string)];

/// `tools`: an empty list is none.
pub(super) fn tools(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    let before = draft.out.len();
    list(draft, field, value)?;
    let (limit, length) = (TOOLS_BYTES, draft.out.len() - before);
    if length > limit { Err(BodyFault::ToolsTooLarge { limit, length }) } else { Ok(()) }
}

/// The tools of a namespace; together with the others they are bounded by [`tools`].
fn namespace(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    members.get(field.name).map_or(Ok(()), |value| list(draft, field, value))
}

/// `tool_calls`: an empty list is none.
pub(super) fn tool_calls(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    members.get(field.name).map_or(Ok(()), |value| list(draft, field, value))
}

fn list(draft: &mut Draft<'_>, field: &'static Field, value: &Value<'_>) -> Done {
    let items = value.as_array().ok_or(BodyFault::FieldType { field: field.name })?;
    if items.is_empty() {
        return Ok(());
    }
    let (limit, length) = (draft.rules.validation.max_tools, items.len());
    if length > limit {
        return Err(BodyFault::TooManyTools { limit, length });
    }
    draft.out.key(field.name);
    draft.out.open_array();
    for item in items {
        let item = item.as_object().ok_or(BodyFault::FieldType { field: field.name })?;
        object(draft, Keys::Fields, field.inner(), item)?;
    }
    draft.out.close_array();
    Ok(())
}

/// `type` of a tool or of a call, which can only be a function; it may be left out.
fn function_type(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let kind = optional(field.name, members)?.map_or("function", |text| text.as_str());
    match kind {
        "" | "function" => {
            draft.out.key(field.name);
            draft.out.string("function");
            Ok(())
        }
        other if is_web_search(other) => Err(BodyFault::WebSearch),
        _ => Err(BodyFault::FieldValue { field: "tools.type" }),
    }
}

fn responses_type(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    match optional(field.name, members)?.map(|text| text.as_str()) {
        Some("namespace") => {
            draft.out.key(field.name);
            draft.out.string("namespace");
            Ok(())
        }
        Some(other) if is_web_search(other) => server_tool(draft, field, other),
        Some(_) | None => function_type(draft, field, members),
    }
}

fn anthropic_type(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    match optional(field.name, members)?.map(|text| text.as_str()) {
        None | Some("") => Ok(()),
        Some("custom") => {
            draft.out.key(field.name);
            draft.out.string("custom");
            Ok(())
        }
        Some(other) if is_web_search(other) => server_tool(draft, field, other),
        Some(_) => Err(BodyFault::FieldValue { field: "tools.type" }),
    }
}

/// Ollama goes by the beginning of the name.
fn is_web_search(kind: &str) -> bool {
    kind.get(..10).is_some_and(|head| head.eq_ignore_ascii_case("web_search"))
}

fn server_tool(draft: &mut Draft<'_>, field: &'static Field, kind: &str) -> Done {
    let plain = kind.len() <= 64 && kind.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !plain || !draft.allows(Allowance::WebSearch) {
        return Err(BodyFault::WebSearch);
    }
    draft.out.key(field.name);
    draft.out.string(kind);
    Ok(())
}

fn tool_name(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    super::rows::required(field.name, members.get(field.name))?;
    label(draft, field, members)
}

fn nested_function(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    if members.get(field.name).is_none() {
        return Err(BodyFault::FieldMissing { field: "tools.function" });
    }
    nested(draft, field, members)
}

fn nested_call(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    if members.get(field.name).is_none() {
        return Err(BodyFault::FieldMissing { field: "tool_calls.function" });
    }
    nested(draft, field, members)
}

/// Arguments that are an object.
pub(super) fn arguments(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    if value.as_object().is_none() {
        return Err(BodyFault::Arguments);
    }
    draft.out.key(field.name);
    draft.opaque(value)
}

/// Arguments that are a string which holds an object; nothing is an empty one. What Go will find in the string is what is
/// read here, in the only way that there is, so the string passes as it came.
pub(super) fn argument_string(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    draft.out.key(field.name);
    let Some(text) = optional(field.name, members)?.filter(|text| !text.trimmed().is_empty()) else {
        draft.out.string("{}");
        return Ok(());
    };
    let tree = strict_json::parse(text.as_str().as_bytes(), draft.rules.validation.max_depth)?;
    if tree.as_object().is_none() {
        return Err(BodyFault::Arguments);
    }
    draft.read_all(&tree)?;
    draft.out.text(text);
    Ok(())
}

/// One object by its table, under a key that was written.
pub(super) fn by_table(draft: &mut Draft<'_>, shape: Shape, value: &Value<'_>, field: &'static str) -> Done {
    let inner = value.as_object().ok_or(BodyFault::FieldType { field })?;
    let members = Members::read(draft, Keys::Fields, shape, inner)?;
    rows(draft, shape, &members)
}
