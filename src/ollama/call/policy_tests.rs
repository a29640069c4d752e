//! What the rules refuse, in every dialect.

use super::fixtures::Judge;
use crate::config::types::{Allowance, OnMatch, UnknownFields};
use crate::ollama::content::RuleId;
use crate::ollama::endpoint::Endpoint::{self, *};
use crate::ollama::fault::BodyFault;
use crate::ollama::model_name::ModelPattern;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A user's text in every dialect.
const TEXTS: [(Endpoint, &str); 7] = [
    (Chat, r#"{"model":"t","messages":[{"role":"user","content":"TEXT"}]}"#),
    (Generate, r#"{"model":"t","prompt":"TEXT"}"#),
    (ChatCompletions, r#"{"model":"t","messages":[{"role":"user","content":[{"type":"text","text":"TEXT"}]}]}"#),
    (Completions, r#"{"model":"t","prompt":"TEXT"}"#),
    (Responses, r#"{"model":"t","input":"TEXT"}"#),
    (Responses, r#"{"model":"t","input":[{"role":"user","content":[{"type":"input_text","text":"TEXT"}]}]}"#),
    (
        Messages,
        r#"{"model":"t","max_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"TEXT"}]}]}"#,
    ),
];

#[test]
fn a_users_text_is_neither_empty_nor_too_long() {
    let judge = Judge::new();
    for (endpoint, body) in TEXTS {
        let sent = |text: &str| judge.call(endpoint, body.replace("TEXT", text).as_bytes());
        let padding = format!("\\n\\t  {}\\u3000 ", "ä".repeat(4000));
        assert!(sent(&padding).is_ok(), "{body}");
        assert_eq!(sent(&"ä".repeat(4001)), Err(BodyFault::MessageTooLong { limit: 4000, length: 4001 }), "{body}");
        assert_eq!(sent(""), Err(BodyFault::MessageEmpty), "{body}");
        assert_eq!(sent("\\u00a0\\n "), Err(BodyFault::MessageEmpty), "{body}");
    }
    let parts = format!(r#"[{{"type":"text","text":"{0}"}},{{"type":"text","text":"{0}"}}]"#, "a".repeat(2001));
    for endpoint in [ChatCompletions, Messages] {
        let body = format!(r#"{{"model":"t","max_tokens":1,"messages":[{{"role":"user","content":{parts}}}]}}"#);
        assert_eq!(judge.sent(endpoint, body), "message_too_long");
    }
    let spaced = r#"[{"type":"text","text":"say "},{"type":"text","text":"this"}]"#;
    let body = format!(r#"{{"model":"t","max_tokens":1,"messages":[{{"role":"user","content":{spaced}}}]}}"#);
    assert!(judge.sent(Messages, &body).contains(spaced), "parts are joined, so their ends stay");
    assert_eq!(judge.sent(Messages, body.replace("say", " ").replace("this", "\\n")), "message_empty");
    let many = vec![r#"{"role":"user","content":"x"}"#; 257].join(",");
    assert_eq!(judge.sent(Chat, format!(r#"{{"model":"t","messages":[{many}]}}"#)), "too_many_messages");
    let images = format!(r#"{{"model":"t","prompt":"","images":["{}"]}}"#, png(1, 1));
    assert_eq!(judge.sent(Generate, images), "message_empty");
}

#[test]
fn blocked_content_is_found_wherever_text_is() {
    let mut judge = Judge::new();
    judge.validation.blocked = vec!["Verboten".to_owned()];
    judge.validation.patterns = vec![r"sk-\d{4}".to_owned()];
    let others = [
        (Chat, r#"{"model":"t","messages":[{"role":"assistant","content":"TEXT"}]}"#),
        (
            Chat,
            r#"{"model":"t","messages":[{"role":"user","content":"x"}],"tools":[{"function":{"name":"f","description":"TEXT"}}]}"#,
        ),
        (
            Chat,
            r#"{"model":"t","messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"TEXT":1}}}]}]}"#,
        ),
        (
            ChatCompletions,
            r#"{"model":"t","messages":[{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":\"TEXT\"}"}}]}]}"#,
        ),
        (Messages, r#"{"model":"t","max_tokens":1,"system":"TEXT","messages":[{"role":"user","content":"x"}]}"#),
        (
            Messages,
            r#"{"model":"t","max_tokens":1,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"1","content":"TEXT"}]}]}"#,
        ),
        (Responses, r#"{"model":"t","instructions":"TEXT","input":"x"}"#),
        (Embed, r#"{"model":"t","input":["a","TEXT"]}"#),
        (Embeddings, r#"{"model":"t","prompt":"TEXT"}"#),
        (Generate, r#"{"model":"t","prompt":"x","format":{"type":"object","properties":{"TEXT":{}}}}"#),
        (WebSearch, r#"{"query":"TEXT"}"#),
    ];
    for (endpoint, body) in TEXTS.into_iter().chain(others) {
        for (text, rule) in [
            ("das ist VERBOTEN!", RuleId::Word(0)),
            ("ver\\u0062oten", RuleId::Word(0)),
            ("sk-1234", RuleId::Pattern(0)),
        ] {
            let text = if body.contains("\\\"TEXT") { text.replace('\\', "\\\\") } else { text.to_owned() };
            let body = body.replace("TEXT", &text);
            assert_eq!(judge.call(endpoint, body.as_bytes()), Err(BodyFault::ContentBlocked { rule }), "{body}");
        }
        assert!(judge.call(endpoint, body.as_bytes()).is_ok(), "{body}");
    }
    let split = r#"{"model":"t","max_tokens":1,"messages":[{"role":"user","content":[{"type":"text","text":"ver"},{"type":"text","text":"boten"}]}]}"#;
    assert_eq!(judge.sent(Messages, split), "content_blocked");
    judge.validation.on_match = OnMatch::Log;
    assert_eq!(judge.call(Messages, split.as_bytes()).unwrap().matches(), [RuleId::Word(0)]);
}

/// A PNG that is nothing but a header.
fn png(width: u32, height: u32) -> String {
    let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    bytes.extend([width.to_be_bytes(), height.to_be_bytes()].concat());
    STANDARD.encode(bytes)
}

#[test]
fn images_are_bounded_in_every_dialect() {
    let judge = Judge::new();
    let bodies = [
        (Chat, r#"{"model":"t","messages":[{"role":"user","content":"","images":["DATA"]}]}"#),
        (
            ChatCompletions,
            r#"{"model":"t","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/png;base64,DATA"}}]}]}"#,
        ),
        (
            Messages,
            r#"{"model":"t","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"DATA"}}]}]}"#,
        ),
        (
            Responses,
            r#"{"model":"t","input":[{"role":"user","content":[{"type":"input_image","image_url":"data:image/png;base64,DATA"}]}]}"#,
        ),
    ];
    for (endpoint, body) in bodies {
        let sent = |data: &str| judge.sent(endpoint, body.replace("DATA", data));
        let good = png(640, 480);
        assert!(sent(&good).contains(&good), "{}", sent(&good));
        let (head, tail) = good.split_at(8);
        assert!(sent(&format!("{head}\\r\\n{tail}")).contains(&good), "made canonical");
        assert_eq!(sent(&png(4097, 1)), "image_dimensions");
        assert_eq!(sent(&png(4096, 4096)), "image_dimensions");
        assert_eq!(sent(&png(0, 9)), "image_dimensions");
        assert_eq!(sent(&STANDARD.encode("RIFF....WEBPVP8L")), "image_format");
        assert_eq!(sent("AAA"), "image_encoding");
        assert_eq!(sent(&STANDARD.encode(vec![0; (8 << 20) + 1])), "images_too_large");
    }
    let five = vec![format!("\"{}\"", png(1, 1)); 5].join(",");
    let body = format!(r#"{{"model":"t","messages":[{{"role":"user","content":"x","images":[{five}]}}]}}"#);
    assert_eq!(judge.sent(Chat, body), "too_many_images");
    assert_eq!(
        judge.sent(Chat, r#"{"model":"t","messages":[{"role":"user","content":"x","images":[[65,66]]}]}"#),
        "field_type"
    );
}

#[test]
fn each_refusal_has_its_reason() {
    let judge = Judge::new();
    let chat = |more: &str| {
        judge.sent(Chat, format!(r#"{{"model":"t","messages":[{{"role":"user","content":"x"}}],{more}}}"#))
    };
    for (more, code) in [
        (r#""tools":[{"type":"web_search_20250305","function":{"name":"x"}}]"#, "web_search_refused"),
        (r#""tools":[{"function":{"name":"f","parameters":{"type":"object","Properties":{}}}}]"#, "key_variant"),
        (r#""tools":[{"function":{"name":"a\u0000b"}}]"#, "control_character"),
        (r#""options":{"temperature":1e300}"#, "field_range"),
        (r#""options":{"num_predict":"9"}"#, "field_type"),
        (r#""options":{"seed":1.5}"#, "field_type"),
        (r#""STREAM":false"#, "key_variant"),
        (r#""a":1,"A":2"#, "key_variant"),
    ] {
        assert_eq!(chat(more), code, "{more}");
    }
    let openai = |message: &str| judge.sent(ChatCompletions, format!(r#"{{"model":"t","messages":[{message}]}}"#));
    assert_eq!(
        openai(r#"{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1,\"a\":2}"}}]}"#),
        "duplicate_key"
    );
    assert_eq!(
        openai(r#"{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"[1]"}}]}"#),
        "tool_arguments"
    );
    assert_eq!(
        openai(r#"{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AAAA"}}]}"#),
        "part_refused"
    );
    assert_eq!(
        judge.sent(Responses, r#"{"model":"t","input":"x","tools":[{"type":"web_search"}]}"#),
        "web_search_refused"
    );
    assert_eq!(judge.sent(Delete, r#"{"model":"a","name":"b"}"#), "field_conflict");
    let many = vec!["\"a\""; 257].join(",");
    assert_eq!(judge.sent(Embed, format!(r#"{{"model":"t","input":[{many}]}}"#)), "too_many_inputs");
    assert_eq!(judge.sent(Embed, format!(r#"{{"model":"t","input":"{}"}}"#, "a".repeat(262_145))), "inputs_too_large");
    let mut strict = Judge::new();
    strict.validation.unknown_fields = UnknownFields::Refuse;
    assert_eq!(strict.sent(Generate, r#"{"model":"t","prompt":"x","y":1}"#), "unknown_field");
}

#[test]
fn what_a_role_names_is_allowed() {
    let all = Judge::allowing(&[
        Allowance::Raw,
        Allowance::Context,
        Allowance::WebSearch,
        Allowance::Cloud,
        Allowance::SchemaPattern,
    ]);
    let sent =
        all.sent(Generate, r#"{"model":"x:cloud","prompt":" x ","raw":true,"context":[1,2],"format":{"pattern":"a"}}"#);
    assert!(
        sent.starts_with(r#"{"model":"x:cloud","stream":true,"raw":true,"prompt":" x ","context":[1,2]"#),
        "{sent}"
    );
    assert_eq!(all.sent(Generate, r#"{"model":"x","prompt":"x","context":[-1]}"#), "field_range");
    assert!(all.sent(Responses, r#"{"model":"t","input":"x","tools":[{"type":"web_search"}]}"#).contains("web_search"));
    let mut narrow = Judge::new();
    narrow.role.models = vec![ModelPattern::parse("llama3.2:*").unwrap()].into();
    narrow.role.registries = vec!["hub.example.org".to_owned()];
    assert!(narrow.sent(Show, r#"{"model":"Llama3.2:1b"}"#).contains("llama3.2:1b"));
    assert_eq!(narrow.sent(Show, r#"{"model":"other"}"#), "model_not_found");
    narrow.role.models = vec![ModelPattern::parse("*").unwrap()].into();
    assert!(narrow.sent(Pull, r#"{"model":"http://Hub.example.org/a/b"}"#).contains("hub.example.org/a/b:latest"));
    assert_eq!(
        narrow.sent(Chat, r#"{"model":"hub.example.org/a/b","messages":[{"role":"user","content":"x"}]}"#),
        "model_not_found"
    );
    assert_eq!(narrow.sent(Create, r#"{"model":"a","from":"hub.example.org/a/b"}"#), "registry_refused");
}
