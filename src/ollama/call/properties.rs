//! Properties that hold for any bytes, and for bodies made of the words of the protocols.

use super::fixtures::Judge;
use super::table::{Field, Shape};
use super::{fates, shape_of};
use crate::config::types::{Allowance, SystemPrompt};
use crate::ollama::endpoint::Endpoint;
use crate::ollama::strict_json::{self, Writer};
use proptest::prelude::*;

/// Keys: fields of every table, their variants, and others.
fn key() -> impl Strategy<Value = String> {
    let mut names: Vec<String> = Endpoint::ALL.into_iter().flat_map(fates).map(|(path, _)| path).collect();
    names.iter_mut().for_each(|path| *path = path.rsplit('.').next().unwrap_or_default().to_owned());
    names.extend(["Model", "me\u{17f}\u{17f}ages", "\u{212a}eep_alive", "x", "", "a\"b", "é"].map(str::to_owned));
    proptest::sample::select(names)
}

fn leaf() -> impl Strategy<Value = String> {
    let words = [
        "null",
        "true",
        "false",
        "0",
        "-1",
        "1",
        "3.5",
        "1e30",
        "1e400",
        "\"\"",
        "\"user\"",
        "\"system\"",
        "\"function\"",
        "\"text\"",
        "\"tiny\"",
        "\"TINY:latest\"",
        "\"x:cloud\"",
        "\"hello \"",
        "\"a\\u0000b\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud800\"",
        "\"{\\\"a\\\":1}\"",
        "\"json\"",
        "\"base64\"",
        "\"data:image/png;base64,AAAA\"",
        "[]",
        "{}",
    ];
    proptest::sample::select(words.map(str::to_owned).to_vec())
}

