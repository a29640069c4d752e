//! Comparing trees: what is written with what Go's structs hold after reading it.

use ollama_gateway::ollama::call::Fate;
use serde_json::{Map, Value};

/// The difference between a struct's zero value and what was written.
pub(crate) fn differences(read: &Value, written: &Value, found: &mut Vec<String>) {
    Walk { found }.object("", read, written);
}

/// Whether it is what a field holds that no key set.
pub(crate) fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.values().all(is_zero),
        Value::Bool(true) => false,
    }
}

struct Walk<'f> {
    found: &'f mut Vec<String>,
}

impl Walk<'_> {
    fn value(&mut self, path: &str, read: &Value, written: &Value) {
        let key = path.rsplit('.').next().unwrap_or_default();
        let same = match (read, written) {
            (Value::Object(_), Value::Object(_)) => return self.object(path, read, written),
            (Value::Array(read), Value::Array(written)) if read.len() == written.len() => {
                for (read, written) in read.iter().zip(written) {
                    self.value(path, read, written);
                }
                return;
            }
            // `"type":"string"` is read as a list of one.
            (Value::Array(read), Value::String(_)) if key == "type" => read.as_slice() == [written.clone()],
            // A text of the Anthropic dialect is read as one block of text.
            (Value::Array(read), Value::String(_)) if key == "content" => is_one_text(read, written),
            // A duration is compared by its own rule.
            (Value::Number(_), Value::String(_)) if key == "keep_alive" => true,
            (Value::Number(read), Value::Number(written)) => is_same_number(read, written),
            _ => read == written || (is_zero(read) && is_zero(written)),
        };
        if !same {
            self.found.push(format!("{path}: {written} is written, {read} is read"));
        }
    }

    fn object(&mut self, path: &str, read: &Value, written: &Value) {
        let (Some(read), Some(written)) = (read.as_object(), written.as_object()) else {
            self.found.push(format!("{path}: {written} is written, {read} is read"));
            return;
        };
        self.order(path, read, written);
        for (key, value) in written {
            match read.get(key) {
                Some(found) => self.value(&format!("{path}.{key}"), found, value),
                // A schema's keywords that Ollama does not know.
                None if path.contains(".function.parameters") => {}
                None => self.found.push(format!("{path}.{key} is written, but Go has no such field")),
            }
        }
        for (key, value) in read {
            if !written.contains_key(key) && !is_zero(value) {
                self.found.push(format!("{path}.{key} holds {value}, but it was not written"));
            }
        }
    }

    /// Where Ollama keeps the order of keys, it is the order in which they were written.
    fn order(&mut self, path: &str, read: &Map<String, Value>, written: &Map<String, Value>) {
        let ordered = [".arguments", ".properties", ".content.input"].iter().any(|end| path.ends_with(end));
        // The Responses dialect reads parameters into a plain map, which has no order.
        let ordered = ordered && !path.starts_with(".tools.parameters");
        if ordered && !read.keys().eq(written.keys()) {
            self.found.push(format!("{path}: the keys are in another order"));
        }
    }
}

fn is_one_text(read: &[Value], written: &Value) -> bool {
    let [block] = read else { return false };
    let others = block.as_object().unwrap().iter().filter(|(key, _)| *key != "type" && *key != "text");
    block["type"] == "text" && block["text"] == *written && others.map(|(_, value)| value).all(is_zero)
}

/// Whole numbers exactly; others to Go's float32, which some fields are.
fn is_same_number(left: &serde_json::Number, right: &serde_json::Number) -> bool {
    if let (Some(left), Some(right)) = (left.as_i64(), right.as_i64()) {
        return left == right;
    }
    let (left, right) = (left.as_f64().unwrap(), right.as_f64().unwrap());
    (left - right).abs() <= 1e-6 * left.abs().max(right.abs())
}

/// A field that passes holds the same in what the client sent and in what is sent, and so do the fields within it, but
/// for those whose fate is another one.
pub(crate) struct Passed<'a> {
    pub(crate) fates: &'a [(String, Fate)],
    pub(crate) found: &'a mut Vec<String>,
}

impl Passed<'_> {
    pub(crate) fn field(&mut self, path: &str, given: Option<&Value>, sent: Option<&Value>) {
        let (given, sent) = (given.unwrap_or(&Value::Null), sent.unwrap_or(&Value::Null));
        match (given, sent) {
            (Value::Object(members), Value::Object(_)) => {
                for key in members.keys() {
                    let inner = format!("{path}.{key}");
                    if self.stays(&inner) {
                        self.field(&inner, given.get(key), sent.get(key));
                    }
                }
            }
            (Value::Array(given), Value::Array(sent)) if given.len() == sent.len() => {
                for (given, sent) in given.iter().zip(sent) {
                    self.field(path, Some(given), Some(sent));
                }
            }
            _ if is_same_value(given, sent) => {}
            _ => self.found.push(format!("{path}: the client's bytes hold {given}, what is sent holds {sent}")),
        }
    }

    /// Dropped and clamped fields change, and so does what a table does not name; of those that the gateway sets, the
    /// type of a tool does. Within what has no table of its own, everything stays.
    fn stays(&self, path: &str) -> bool {
        let parent = path.rsplit_once('.').map_or("", |(parent, _)| parent);
        match self.fates.iter().find(|(known, _)| known == path).map(|(_, fate)| fate) {
            Some(Fate::Drop | Fate::Clamp | Fate::Refuse) => false,
            Some(Fate::Set) => !path.ends_with(".type"),
            Some(Fate::Pass) => true,
            None => !self
                .fates
                .iter()
                .any(|(known, _)| known.strip_prefix(parent).is_some_and(|rest| rest.starts_with('.'))),
        }
    }
}

fn is_same_value(given: &Value, sent: &Value) -> bool {
    match (given, sent) {
        (Value::Number(given), Value::Number(sent)) => is_same_number(given, sent),
        // One word is made a list of one.
        (Value::String(_), Value::Array(sent)) => sent.as_slice() == [given.clone()],
        _ => given == sent || (is_zero(given) && is_zero(sent)),
    }
}
