//! Rules at work on recorded and on made-up streams, in all protocols.

use serde_json::{Value, json};

use super::*;
use crate::ollama::endpoint::Endpoint;

/// Replaces a word, and holds back what may be its begin.
struct Replace {
    word: &'static str,
    by: Option<&'static str>,
    held: std::collections::HashMap<Channel, String>,
}

impl Replace {
    fn boxed(word: &'static str, by: Option<&'static str>) -> Box<dyn OutputRules> {
        Box::new(Self { word, by, held: std::collections::HashMap::new() })
    }
}

impl OutputRules for Replace {
    fn push(&mut self, channel: Channel, text: &str, out: &mut String) -> Ruling {
        let held = self.held.entry(channel).or_default();
        held.push_str(text);
        match (self.by, held.contains(self.word)) {
            (None, true) => return Ruling::Cut,
            (Some(by), true) => *held = held.replace(self.word, by),
            (_, false) => {}
        }
        let keep = (1..self.word.len()).rev().find(|n| held.ends_with(&self.word[..*n])).unwrap_or(0);
        out.push_str(&held[..held.len() - keep]);
        held.drain(..held.len() - keep);
        Ruling::Pass
    }

    fn flush(&mut self, channel: Channel, out: &mut String) -> Ruling {
        out.push_str(&self.held.remove(&channel).unwrap_or_default());
        Ruling::Pass
    }
}

fn run(endpoint: Endpoint, body: &[u8], rules: Box<dyn OutputRules>) -> (String, Outcome) {
    let (usage_chunk, context, request_id) = (UsageChunk::Show, Context::Drop, "req-1".to_owned());
    let options = StreamOptions { request_id, usage_chunk, context, max_frame: 1 << 20, rules: Some(rules) };
    let (mut sanitiser, mut out) = (StreamSanitiser::new(endpoint, options), Vec::new());
    for piece in body.chunks(7) {
        sanitiser.push(piece, &mut out);
    }
    let outcome = sanitiser.finish(End::Clean, &mut out);
    (String::from_utf8(out).unwrap(), outcome)
}

