//! JSON schemas, which Ollama turns into a grammar, and the parameters of tools, which are schemas too.
//!
//! Guarantees: size, depth, number of parts, enums and repetition bounds are bounded; nothing refers to another document;
//! `pattern` passes only where the role names it; a keyword in another case is refused, since Go would take it for the
//! keyword. The order of keys is kept. Names of properties are names, not keywords.
//! Answers `threats.md` §5 row 7. Does not: check that a schema makes sense.

use super::draft::Draft;
use super::table::{Field, Members};
use crate::config::types::Allowance;
use crate::ollama::fault::BodyFault;
use crate::ollama::strict_json::Value;

type Done = Result<(), BodyFault>;

const DEPTH: usize = 16;
const NODES: usize = 256;
const ENUM: usize = 256;
const REPEAT: f64 = 256.0;

/// Keywords that Ollama's own types read; Go folds case in their names.
const KEYWORDS: [&str; 8] = ["type", "items", "$defs", "required", "properties", "description", "enum", "anyOf"];

/// What becomes of a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A grammar, which may hold patterns.
    GrammarWithPatterns,
    /// A grammar.
    Grammar,
    /// A description that the model reads.
    Description,
}

/// `format`: `"json"`, or a schema. An empty one is none.
pub(super) fn format(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    match members.get(field.name) {
        None => Ok(()),
        Some(Value::Text(text)) if text.is_empty() => Ok(()),
        Some(Value::Text(text)) if text.as_str() == "json" => {
            draft.out.key(field.name);
            draft.out.string("json");
            Ok(())
        }
        Some(Value::Text(_)) => Err(BodyFault::FieldValue { field: field.name }),
        Some(Value::Object(_)) => schema(draft, field, members),
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
            Err(BodyFault::FieldType { field: field.name })
        }
    }
}

/// A schema that becomes a grammar.
pub(super) fn schema(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let patterns = draft.allows(Allowance::SchemaPattern);
    checked(draft, field, members, if patterns { Purpose::GrammarWithPatterns } else { Purpose::Grammar })
}

/// The parameters of a tool: Ollama shows them to the model and makes no grammar of them, so patterns and repetitions do
/// no harm.
pub(super) fn parameters(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    checked(draft, field, members, Purpose::Description)
}

fn checked(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>, purpose: Purpose) -> Done {
    let Some(value) = members.get(field.name) else { return Ok(()) };
    if value.as_object().is_none() {
        return Err(BodyFault::FieldType { field: field.name });
    }
    let mut walk = Walk { purpose, nodes: 0 };
    walk.schema(value, 1)?;
    draft.out.key(field.name);
    let before = draft.out.len();
    draft.schema(value)?;
    let (limit, length) = (draft.rules.validation.max_schema_bytes, draft.out.len() - before);
    if length > limit { Err(BodyFault::SchemaTooLarge { limit, length }) } else { Ok(()) }
}

struct Walk {
    purpose: Purpose,
    nodes: usize,
}

impl Walk {
    fn enter(&mut self, depth: usize) -> Done {
        self.nodes += 1;
        if self.nodes > NODES {
            return Err(BodyFault::SchemaTooManyNodes { limit: NODES });
        }
        if depth > DEPTH { Err(BodyFault::SchemaTooDeep { limit: DEPTH }) } else { Ok(()) }
    }

