//! Which words of a JSON schema are the caller's own: what content rules look at.
//!
//! Guarantees: names of properties and definitions, descriptions, titles, enums, constants, defaults, examples, patterns
//! and anything under a keyword that is not known are searched; the vocabulary itself (`properties`, `"type":"object"`,
//! `"format":"email"`) is not, so that a blocked word such as `email` does not forbid every schema. All of it is counted.
//! Does not: check the schema (see `schema`), which has bounded its depth before.

use super::draft::Draft;
use crate::ollama::fault::BodyFault;
use crate::ollama::strict_json::Value;

type Done = Result<(), BodyFault>;

/// Keywords of the drafts in use, but those whose values are names or data.
#[rustfmt::skip]
const KEYWORDS: [&str; 52] = [
    "$anchor", "$comment", "$dynamicAnchor", "$dynamicRef", "$id", "$recursiveRef", "$ref", "$schema", "$vocabulary",
    "additionalItems", "additionalProperties", "allOf", "anyOf", "contains", "contentEncoding", "contentMediaType",
    "dependencies", "dependentRequired", "deprecated", "description", "else", "exclusiveMaximum", "exclusiveMinimum",
    "format", "if", "items", "maxContains", "maxItems", "maxLength", "maxProperties", "maximum", "minContains",
    "minItems", "minLength", "minProperties", "minimum", "multipleOf", "not", "nullable", "oneOf", "pattern",
    "prefixItems", "propertyNames", "readOnly", "required", "then", "title", "type", "unevaluatedItems",
    "unevaluatedProperties", "uniqueItems", "writeOnly",
];
/// Keywords whose value is an object of names, each with a schema.
const NAMED: [&str; 5] = ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas"];
/// Keywords whose value is data.
const DATA: [&str; 5] = ["enum", "const", "default", "examples", "example"];

const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "object", "array", "null"];
#[rustfmt::skip]
const FORMATS: [&str; 19] = [
    "date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6", "uri",
    "uri-reference", "iri", "iri-reference", "uri-template", "uuid", "json-pointer", "relative-json-pointer", "regex",
];
const DRAFTS: [&str; 8] = [
    "http://json-schema.org/draft-04/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-04/schema#",
    "http://json-schema.org/draft-06/schema#",
    "http://json-schema.org/draft-07/schema#",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
];

impl Draft<'_> {
    /// Writes a schema of the caller's, with its keys in their order. Ollama hands it on as it stands, to a reader that is
    /// not Go's, so it is spelled anew.
    pub(super) fn schema(&mut self, value: &Value<'_>) -> Done {
        self.read_schema("", value)?;
        self.out.value_anew(value);
        Ok(())
    }

    /// What stands under a keyword: a schema, schemas, or a word.
    fn read_schema(&mut self, keyword: &str, value: &Value<'_>) -> Done {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::Text(text) => self.read_word(keyword, text.as_str()),
            Value::Array(items) => items.iter().try_for_each(|item| self.read_schema(keyword, item)),
            Value::Object(members) => members.iter().try_for_each(|(key, value)| self.read_member(key.as_str(), value)),
        }
    }

    fn read_member(&mut self, key: &str, value: &Value<'_>) -> Done {
        if NAMED.contains(&key) {
            self.count(key);
            return self.read_named(key, value);
        }
        if DATA.contains(&key) {
            self.count(key);
            return self.read_all(value);
        }
        if KEYWORDS.contains(&key) {
            self.count(key);
        } else {
            self.read_part(key)?;
        }
        self.read_schema(key, value)
    }

    fn read_named(&mut self, keyword: &str, value: &Value<'_>) -> Done {
        let Some(members) = value.as_object() else { return self.read_schema(keyword, value) };
        members.iter().try_for_each(|(name, value)| {
            self.read(name)?;
            self.read_schema("", value)
        })
    }

    fn read_word(&mut self, keyword: &str, word: &str) -> Done {
        let vocabulary: &[&str] = match keyword {
            "type" => &TYPES,
            "format" => &FORMATS,
            "$schema" => &DRAFTS,
            "$ref" | "$dynamicRef" | "$recursiveRef" => return self.read_reference(word),
            _ => &[],
        };
        if vocabulary.contains(&word) {
            self.count(word);
            Ok(())
        } else {
            self.read_part(word)
        }
    }

    /// `#/properties/name/items`: the caller's are the names in it.
    fn read_reference(&mut self, reference: &str) -> Done {
        let steps = reference.split('/').filter(|step| !NAMED.contains(step) && !KEYWORDS.contains(step));
        self.count(reference);
        steps.into_iter().try_for_each(|step| self.search(step))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::Judge;
    use crate::ollama::endpoint::Endpoint::{self, *};

    /// A schema where each dialect has one.
    const PLACES: [(Endpoint, &str); 5] = [
        (Generate, r#"{"model":"t","prompt":"x","format":SCHEMA}"#),
        (
            Chat,
            r#"{"model":"t","messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"f","parameters":SCHEMA}}]}"#,
        ),
        (
            ChatCompletions,
            r#"{"model":"t","messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"schema":SCHEMA}}}"#,
        ),
        (Responses, r#"{"model":"t","input":"x","tools":[{"type":"function","name":"f","parameters":SCHEMA}]}"#),
        (
            Messages,
            r#"{"model":"t","max_tokens":1,"messages":[{"role":"user","content":"x"}],"tools":[{"name":"f","input_schema":SCHEMA}]}"#,
        ),
    ];
    const PLAIN: &str = r##"{"type":["object","null"],"$schema":"https://json-schema.org/draft/2020-12/schema","properties":{"a":{"type":"string","format":"email","description":"b"},"c":{"$ref":"#/$defs/d"}},"required":["a"],"additionalProperties":false,"$defs":{"d":{"enum":["e"],"maxLength":9}}}"##;

    fn judge(words: &[&str]) -> Judge {
        let mut judge = Judge::new();
        judge.validation.blocked = words.iter().map(|word| (*word).to_owned()).collect();
        judge
    }

    #[test]
    fn the_vocabulary_is_nobodys_words() {
        let words = ["object", "properties", "email", "string", "required", "schema", "defs", "null", "enum", "length"];
        for (endpoint, body) in PLACES {
            let sent = judge(&words).sent(endpoint, body.replace("SCHEMA", PLAIN));
            assert!(sent.contains(PLAIN), "{body}: {sent}");
        }
    }

    #[test]
    fn the_callers_words_are_searched_wherever_they_stand() {
        for (endpoint, body) in PLACES {
            for schema in [
                r#"{"description":"an Object"}"#,
                r#"{"title":"object"}"#,
                r#"{"properties":{"object":{}}}"#,
                r#"{"$defs":{"object":{}}}"#,
                r#"{"properties":{"type":{"enum":["object"]}}}"#,
                r#"{"properties":{"a":{"const":{"object":1}}}}"#,
                r#"{"anyOf":[{"default":"object"}]}"#,
                r#"{"required":["object"]}"#,
                r#"{"type":"no object"}"#,
                r#"{"type":["string","an object"]}"#,
                r#"{"format":"object"}"#,
                r#"{"object":true}"#,
                r#"{"x-note":["the object"]}"#,
                r##"{"$ref":"#/$defs/object"}"##,
                r#"{"$comment":"object"}"#,
            ] {
                let body = body.replace("SCHEMA", schema);
                assert_eq!(judge(&["object"]).sent(endpoint, &body), "content_blocked", "{body}");
                assert_ne!(judge(&["objection"]).sent(endpoint, &body), "content_blocked", "{body}");
            }
        }
    }
}
