//! Properties that hold for any bytes, and for bodies made of the words of the protocols.

use super::fixtures::Judge;
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

/// A body that is accepted, with something added or put in the place of something.
fn body() -> impl Strategy<Value = (Endpoint, String)> {
    let accepted = [
        (
            Endpoint::Chat,
            r#""model":"tiny","messages":[{"role":"user","content":" hi "},{"role":"tool","content":"1","tool_name":"f"}]"#,
        ),
        (Endpoint::Generate, r#""model":"library/tiny","prompt":"hi""#),
        (Endpoint::Embed, r#""model":"tiny","input":["a","b"]"#),
        (
            Endpoint::ChatCompletions,
            r#""model":"tiny","stream":true,"messages":[{"role":"user","content":[{"type":"text","text":"hi\n"}]}]"#,
        ),
        (Endpoint::Completions, r#""model":"tiny","prompt":"hi""#),
        (
            Endpoint::Responses,
            r#""model":"tiny","input":[{"role":"user","content":"hi"},{"type":"function_call","name":"f","call_id":"1","arguments":"{}"}]"#,
        ),
        (
            Endpoint::Messages,
            r#""model":"tiny","max_tokens":9,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]"#,
        ),
        (Endpoint::Show, r#""name":"tiny""#),
        (Endpoint::Create, r#""model":"a","from":"tiny""#),
    ];
    (proptest::sample::select(accepted.to_vec()), key(), json())
        .prop_map(|((endpoint, members), key, value)| (endpoint, format!("{{{members},{}:{value}}}", quoted(&key))))
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
                let again = judge.call(endpoint, call.body());
                prop_assert_eq!(again.as_ref().map(|again| String::from_utf8_lossy(again.body()).into_owned()),
                    Ok(String::from_utf8_lossy(call.body()).into_owned()));
                prop_assert!(serde_json::from_slice::<serde_json::Value>(call.body()).is_ok());
            }
        }
    }
}
