//! `/v1/messages`, as Ollama writes it.

use super::generation::{Ended, Generation};
use super::refuse;
use super::reply::Reply;
use crate::ollama::endpoint::Dialect;
use crate::telemetry::request_id::RequestId;
use http::StatusCode;
use serde_json::{Value, json};

pub(super) fn messages(model: &str, call: &Value) -> Reply {
    let required = |message| refuse(Dialect::Anthropic, StatusCode::BAD_REQUEST, message);
    if call.get("max_tokens").and_then(Value::as_u64).is_none_or(|most| most == 0) {
        return required("max_tokens is required and must be positive");
    }
    let Some(messages) = call.get("messages").filter(|list| list.as_array().is_some_and(|list| !list.is_empty()))
    else {
        return required("messages is required");
    };
    let made = Generation::new(messages, call.get("max_tokens"));
    let id = RequestId::new();
    let id = format!("msg_{}", id.as_str().get(4..28).unwrap_or_default());
    if call.get("stream") == Some(&Value::Bool(true)) {
        return stream(&id, model, &made);
    }
    Reply::v1(json!({
        "id": id, "type": "message", "role": "assistant", "model": model,
        "content": [{"type": "text", "text": made.text()}], "stop_reason": stop_reason(&made), "usage": usage(&made),
    }))
}

fn stream(id: &str, model: &str, made: &Generation) -> Reply {
    let start = [
        json!({"type": "message_start", "message": {
            "id": id, "type": "message", "role": "assistant", "model": model, "content": [],
            "usage": {"input_tokens": made.prompt_tokens, "output_tokens": 0},
        }}),
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    ];
    let delta =
        |word: &&str| json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}});
    let end = [
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": stop_reason(made)}, "usage": usage(made)}),
        json!({"type": "message_stop"}),
    ];
    Reply::named_events(start.into_iter().chain(made.words.iter().map(delta)).chain(end))
}

fn stop_reason(made: &Generation) -> &'static str {
    match made.ended {
        Ended::Stop => "end_turn",
        Ended::Length => "max_tokens",
    }
}

fn usage(made: &Generation) -> Value {
    json!({"input_tokens": made.prompt_tokens, "output_tokens": made.tokens()})
}