fn recorded(name: &str) -> Vec<u8> {
    let path = format!("{}/tests/cases/ollama/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let exchange: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let chunks = exchange["response"]["chunks"].as_array().unwrap();
    chunks.iter().map(|chunk| chunk["text"].as_str().unwrap()).collect::<String>().into_bytes()
}

fn frames(out: &str) -> Vec<Value> {
    let json = out.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    json.filter_map(|json| serde_json::from_str(json).ok()).collect()
}

fn text(out: &str, pointer: &str) -> String {
    frames(out).iter().filter_map(|frame| frame.pointer(pointer)?.as_str()).collect()
}

const STREAMS: [(Endpoint, &str, &str); 7] = [
    (Endpoint::Chat, "chat_split_secret_stream", "/message/content"),
    (Endpoint::Chat, "chat_think_ok_stream", "/message/content"),
    (Endpoint::ChatCompletions, "v1_chat_tools_stream", "/choices/0/delta/content"),
    (Endpoint::Completions, "v1_completions_stream", "/choices/0/text"),
    (Endpoint::Responses, "v1_responses_tools_stream", "/delta"),
    (Endpoint::Responses, "v1_responses_think_stream", "/delta"),
    (Endpoint::Messages, "v1_messages_think_stream", "/delta/text"),
];

#[test]
fn rules_that_find_nothing_change_nothing() {
    for (endpoint, name, _) in STREAMS {
        let body = recorded(name);
        let (out, outcome) = run(endpoint, &body, Replace::boxed("\u{1}", Some("")));
        assert_eq!(outcome, Outcome::Complete, "{name}");
        assert_eq!(frames(&out), frames(std::str::from_utf8(&body).unwrap()), "{name}");
    }
}

#[test]
fn a_secret_split_over_twelve_tokens_is_caught() {
    let body = recorded("chat_split_secret_stream");
    let (out, outcome) =
        run(Endpoint::Chat, &body, Replace::boxed("alice@example.com key sk-live-4f9a17", Some("[removed]")));
    assert_eq!(outcome, Outcome::Complete);
    assert_eq!(text(&out, "/message/content"), "Contact [removed] ok;");
    assert_eq!(frames(&out).last().unwrap()["done"], true);
}

#[test]
fn what_is_held_back_comes_before_the_end() {
    let rows = [
        (Endpoint::Chat, "chat_split_secret_stream", "/message/content", " ok;!"),
        (Endpoint::Chat, "chat_think_ok_stream", "/message/thinking", " ponder...!"),
        (Endpoint::Completions, "v1_completions_stream", "/choices/0/text", "e blue!"),
        (Endpoint::Responses, "v1_responses_stream", "/delta", " create produce!"),
        (Endpoint::Messages, "v1_messages_think_stream", "/delta/text", " forty-two.!"),
        (Endpoint::Messages, "v1_messages_think_stream", "/delta/thinking", " ponder...!"),
    ];
    for (endpoint, name, pointer, word) in rows {
        let body = recorded(name);
        let (out, outcome) = run(endpoint, &body, Replace::boxed(word, Some("")));
        assert_eq!(outcome, Outcome::Complete, "{name}");
        let expected = text(std::str::from_utf8(&body).unwrap(), pointer);
        assert_eq!(text(&out, pointer), expected, "{name} {pointer}: nothing is lost");
    }
}

#[test]
fn responses_are_renumbered_and_their_repetitions_ruled() {
    let (out, _) =
        run(Endpoint::Responses, &recorded("v1_responses_stream"), Replace::boxed("set create", Some("***")));
    assert!(!out.contains("set create") && !out.contains(" create"), "{out}");
    assert_eq!(out.matches(" place *** produce").count(), 4, "{out}");
    let numbers: Vec<u64> = frames(&out).iter().map(|frame| frame["sequence_number"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>());
    let (out, _) =
        run(Endpoint::Responses, &recorded("v1_responses_tools_stream"), Replace::boxed("Paris", Some("***")));
    assert!(!out.contains("Paris"), "{out}");
}

#[test]
fn a_cut_ends_the_answer_politely_in_every_protocol() {
    let rows = [
        (Endpoint::Chat, "chat_split_secret_stream", "example.com", "\"done_reason\":\"content_filter\"}\n"),
        (
            Endpoint::Completions,
            "v1_completions_stream",
            "window create",
            "\"finish_reason\":\"content_filter\"}]}\n\ndata: [DONE]\n\n",
        ),
        (
            Endpoint::Messages,
            "v1_messages_think_stream",
            "is forty",
            "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
        ),
        (Endpoint::Responses, "v1_responses_stream", "set create", "\"tools\":[]}}\n\n"),
        (Endpoint::ChatCompletions, "v1_chat_tools_stream", "Paris", "\"content_filter\"}]}\n\ndata: [DONE]\n\n"),
    ];
    for (endpoint, name, word, end) in rows {
        let (out, outcome) = run(endpoint, &recorded(name), Replace::boxed(word, None));
        assert_eq!(outcome, Outcome::Shortened, "{name}");
        assert!(out.ends_with(end) && !out.contains(word), "{name}: {out}");
    }
    let (out, _) = run(Endpoint::Messages, &recorded("v1_messages_think_stream"), Replace::boxed("is forty", None));
    assert!(out.contains("{\"type\":\"content_block_stop\",\"index\":1}\n\nevent: message_delta"), "{out}");
}

#[test]
fn token_lists_do_not_repeat_the_text() {
    let line = json!({"model":"m","created_at":"t","message":{"role":"assistant","content":"secret"},"done":true,
                      "logprobs":[{"token":"secret","bytes":[115]}]});
    let (out, _) = run(Endpoint::Chat, format!("{line}\n").as_bytes(), Replace::boxed("secret", Some("***")));
    assert!(!out.contains("secret") && !out.contains("bytes") && out.contains("***"), "{out}");
}

#[test]
fn escaped_arguments_and_whole_answers_are_ruled() {
    let body = json!({"object":"chat.completion","choices":[{"message":{"role":"assistant","content":"a secret",
        "tool_calls":[{"function":{"name":"f","arguments":"{\"q\":\"\\u0073ecret\"}"}}]},"finish_reason":"stop"}]});
    let whole = Whole { body: body.to_string().into_bytes(), usage: Usage::default() };
    let mut rules = Replace::boxed("secret", Some("***"));
    let ruled: Value = serde_json::from_slice(&apply_rules(whole.clone(), &mut *rules).unwrap().body).unwrap();
    assert_eq!(ruled["choices"][0]["message"]["content"], "a ***");
    assert_eq!(ruled["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"], "{\"q\":\"***\"}");
    let cut = apply_rules(whole, &mut *Replace::boxed("secret", None)).unwrap();
    assert_eq!(cut.usage.finish, Finish::Filtered);
    assert!(String::from_utf8(cut.body).unwrap().contains("\"finish_reason\":\"content_filter\""));
}
