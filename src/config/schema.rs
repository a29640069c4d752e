//! The JSON schema of the file, for editors (`config schema`; Taplo and Even Better TOML read it).
//!
//! Made from `gateway.toml.example`, which a test compares with the checker: a key that the checker learns is in the
//! schema as soon as it is in the example. Guarantees: no key that the checker refuses. Does not: know every range; the
//! checker has the last word.

use serde_json::{Map, Value, json};

const EXAMPLE: &str = include_str!("../../gateway.toml.example");
const ROLES: &str = "roles.";
const MODELS: &str = "models.";

/// The schema.
#[must_use]
pub fn schema() -> Value {
    let mut root = object("The configuration of ollama-gateway");
    let mut section = String::new();
    for line in EXAMPLE.lines() {
        let line = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            name.clone_into(&mut section);
        } else if let Some((key, described)) = key(&section, line) {
            insert(&mut root, &path(&section), key, described);
        }
    }
    if let Some(root) = root.as_object_mut() {
        root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        root.insert("required".to_owned(), json!(["server"]));
    }
    root
}

/// All roles have the keys of the one in the example, and all models.
fn path(section: &str) -> Vec<&str> {
    if section.starts_with(MODELS) {
        return vec!["models", "*"];
    }
    match section.strip_prefix(ROLES).map(|role| role.split_once('.')) {
        Some(Some((_, table))) => vec!["roles", "*", table],
        Some(None) => vec!["roles", "*"],
        None => section.split('.').collect(),
    }
}

/// `key = value    # what it is`
fn key<'l>(section: &str, line: &'l str) -> Option<(&'l str, Value)> {
    let (key, rest) = line.split_once(" = ")?;
    let is_name = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    if section.is_empty() || !is_name(key) {
        return None;
    }
    let (value, comment) = rest.split_once(" # ").unwrap_or((rest, ""));
    let table: toml::Table = toml::from_str(&format!("{key} = {}", value.trim())).ok()?;
    let mut described = special(section, key).unwrap_or_else(|| of_value(table.get(key), comment));
    if let Some(map) = described.as_object_mut() {
        map.insert("description".to_owned(), json!(comment.trim()));
    }
    Some((key, described))
}

fn of_value(value: Option<&toml::Value>, comment: &str) -> Value {
    match value {
        Some(toml::Value::Integer(_)) => json!({"type": "integer", "minimum": 0}),
        Some(toml::Value::Float(_)) => json!({"type": "number"}),
        Some(toml::Value::Boolean(_)) => json!({"type": "boolean"}),
        Some(toml::Value::Array(_)) => json!({"type": "array", "items": {"type": "string"}}),
        Some(toml::Value::Table(table)) => bounds(table),
        Some(toml::Value::String(_) | toml::Value::Datetime(_)) | None => {
            words(comment).map_or_else(|| json!({"type": "string"}), |words| json!({"enum": words}))
        }
    }
}

/// `{ default = 512, max = 2048 }`
fn bounds(table: &toml::Table) -> Value {
    let keys = table.keys().map(|key| (key.clone(), json!({"type": ["integer", "string"]}))).collect::<Map<_, _>>();
    json!({"type": "object", "additionalProperties": false, "properties": keys})
}

/// `"drop" | "refuse": what it means`: the words, where there is nothing but words.
fn words(comment: &str) -> Option<Vec<&str>> {
    let list = comment.split([':', ';']).next().unwrap_or(comment);
    let word = |part: &&str| {
        let inner = part.trim().strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or_default();
        !inner.is_empty() && inner.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
    };
    let parts: Vec<_> = list.split(" | ").collect();
    let all_words = parts.len() > 1 && parts.iter().all(word);
    all_words.then(|| parts.into_iter().map(|part| part.trim().trim_matches('"')).collect())
}

