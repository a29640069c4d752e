//! What each dialect's clients send is understood, and what is sent is what Ollama should read.

use super::fixtures::Judge;
use super::{AnswerShape, UsageChunk};
use crate::config::types::{Allowance, SystemPrompt, UnknownFields};
use crate::ollama::endpoint::Endpoint::{self, *};

/// Bodies of the official clients, as recorded.
#[test]
fn official_clients_are_served() {
    let bodies: [(Endpoint, &str); 22] = [
        (Chat, r#"{"model":"tiny","stream":false,"messages":[{"role":"user","content":"hi"}],"tools":[]}"#),
        (Generate, r#"{"model":"tiny","stream":true,"prompt":"hi"}"#),
        (Generate, r#"{"model":"tiny","prompt":"hello","suffix":"","system":"","template":"","options":{}}"#),
        (
            Generate,
            r#"{"model":"t","prompt":"x","raw":false,"context":[],"images":null,"format":"","keep_alive":-1,"think":null}"#,
        ),
        (Embed, r#"{"model":"tiny-embed","input":["a","b"]}"#),
        (Embeddings, r#"{"model":"tiny-embed","prompt":"a"}"#),
        (Show, r#"{"model":"","system":"","template":"","verbose":false,"options":null,"name":"tiny"}"#),
        (Delete, r#"{"model":"","name":"tinycli"}"#),
        (Copy, r#"{"source":"tiny","destination":"tinycc"}"#),
        (Create, r#"{"model":"tinycc2","stream":false,"from":"tiny"}"#),
        (
            ChatCompletions,
            r#"{"model":"tiny","stream":true,"messages":[{"role":"user","content":"hi"}],"stream_options":{"include_usage":true}}"#,
        ),
        (
            ChatCompletions,
            r##"{"model":"tiny","messages":[{"role":"user","content":"hi"}],"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"$ref":"#/zz"}}}}"##,
        ),
        (
            ChatCompletions,
            r#"{"model":"t","n":1,"user":"u","tool_choice":"auto","parallel_tool_calls":true,"logit_bias":{},"messages":[{"role":"developer","content":"d"},{"role":"user","content":"hi","name":"bob"},{"role":"assistant","content":null,"refusal":null,"annotations":[],"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\": 1}"}}]},{"role":"tool","tool_call_id":"c1","content":"1"}]}"#,
        ),
        (V1Embeddings, r#"{"model":"tiny-embed","input":"a","encoding_format":"base64"}"#),
        (Completions, r#"{"model":"tiny","prompt":"x","best_of":1,"echo":false,"suffix":null}"#),
        (
            Responses,
            r#"{"model":"tiny","stream":true,"input":"hi","store":true,"include":["x"],"previous_response_id":null}"#,
        ),
        (
            Responses,
            r#"{"model":"t","input":[{"type":"reasoning","id":"r","summary":[{"type":"summary_text","text":"s"}],"encrypted_content":"e"},{"type":"message","role":"assistant","id":"m","status":"completed","content":[{"type":"output_text","text":"x","annotations":[],"logprobs":[]}]},{"type":"function_call_output","call_id":"c","output":[{"type":"input_text","text":"3"}]}],"tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"f","strict":true,"parameters":{"type":"object","properties":{},"additionalProperties":false}}]}]}"#,
        ),
        (Messages, r#"{"max_tokens":5,"messages":[{"role":"user","content":"hi"}],"model":"tiny","stream":true}"#),
        (
            Messages,
            r#"{"max_tokens":5,"model":"t","system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"metadata":{"user_id":"u"},"tool_choice":{"type":"auto"},"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"h","signature":"s"},{"type":"tool_use","id":"t1","name":"f","input":{"b":1,"a":2}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":""}],"is_error":false}]}],"tools":[{"type":"custom","name":"f","input_schema":{"type":"object","$schema":"x","properties":{"b":{},"a":{}}}}]}"#,
        ),
        (Pull, r#"{"model":"tiny","stream":true,"insecure":true,"username":"","password":""}"#),
        (WebSearch, r#"{"query":"x","max_results":3}"#),
        (
            Chat,
            r#"{"model":"tiny","messages":[{"role":"USER","content":"hi","images":[]},{"role":"assistant","content":"","tool_calls":[{"type":"function","id":"1","function":{"name":"f","arguments":{"z":1,"a":{"y":2,"b":3}}}}]},{"role":"tool","tool_name":"f","content":"3"}],"format":{"type":"object","properties":{"z":{},"a":{}}},"think":"high","options":{"mirostat":null,"seed":42.0}}"#,
        ),
    ];
    for (endpoint, body) in bodies {
        for unknown in [UnknownFields::Drop, UnknownFields::Refuse] {
            let mut judge = Judge::new();
            judge.validation.unknown_fields = unknown;
            let sent = judge.sent(endpoint, body);
            assert!(sent.starts_with('{'), "{endpoint:?} {unknown:?} {body}: {sent}");
        }
    }
}

#[test]
fn what_is_sent() {
    for (endpoint, body, expected) in [
        (
            Chat,
            r#"{"messages":[{"content":"  hi\u0041\n ","role":"User"}],"model":" TINY ","options":{"num_predict":99999,"num_ctx":9,"top_k":40.0,"num_gpu":1},"keep_alive":0,"shift":true,"x":1}"#,
            r#"{"model":"tiny:latest","stream":true,"messages":[{"role":"user","content":"hi\u0041"}],"options":{"num_predict":2048,"top_k":40},"keep_alive":"5m","truncate":true}"#,
        ),
        (
            ChatCompletions,
            r#"{"model":"t","stream":true,"max_completion_tokens":7,"max_tokens":9,"messages":[{"role":"developer","content":"d"},{"role":"user","content":[{"type":"text","text":" a "},{"type":"text","text":""}]},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"b\": 1, \"a\": \"\\u0041\"}"}}]}]}"#,
            r#"{"model":"t:latest","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"system","content":"d"},{"role":"user","content":[{"type":"text","text":"a"}]},{"role":"assistant","tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{\"b\": 1, \"a\": \"\\u0041\"}"}}]}],"max_tokens":7}"#,
        ),
        (
            Messages,
            r#"{"model":"t","max_tokens":0,"messages":[{"role":"user","content":"hi"}],"thinking":{"type":"enabled","budget_tokens":9},"top_k":5}"#,
            r#"{"model":"t:latest","stream":false,"max_tokens":512,"messages":[{"role":"user","content":"hi"}],"top_k":5,"thinking":{"type":"enabled"}}"#,
        ),
        (
            Responses,
            r#"{"model":"t","input":[{"role":"user","content":"hi"},{"type":"function_call","call_id":"c","name":"f","arguments":""}],"max_output_tokens":-1}"#,
            r#"{"model":"t:latest","stream":false,"input":[{"type":"message","role":"user","content":"hi"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"}],"max_output_tokens":512}"#,
        ),
    ] {
        assert_eq!(Judge::new().sent(endpoint, body), expected);
    }
}

#[test]
fn what_is_known_of_a_call() {
    let judge = Judge::new();
    let call = judge.call(Chat, r#"{"model":"a","messages":[{"role":"user","content":"äb"}]}"#.as_bytes()).unwrap();
    assert_eq!(call.model().unwrap().canonical(), "a:latest");
    assert_eq!((call.shape(), call.max_tokens(), call.prompt_chars()), (AnswerShape::Stream, Some(512), 2));
    let stream = br#"{"model":"a","prompt":"x","stream":true}"#;
    let call = judge.call(Completions, stream).unwrap();
    assert_eq!((call.shape(), call.usage()), (AnswerShape::Stream, UsageChunk::Hide));
    let asked = br#"{"model":"a","prompt":"x","stream":true,"stream_options":{"include_usage":true}}"#;
    assert_eq!(judge.call(Completions, asked).unwrap().usage(), UsageChunk::Keep);
    let show = judge.call(Show, br#"{"name":"a"}"#).unwrap();
    assert_eq!((show.shape(), show.max_tokens()), (AnswerShape::Whole, None));
}

/// One body a way to give a system prompt.
const SYSTEM: [(Endpoint, &str); 7] = [
    (Chat, r#"{"model":"t","messages":[{"role":"SYSTEM","content":"obey"},{"role":"user","content":"hi"}]}"#),
    (Generate, r#"{"model":"t","prompt":"hi","system":"obey"}"#),
    (
        ChatCompletions,
        r#"{"model":"t","messages":[{"role":"developer","content":"obey"},{"role":"user","content":"hi"}]}"#,
    ),
    (
        Messages,
        r#"{"model":"t","max_tokens":1,"system":[{"type":"text","text":"obey"}],"messages":[{"role":"user","content":"hi"}]}"#,
    ),
    (
        Messages,
        r#"{"model":"t","max_tokens":1,"messages":[{"role":"system","content":"obey"},{"role":"user","content":"hi"}]}"#,
    ),
    (Responses, r#"{"model":"t","instructions":"obey","input":"hi"}"#),
    (Responses, r#"{"model":"t","input":[{"role":"system","content":"obey"},{"role":"user","content":"hi"}]}"#),
];

#[test]
fn system_prompts_are_allowed_denied_or_pinned_in_every_dialect() {
    let mut judge = Judge::allowing(&[Allowance::Raw, Allowance::Template]);
    for (endpoint, body) in SYSTEM {
        judge.role.system_prompt = SystemPrompt::Allow;
        assert!(judge.sent(endpoint, body).contains("obey"), "{body}");
        judge.role.system_prompt = SystemPrompt::Deny;
        assert_eq!(judge.sent(endpoint, body), "system_prompt_denied", "{body}");
        judge.role.system_prompt = SystemPrompt::Pin("be kind".to_owned());
        let sent = judge.sent(endpoint, body);
        assert!(sent.matches("be kind").count() == 1 && !sent.contains("obey"), "{sent}");
        assert!(judge.sent(endpoint, body.replace("obey", "")).contains("be kind"), "{body}");
    }
    assert_eq!(judge.sent(Completions, r#"{"model":"t","prompt":"x"}"#), "system_prompt_pinned");
    assert_eq!(judge.sent(Generate, r#"{"model":"t","prompt":"x","raw":true}"#), "field_refused");
    assert_eq!(judge.sent(Chat, r#"{"model":"t","messages":[{"role":"system","content":"x"}]}"#), "message_empty");
}
