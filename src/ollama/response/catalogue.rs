//! Which models there are, cut down to what the caller may see.
//!
//! Guarantees: a model that the caller may not see is in no listing, and asking for it by name gives the same answer as for
//! one that does not exist. The reduced view is built anew from known fields: no blob path (`details.parent_model`,
//! `modelfile`), digest, template, system prompt, parameters, licence, messages, tensors, remote host, expiry.
//! Does not: hide a model that the caller may see but that is not loaded.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::upstream_fault::UpstreamFault;
use super::whole::{Full, View};
use crate::ollama::model_name::ModelName;

/// A digest of the right length: Ollama's own command line cuts it to twelve digits, and dies if it is shorter.
const NO_DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What passes of one model in `/api/tags` and `/api/ps`.
#[derive(Serialize, Deserialize)]
struct Row {
    name: String,
    model: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_deserializing)]
    digest: &'static str,
    #[serde(default)]
    details: Details,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    capabilities: Option<Vec<String>>,
}

#[derive(Serialize, Deserialize, Default)]
struct Details {
    #[serde(skip_deserializing)]
    parent_model: &'static str,
    #[serde(default)]
    format: String,
    #[serde(default)]
    family: String,
    families: Option<Vec<String>>,
    #[serde(default)]
    parameter_size: String,
    #[serde(default)]
    quantization_level: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    context_length: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embedding_length: Option<u64>,
}

/// `/api/tags`, `/api/ps`
pub(super) fn models(text: &str, view: &View<'_>) -> Result<Vec<u8>, UpstreamFault> {
    let mut listing = object(text)?;
    let rows = match listing.get_mut("models") {
        Some(Value::Array(rows)) => std::mem::take(rows),
        Some(Value::Null) => Vec::new(),
        _missing_or_odd => return Err(UpstreamFault::Invalid),
    };
    let visible = rows.into_iter().filter(|row| sees(view, row, &["name", "model"]));
    let rows: Result<Vec<Value>, UpstreamFault> = match view.full {
        Full::Management => Ok(visible.collect()),
        Full::Reduced => visible.map(reduced_row).collect(),
    };
    print(&serde_json::json!({ "models": rows? }))
}

/// Every name that the row has must be one that the caller may see.
fn sees(view: &View<'_>, row: &Value, keys: &[&str]) -> bool {
    let mut names = keys.iter().filter_map(|key| row.get(*key)).peekable();
    names.peek().is_some() && names.all(|name| name.as_str().is_some_and(view.may_see))
}

fn reduced_row(row: Value) -> Result<Value, UpstreamFault> {
    let row = Row { digest: NO_DIGEST, ..serde_json::from_value(row).map_err(|_| UpstreamFault::Invalid)? };
    serde_json::to_value(row).map_err(|_| UpstreamFault::Invalid)
}

/// `/api/show`
pub(super) fn show(text: &str, view: &View<'_>) -> Result<Vec<u8>, UpstreamFault> {
    let shown = object(text)?;
    if !shown.get("details").is_some_and(Value::is_object) {
        return Err(UpstreamFault::Invalid);
    }
    match view.full {
        Full::Management => Ok(text.as_bytes().to_vec()),
        Full::Reduced => print(&reduced_show(&shown)?),
    }
}

fn reduced_show(shown: &Map<String, Value>) -> Result<Value, UpstreamFault> {
    #[derive(Serialize, Deserialize)]
    struct Show {
        details: Details,
        #[serde(skip_deserializing)]
        model_info: Map<String, Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        capabilities: Option<Vec<String>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        modified_at: Option<String>,
    }
    let parsed: Show = serde_json::from_value(Value::Object(shown.clone())).map_err(|_| UpstreamFault::Invalid)?;
    let info = shown.get("model_info").and_then(Value::as_object);
    let model_info = info.map(reduced_info).unwrap_or_default();
    serde_json::to_value(Show { model_info, ..parsed }).map_err(|_| UpstreamFault::Invalid)
}

/// The four figures that clients use.
fn reduced_info(info: &Map<String, Value>) -> Map<String, Value> {
    let architecture = info.get("general.architecture").and_then(Value::as_str).unwrap_or_default();
    let context_length = format!("{architecture}.context_length");
    let embedding_length = format!("{architecture}.embedding_length");
    ["general.architecture", "general.parameter_count", &context_length, &embedding_length]
        .into_iter()
        .filter_map(|key| Some((key.to_owned(), info.get(key)?.clone())))
        .collect()
}

/// One model of `/v1/models`.
#[derive(Serialize, Deserialize)]
struct V1Row {
    id: String,
    object: String,
    created: i64,
    owned_by: String,
}

/// `/v1/models`
pub(super) fn v1_models(text: &str, view: &View<'_>) -> Result<Vec<u8>, UpstreamFault> {
    print(&serde_json::json!({ "object": "list", "data": v1_rows(text, view)? }))
}

/// `/v1/models/X`, from the list.
pub(super) fn v1_model(text: &str, view: &View<'_>) -> Result<Vec<u8>, UpstreamFault> {
    let is_wanted = |row: &V1Row| {
        let name = ModelName::parse(&row.id);
        view.wanted.is_some_and(|wanted| name.is_ok_and(|name| name.canonical() == wanted))
    };
    let row = v1_rows(text, view)?.into_iter().find(is_wanted).ok_or(UpstreamFault::ModelNotFound)?;
    print(&row)
}

fn v1_rows(text: &str, view: &View<'_>) -> Result<Vec<V1Row>, UpstreamFault> {
    let mut listing = object(text)?;
    let rows = match listing.get_mut("data") {
        Some(Value::Array(rows)) => std::mem::take(rows),
        Some(Value::Null) => Vec::new(),
        _missing_or_odd => return Err(UpstreamFault::Invalid),
    };
    let visible = rows.into_iter().filter(|row| sees(view, row, &["id"]));
    visible.map(|row| serde_json::from_value(row).map_err(|_| UpstreamFault::Invalid)).collect()
}

/// `/api/version`
pub(super) fn version(text: &str, view: &View<'_>) -> Result<Vec<u8>, UpstreamFault> {
    let said = object(text)?;
    let version = said.get("version").and_then(Value::as_str).ok_or(UpstreamFault::Invalid)?;
    let shown = match view.full {
        Full::Management => version,
        Full::Reduced => view.shown_version,
    };
    print(&serde_json::json!({ "version": shown }))
}

fn object(text: &str) -> Result<Map<String, Value>, UpstreamFault> {
    let object: Map<String, Value> = serde_json::from_str(text).map_err(|_| UpstreamFault::Invalid)?;
    if object.get("error").is_some_and(|error| !error.is_null()) { Err(UpstreamFault::Failed(500)) } else { Ok(object) }
}

fn print(value: &impl Serialize) -> Result<Vec<u8>, UpstreamFault> {
    serde_json::to_vec(value).map_err(|_| UpstreamFault::Invalid)
}
