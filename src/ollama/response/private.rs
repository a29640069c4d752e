//! Takes out of a frame or an answer what is not for the caller.
//!
//! Guarantees: `context` (unless it may pass), `remote_model`, `remote_host` and `_debug_info` (the rendered prompt) are
//! gone; a progress line is rebuilt from its four known fields, and a status that could hold a path or an address is
//! replaced.

use serde_json::{Map, Value};

use super::shape::{PRIVATE_FIELDS, Shape};

/// Whether the caller may have `/api/generate`'s `context`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Context {
    /// It is passed.
    Keep,
    /// It is taken out.
    Drop,
}

/// The fields of a progress line, in Ollama's order.
const PROGRESS_FIELDS: [&str; 4] = ["status", "digest", "total", "completed"];

pub(super) fn strip(shape: Shape, value: &mut Value, context: Context) {
    let Some(object) = value.as_object_mut() else { return };
    if shape == Shape::Progress {
        *object = progress(object);
        return;
    }
    for field in PRIVATE_FIELDS {
        if field != "context" || context == Context::Drop {
            object.shift_remove(field);
        }
    }
}

/// OpenAI's usage, which the gateway asked for and the caller did not.
pub(super) fn strip_usage(value: &mut Value) {
    if let Some(object) = value.as_object_mut() {
        object.shift_remove("usage");
    }
}

/// A progress line with nothing in it but what every version sends.
pub(super) fn progress(line: &Map<String, Value>) -> Map<String, Value> {
    let known = |field: &&str| -> Option<(String, Value)> {
        let value = line.get(*field)?;
        let fits = match *field {
            "status" => value.is_string(),
            "digest" => value.as_str().is_some_and(is_digest),
            _total_or_completed => value.is_u64(),
        };
        fits.then(|| ((*field).to_owned(), value.clone()))
    };
    let mut rebuilt: Map<String, Value> = PROGRESS_FIELDS.iter().filter_map(known).collect();
    if let Some(status) = rebuilt.get_mut("status").filter(|status| !status.as_str().is_some_and(is_harmless)) {
        *status = Value::from("working");
    }
    rebuilt
}

fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Words, digits, digests and percentages: no slash, so no path and no address.
fn is_harmless(status: &str) -> bool {
    let allowed =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | ':' | '.' | ',' | '%' | '-' | '_' | '\'' | '(' | ')');
    status.len() <= 200 && status.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_progress_line_is_rebuilt() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let mut line =
            serde_json::json!({"status":"pulling aaaa","digest":digest,"total":9,"completed":1,"host":"10.0.0.1"});
        strip(Shape::Progress, &mut line, Context::Drop);
        assert_eq!(line, serde_json::json!({"status":"pulling aaaa","digest":digest,"total":9,"completed":1}));
        let mut line = serde_json::json!({"status":"open /usr/share/ollama","digest":"x","total":"9"});
        strip(Shape::Progress, &mut line, Context::Drop);
        assert_eq!(line, serde_json::json!({"status":"working"}));
    }

    #[test]
    fn private_fields_go() {
        let line = serde_json::json!({"model":"m","context":[1],"remote_host":"h","remote_model":"r","_debug_info":{}});
        let (mut kept, mut dropped) = (line.clone(), line);
        strip(Shape::Generate, &mut kept, Context::Keep);
        assert_eq!(kept, serde_json::json!({"model":"m","context":[1]}));
        strip(Shape::Generate, &mut dropped, Context::Drop);
        assert_eq!(dropped, serde_json::json!({"model":"m"}));
    }
}
