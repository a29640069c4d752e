//! `/api/chat`, `/api/generate`, `/api/embed`, `/api/embeddings`, as Ollama writes them.

use super::generation::{Ended, Generation, embedding, inputs, tokens};
use super::refuse;
use super::reply::Reply;
use crate::ollama::endpoint::Dialect;
use crate::telemetry::clock;
use http::StatusCode;
use serde_json::{Value, json};
use std::iter::once;

/// How a route names the text of a piece.
#[derive(Clone, Copy)]
enum Shape {
    Chat,
    Generate,
}

pub(super) fn chat(model: &str, call: &Value) -> Reply {
    let messages = call.get("messages").filter(|messages| messages.as_array().is_some_and(|list| !list.is_empty()));
    answer(Shape::Chat, model, call, messages)
}

pub(super) fn generate(model: &str, call: &Value) -> Reply {
    let prompt = call.get("prompt").filter(|prompt| prompt.as_str().is_some_and(|text| !text.is_empty()));
    answer(Shape::Generate, model, call, prompt)
}

/// No prompt loads a model, and keep-alive 0 unloads it: that is all such a call does.
fn answer(shape: Shape, model: &str, call: &Value, prompt: Option<&Value>) -> Reply {
    let Some(prompt) = prompt else {
        let reason = if call.get("keep_alive") == Some(&json!(0)) { "unload" } else { "load" };
        return Reply::native(extend(piece(shape, model, ""), json!({"done": true, "done_reason": reason})));
    };
    let made = Generation::new(prompt, call.get("options").and_then(|options| options.get("num_predict")));
    if call.get("stream") == Some(&Value::Bool(false)) {
        return Reply::native(last(shape, model, &made, &made.text()));
    }
    let words = made.words.iter().map(|word| extend(piece(shape, model, word), json!({"done": false})));
    Reply::ndjson(words.chain(once(last(shape, model, &made, ""))))
}

fn piece(shape: Shape, model: &str, text: &str) -> Value {
    let created_at = clock::rfc3339(clock::now()).to_string();
    match shape {
        Shape::Chat => {
            json!({"model": model, "created_at": created_at, "message": {"role": "assistant", "content": text}})
        }
        Shape::Generate => json!({"model": model, "created_at": created_at, "response": text}),
    }
}

fn last(shape: Shape, model: &str, made: &Generation, text: &str) -> Value {
    let reason = match made.ended {
        Ended::Stop => "stop",
        Ended::Length => "length",
    };
    let end = extend(piece(shape, model, text), json!({"done": true, "done_reason": reason}));
    let end = match shape {
        Shape::Chat => end,
        Shape::Generate => extend(end, json!({"context": (0..made.total_tokens()).collect::<Vec<_>>()})),
    };
    extend(
        end,
        json!({
            "total_duration": 8_000_000, "load_duration": 1_000_000,
            "prompt_eval_count": made.prompt_tokens, "prompt_eval_duration": 1_000_000,
            "eval_count": made.tokens(), "eval_duration": 6_000_000,
        }),
    )
}

fn extend(mut value: Value, more: Value) -> Value {
    if let (Some(fields), Value::Object(more)) = (value.as_object_mut(), more) {
        fields.extend(more);
    }
    value
}

pub(super) fn embed(model: &str, call: &Value) -> Reply {
    let Some(texts) = call.get("input").map_or(Some(Vec::new()), inputs) else {
        return refuse(Dialect::Ollama, StatusCode::BAD_REQUEST, "invalid input type");
    };
    let vectors: Vec<_> = texts.iter().map(|text| embedding(text, call.get("dimensions"))).collect();
    if vectors.is_empty() {
        return Reply::native(json!({"model": model, "embeddings": []}));
    }
    Reply::native(json!({
        "model": model, "embeddings": vectors, "total_duration": 1_000_000, "load_duration": 500_000,
        "prompt_eval_count": tokens(&json!(texts)),
    }))
}

pub(super) fn embeddings(call: &Value) -> Reply {
    let prompt = call.get("prompt").and_then(Value::as_str).filter(|prompt| !prompt.is_empty());
    Reply::native(json!({"embedding": prompt.map(|text| embedding(text, None)).unwrap_or_default()}))
}
