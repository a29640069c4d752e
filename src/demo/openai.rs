//! `/v1/chat/completions`, `/v1/completions`, `/v1/embeddings` and `/v1/models/…`, as Ollama writes them.

use super::generation::{Ended, Generation, embedding, inputs, is_the_model, tokens};
use super::reply::Reply;
use super::{catalogue, refuse};
use crate::ollama::endpoint::{Dialect, PathParameter};
use crate::telemetry::clock;
use crate::telemetry::request_id::RequestId;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use serde_json::{Value, json};
use std::iter::once;

const DONE: &str = "data: [DONE]\n\n";

/// What every chunk of one answer repeats.
struct Envelope<'a> {
    id: String,
    model: &'a str,
    created: u64,
}

impl<'a> Envelope<'a> {
    fn new(kind: &str, model: &'a str) -> Self {
        Self { id: format!("{kind}-{}", number()), model, created: clock::unix_seconds(clock::now()) }
    }

    fn of(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id, "object": object, "created": self.created, "model": self.model,
            "system_fingerprint": "fp_ollama", "choices": choices,
        })
    }
}

/// Ollama's ids have three digits here and six in `/v1/responses`: so do these.
pub(super) fn number() -> String {
    let digits =
        RequestId::new().as_str().bytes().filter(u8::is_ascii_digit).take(3).map(char::from).collect::<String>();
    format!("{digits:0>3}")
}

pub(super) fn chat(model: &str, call: &Value) -> Reply {
    let messages = call.get("messages").filter(|messages| messages.as_array().is_some_and(|list| !list.is_empty()));
    let Some(messages) = messages else {
        return refuse(Dialect::OpenAi, StatusCode::BAD_REQUEST, "[] is too short - 'messages'");
    };
    let made = Generation::new(messages, call.get("max_tokens"));
    let envelope = Envelope::new("chatcmpl", model);
    if !streams(call) {
        let message = json!({"role": "assistant", "content": made.text()});
        let choices = json!([{"index": 0, "message": message, "finish_reason": finish(&made)}]);
        return Reply::v1(with_usage(envelope.of("chat.completion", choices), &made));
    }
    let chunk = |choices| envelope.of("chat.completion.chunk", choices);
    let delta = |(at, word): (usize, &&str)| {
        let delta = if at == 0 { json!({"role": "assistant", "content": word}) } else { json!({"content": word}) };
        chunk(json!([{"index": 0, "delta": delta, "finish_reason": null}]))
    };
    let end = chunk(json!([{"index": 0, "delta": {}, "finish_reason": finish(&made)}]));
    let usage = wants_usage(call).then(|| with_usage(chunk(json!([])), &made));
    Reply::events(made.words.iter().enumerate().map(|word| event(&delta(word))).chain(once(tail(&end, usage.as_ref()))))
}

pub(super) fn completions(model: &str, call: &Value) -> Reply {
    let prompt = call.get("prompt").unwrap_or(&Value::Null);
    let made = Generation::new(prompt, call.get("max_tokens"));
    let envelope = Envelope::new("cmpl", model);
    if !streams(call) {
        let choices = json!([{"text": made.text(), "index": 0, "finish_reason": finish(&made)}]);
        return Reply::v1(with_usage(envelope.of("text_completion", choices), &made));
    }
    // With `include_usage`, Ollama puts a usage of zeros into every chunk of this route but the last.
    let chunk = |text: &str, reason: Value| {
        let choices = json!([{"text": text, "index": 0, "finish_reason": reason}]);
        let mut chunk = envelope.of("text_completion", choices);
        if let Some(fields) = chunk.as_object_mut().filter(|_| wants_usage(call)) {
            fields.insert("usage".to_owned(), usage(0, 0));
        }
        chunk
    };
    let usage = wants_usage(call).then(|| with_usage(envelope.of("text_completion", json!([])), &made));
    let end = tail(&chunk("", json!(finish(&made))), usage.as_ref());
    Reply::events(made.words.iter().map(|word| event(&chunk(word, Value::Null))).chain(once(end)))
}

pub(super) fn embeddings(model: &str, call: &Value) -> Reply {
    let Some(texts) = call.get("input").and_then(inputs).filter(|texts| !texts.is_empty()) else {
        return refuse(Dialect::OpenAi, StatusCode::BAD_REQUEST, "invalid input");
    };
    let packed = call.get("encoding_format").and_then(Value::as_str) == Some("base64");
    let entry = |(index, text): (usize, &&str)| {
        let vector = embedding(text, call.get("dimensions"));
        let shown = if packed { json!(base64_of(&vector)) } else { json!(vector) };
        json!({"object": "embedding", "embedding": shown, "index": index})
    };
    let data: Vec<_> = texts.iter().enumerate().map(entry).collect();
    let count = tokens(&json!(texts));
    Reply::v1(json!({
        "object": "list", "data": data, "model": model, "usage": {"prompt_tokens": count, "total_tokens": count},
    }))
}

pub(super) fn model(parameter: &PathParameter) -> Reply {
    let PathParameter::Model(name) = parameter else {
        return refuse(Dialect::OpenAi, StatusCode::NOT_FOUND, "model not found");
    };
    if is_the_model(name.canonical()) {
        return Reply::v1(catalogue::model(name.canonical()));
    }
    refuse(Dialect::OpenAi, StatusCode::NOT_FOUND, &format!("model '{}' not found", name.canonical()))
}

fn base64_of(vector: &[f32]) -> String {
    STANDARD.encode(vector.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<_>>())
}

fn streams(call: &Value) -> bool {
    call.get("stream") == Some(&Value::Bool(true))
}

fn wants_usage(call: &Value) -> bool {
    call.pointer("/stream_options/include_usage") == Some(&Value::Bool(true))
}

fn finish(made: &Generation) -> &'static str {
    match made.ended {
        Ended::Stop => "stop",
        Ended::Length => "length",
    }
}

fn usage(prompt: usize, completion: usize) -> Value {
    let total = prompt.saturating_add(completion);
    json!({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total})
}

fn with_usage(mut value: Value, made: &Generation) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.insert("usage".to_owned(), usage(made.prompt_tokens, made.tokens()));
    }
    value
}

fn event(data: &Value) -> String {
    format!("data: {data}\n\n")
}

/// Ollama writes the last chunk, the usage and the end in one piece.
fn tail(end: &Value, usage: Option<&Value>) -> String {
    [event(end), usage.map(event).unwrap_or_default(), DONE.to_owned()].concat()
}