/// What the value in the example does not show whole.
fn special(section: &str, key: &str) -> Option<Value> {
    let text = || json!({"type": "string"});
    let rate = || {
        json!({"anyOf": [text(), {"type": "object", "additionalProperties": false, "required": ["rate"],
        "properties": {"rate": text(), "burst": {"type": "integer", "minimum": 1}}}]})
    };
    Some(match (section, key) {
        ("limits", "general" | "chat" | "health" | "authentication_failures") => rate(),
        ("tls", "certificate") => {
            let files = json!({"type": "object", "additionalProperties": false, "required": ["chain", "key"],
                "properties": {"chain": text(), "key": text()}});
            let list = json!({"type": "array", "minItems": 1, "items": files});
            json!({"anyOf": [{"enum": ["acme", "self-signed"]}, files, list]})
        }
        ("tls.client", "principals") => json!({"type": "array", "items": {"type": "object",
            "additionalProperties": false, "required": ["role"],
            "properties": {"common_name": text(), "name": text(), "role": text()}}}),
        ("tls.acme", "challenges") => json!({"type": "array", "items": {"anyOf": [{"enum": ["tls-alpn-01", "http-01"]},
            {"type": "object", "additionalProperties": false, "required": ["dns-01"], "properties": {"dns-01":
                {"type": "object", "properties": {"command": {"type": "array", "items": text()}}}}}]}}),
        ("tls.acme", "eab") => {
            json!({"type": "object", "additionalProperties": false, "required": ["key_id", "hmac_key"],
            "properties": {"key_id": text(), "hmac_key": text()}})
        }
        ("auth", "oidc") => json!({"type": "array", "items": {"type": "object", "additionalProperties": false,
            "required": ["issuer", "audience", "roles"], "properties": {"issuer": text(), "audience": text(),
            "role_claim": text(), "root": text(), "roles": {"type": "object", "additionalProperties": text()}}}}),
        ("queue", "model_switches_per_minute") => {
            json!({"anyOf": [{"enum": ["off"]}, {"type": "integer", "minimum": 1, "maximum": 600}]})
        }
        (_, "tokens" | "requests" | "gpu_seconds") => json!({"anyOf": [text(), {"type": "array", "items": text()}]}),
        ("roles.user", "system_prompt") => json!({"anyOf": [{"enum": ["allow", "deny"]}, {"type": "object",
            "additionalProperties": false, "required": ["pin"], "properties": {"pin": text()}}]}),
        _ => return None,
    })
}

fn object(description: &str) -> Value {
    json!({"type": "object", "description": description, "additionalProperties": false, "properties": {}})
}

/// Puts a key into its table, and the table into the schema. A table `*` stands for every name.
fn insert(root: &mut Value, path: &[&str], key: &str, described: Value) {
    let mut table = root;
    for name in path {
        let place = if *name == "*" { "additionalProperties" } else { "properties" };
        let Some(inner) = table.get_mut(place) else { return };
        let next = if *name == "*" { Some(inner) } else { properties(inner, name) };
        let Some(next) = next else { return };
        if !next.is_object() {
            *next = object(if path.first() == Some(&"models") { "A model" } else { "A role: what its keys may do" });
        }
        table = next;
    }
    if let Some(keys) = table.get_mut("properties").and_then(Value::as_object_mut) {
        keys.entry(key.to_owned()).or_insert(described);
    }
}

fn properties<'v>(value: &'v mut Value, name: &str) -> Option<&'v mut Value> {
    Some(value.as_object_mut()?.entry(name.to_owned()).or_insert_with(|| object(&format!("[{name}]"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kinds_of_keys_are_told_apart() {
        let schema = schema();
        let at = |pointer: &str| schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer} in {schema:#}"));
        assert_eq!(at("/properties/server/properties/max_connections/type"), "integer");
        assert_eq!(at("/properties/server/properties/names/items/type"), "string");
        let words = at("/properties/server/properties/client_address/enum");
        assert_eq!(words, &json!(["socket", "proxy-protocol", "x-forwarded-for"]));
        assert_eq!(at("/properties/tls/properties/acme/properties/directory/type"), "string");
        assert_eq!(at("/properties/tls/properties/client/properties/mode/enum/0"), "required");
        assert_eq!(at("/properties/log/properties/level/type"), "string");
        let role = at("/properties/roles/additionalProperties/properties");
        assert_eq!(role["models"]["type"], "array");
        assert!(role["options"]["properties"]["num_ctx"]["properties"]["max"].is_object());
        assert_eq!(at("/additionalProperties"), &json!(false));
    }
}