    /// A value where a schema stands: an object, `true`, or a list of schemas.
    fn schema(&mut self, value: &Value<'_>, depth: usize) -> Done {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => Ok(()),
            Value::Array(items) => items.iter().try_for_each(|item| self.schema(item, depth)),
            Value::Object(members) => {
                self.enter(depth)?;
                members.iter().try_for_each(|(key, value)| self.keyword(key.as_str(), value, depth))
            }
        }
    }

    fn keyword(&mut self, key: &str, value: &Value<'_>, depth: usize) -> Done {
        match key {
            "properties" | "$defs" | "definitions" | "dependentSchemas" => self.named(value, depth),
            "patternProperties" => {
                self.pattern()?;
                self.named(value, depth)
            }
            "pattern" => self.pattern(),
            "$ref" | "$dynamicRef" | "$recursiveRef" => reference(value),
            "enum" => self.data_list(value, depth),
            "const" | "default" | "examples" | "example" => self.data(value, depth),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                self.bound(value)
            }
            _ if is_variant(key) => Err(BodyFault::KeyVariant),
            _ => self.schema(value, depth + 1),
        }
    }

    /// An object whose keys are names and whose values are schemas.
    fn named(&mut self, value: &Value<'_>, depth: usize) -> Done {
        match value.as_object() {
            Some(members) => members.iter().try_for_each(|(_, value)| self.schema(value, depth + 1)),
            None => self.schema(value, depth + 1),
        }
    }

    fn pattern(&self) -> Done {
        if self.purpose == Purpose::Grammar { Err(BodyFault::SchemaPattern) } else { Ok(()) }
    }

    /// A large repetition makes a large grammar.
    fn bound(&self, value: &Value<'_>) -> Done {
        let small = value.as_number().is_none_or(|number| number.as_f64() <= REPEAT);
        if small || self.purpose == Purpose::Description { Ok(()) } else { Err(BodyFault::SchemaBound { limit: 256 }) }
    }

    fn data_list(&mut self, value: &Value<'_>, depth: usize) -> Done {
        if value.as_array().is_some_and(|items| items.len() > ENUM) {
            return Err(BodyFault::SchemaEnum { limit: ENUM });
        }
        self.data(value, depth)
    }

    /// Data is no schema, but its depth and its parts count.
    fn data(&mut self, value: &Value<'_>, depth: usize) -> Done {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) => Ok(()),
            Value::Array(items) => {
                self.enter(depth)?;
                items.iter().try_for_each(|item| self.data(item, depth + 1))
            }
            Value::Object(members) => {
                self.enter(depth)?;
                members.iter().try_for_each(|(_, value)| self.data(value, depth + 1))
            }
        }
    }
}

/// Whether Go would take a key for a keyword that it is not: in another case, with `ſ` for s or `K` for k.
fn is_variant(key: &str) -> bool {
    let folds = |a: char, b: char| match a {
        'ſ' => b.eq_ignore_ascii_case(&'s'),
        '\u{212a}' => b.eq_ignore_ascii_case(&'k'),
        _ => a.eq_ignore_ascii_case(&b),
    };
    let folds_to =
        |word: &str| key.chars().count() == word.len() && key.chars().zip(word.chars()).all(|(a, b)| folds(a, b));
    KEYWORDS.iter().any(|word| *word != key && folds_to(word))
}

fn reference(value: &Value<'_>) -> Done {
    let local = value.as_text().is_some_and(|text| text.as_str().starts_with('#'));
    if local { Ok(()) } else { Err(BodyFault::SchemaReference) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ollama::strict_json;

    fn walk(text: &str) -> Done {
        let tree = strict_json::parse(text.as_bytes(), 128).unwrap();
        Walk { purpose: Purpose::Grammar, nodes: 0 }.schema(&tree, 1)
    }

    #[test]
    fn what_makes_a_large_grammar_is_refused() {
        let deep = format!("{}{}", r#"{"items":"#.repeat(16) + "{}", "}".repeat(16));
        let names: Vec<String> = (0..256).map(|i| format!("\"p{i}\":{{}}")).collect();
        let wide = format!("{{\"properties\":{{{}}}}}", names.join(","));
        let long = format!("{{\"enum\":[{}0]}}", "0,".repeat(256));
        for (text, expected) in [
            (deep.as_str(), BodyFault::SchemaTooDeep { limit: 16 }),
            (&wide, BodyFault::SchemaTooManyNodes { limit: 256 }),
            (&long, BodyFault::SchemaEnum { limit: 256 }),
            (r#"{"anyOf":[{"type":"string","maxLength":4000}]}"#, BodyFault::SchemaBound { limit: 256 }),
            (r#"{"properties":{"a":{"minItems":1e9}}}"#, BodyFault::SchemaBound { limit: 256 }),
            (r#"{"$ref":"http://127.0.0.1:1/schema.json"}"#, BodyFault::SchemaReference),
            (r#"{"items":{"$ref":5}}"#, BodyFault::SchemaReference),
            (r#"{"type":"string","pattern":"((("}"#, BodyFault::SchemaPattern),
            (r#"{"properties":{"a":{}},"Properties":{}}"#, BodyFault::KeyVariant),
            ("{\"propertie\u{17f}\":{}}", BodyFault::KeyVariant),
        ] {
            assert_eq!(walk(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn names_and_data_are_no_keywords() {
        for text in [
            r##"{"type":"object","properties":{"pattern":{"type":"string"},"Type":{},"maxLength":{"$ref":"#/$defs/x"}}}"##,
            r#"{"enum":[{"pattern":"x"}],"const":{"maxLength":9999},"default":null,"additionalProperties":false}"#,
        ] {
            assert_eq!(walk(text), Ok(()), "{text}");
        }
    }
}