fn json() -> impl Strategy<Value = String> {
    leaf().prop_recursive(5, 40, 5, |inner| {
        let member = (key(), inner.clone()).prop_map(|(key, value)| format!("{}:{value}", quoted(&key)));
        prop_oneof![
            proptest::collection::vec(inner, 0..4).prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec(member, 0..5).prop_map(|members| format!("{{{}}}", members.join(" , "))),
        ]
    })
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Values that a field of this name may have, and some that it may not.
fn plausible(name: &str) -> &'static [&'static str] {
    match name {
        "model" | "from" | "source" | "destination" => &[r#""tiny""#, r#"" Library/T:1b""#],
        "name" => &[r#""tiny""#, r#""f""#],
        "role" => &[r#""user""#, r#""Assistant""#, r#""tool""#, r#""system""#],
        "content" | "prompt" | "system" | "instructions" | "input" | "text" | "output" | "thinking" | "reasoning" => {
            &[r#""hi""#, r#"" \u0041\n""#, r#""é\\ \"q\"""#, "null"]
        }
        "type" => &[
            r#""text""#,
            r#""function""#,
            r#""message""#,
            r#""input_text""#,
            r#""function_call""#,
            r#""function_call_output""#,
            r#""reasoning""#,
            r#""tool_use""#,
            r#""tool_result""#,
            r#""thinking""#,
            r#""json_object""#,
            r#""enabled""#,
        ],
        "arguments" => &[r#"{"b":1,"a":[2,{"c":null}]}"#, r#""{\"b\":1.0,\"a\":\"x\"}""#, r#""""#],
        "parameters" | "input_schema" | "schema" | "format" => &[
            r#"{"type":"object","properties":{"b":{"type":"string"},"a":{"enum":[1,"x"]}},"required":["b"]}"#,
            r#""json""#,
        ],
        "stop" | "stop_sequences" => &[r#""\n""#, r#"["a","b"]"#, "[]"],
        "effort" | "reasoning_effort" | "think" => &[r#""high""#, "true", r#""none""#],
        "images" => &["[]", "null"],
        "id" | "tool_name" | "tool_call_id" | "call_id" | "tool_use_id" | "description" => &[r#""f""#, r#""c1""#],
        "stream" | "logprobs" | "raw" | "is_error" | "include_usage" | "_debug_render_only" => {
            &["true", "false", "null"]
        }
        "messages" | "tools" | "tool_calls" | "summary" => &["[]", "null"],
        "function" | "options" | "image_url" | "response_format" => &["{}", "null"],
        "encoding_format" => &[r#""float""#, r#""base64""#],
        "context" => &["[1,2]", "[]"],
        "query" | "url" | "data" | "signature" => &[r#""https://example.org/x""#],
        "temperature" | "top_p" | "min_p" | "typical_p" => &["0.5", "1", "0e0"],
        _ => &["1", "40.0", "1", "2", "3", "99999999999", "-1", "null", "0.5", r#""x""#, "{}"],
    }
}

/// An object with some of a table's fields, and now and then another.
fn fields(shape: Shape, depth: usize) -> BoxedStrategy<String> {
    let member = |field: &'static Field| {
        let plain = proptest::sample::select(plausible(field.name).to_vec()).prop_map(str::to_owned);
        let value = match (depth, field.within) {
            (0, _) | (_, []) => plain.boxed(),
            (_, shapes) => {
                let inner = proptest::strategy::Union::new(shapes.iter().map(|shape| fields(shape, depth - 1)));
                let list =
                    proptest::collection::vec(inner.clone(), 1..3).prop_map(|items| format!("[{}]", items.join(",")));
                prop_oneof![plain, inner, list].boxed()
            }
        };
        // What decides the rest is mostly there.
        let present = match field.name {
            "name" if shape.iter().any(|field| field.name == "model") => 0.01,
            "model" | "role" | "type" | "name" | "function" | "messages" | "input" | "prompt" | "content" | "text" => {
                0.97
            }
            "source" | "destination" | "from" | "query" | "url" | "id" => 0.9,
            _ => 0.25,
        };
        proptest::option::weighted(present, value.prop_map(|value| format!("{}:{value}", quoted(field.name))))
    };
    let members: Vec<_> = shape.iter().map(member).collect();
    let other =
        proptest::option::weighted(0.03, (key(), json()).prop_map(|(key, value)| format!("{}:{value}", quoted(&key))));
    (members, other)
        .prop_map(|(members, other)| {
            format!("{{{}}}", members.into_iter().flatten().chain(other).collect::<Vec<_>>().join(","))
        })
        .boxed()
}

/// A body of some route, made from its table.
fn body() -> impl Strategy<Value = (Endpoint, String)> {
    let routes = Endpoint::ALL.into_iter().filter_map(|endpoint| Some((endpoint, shape_of(endpoint)?)));
    let bodies = routes.map(|(endpoint, shape)| fields(shape, 3).prop_map(move |body| (endpoint, body)).boxed());
    proptest::strategy::Union::new(bodies)
}

fn judges() -> [Judge; 3] {
    let mut pinned = Judge::new();
    pinned.role.system_prompt = SystemPrompt::Pin("be kind".to_owned());
    let all = [
        Allowance::Template,
        Allowance::Raw,
        Allowance::Suffix,
        Allowance::Context,
        Allowance::DebugRender,
        Allowance::WebSearch,
        Allowance::Cloud,
        Allowance::ForeignRegistries,
        Allowance::SchemaPattern,
    ];
    [Judge::new(), pinned, Judge::allowing(&all)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_decided(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for endpoint in Endpoint::ALL {
            prop_assert!(Judge::new().call(endpoint, &bytes).is_err());
        }
    }

    #[test]
    fn any_json_is_decided(body in json()) {
        for endpoint in Endpoint::ALL.into_iter().filter(|endpoint| shape_of(*endpoint).is_some()) {
            for judge in judges() {
                prop_assert!(judge.call(endpoint, body.as_bytes()).is_ok() || !body.is_empty());
            }
        }
    }

    #[test]
    fn what_is_written_is_what_was_read(body in json()) {
        if let Ok(tree) = strict_json::parse(body.as_bytes(), 64) {
            let mut writer = Writer::default();
            writer.value(&tree);
            let out = writer.into_bytes();
            prop_assert_eq!(&strict_json::parse(&out, 64).unwrap(), &tree);
            let theirs: serde_json::Value = serde_json::from_str(&body).unwrap();
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&out).unwrap(), theirs);
        }
    }

    #[test]
    fn what_is_sent_would_be_sent_again((endpoint, body) in body()) {
        for judge in judges() {
            if let Ok(call) = judge.call(endpoint, body.as_bytes()) {
                let again = judge.call(endpoint, &call.body());
                prop_assert_eq!(again.as_ref().map(|again| String::from_utf8_lossy(&again.body()).into_owned()),
                    Ok(String::from_utf8_lossy(&call.body()).into_owned()));
                prop_assert!(serde_json::from_slice::<serde_json::Value>(&call.body()).is_ok());
            }
        }
    }
}
