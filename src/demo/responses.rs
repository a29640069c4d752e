//! `/v1/responses`, as Ollama writes it.

use super::generation::Generation;
use super::openai::number;
use super::reply::Reply;
use crate::telemetry::clock;
use serde_json::{Value, json};

/// One answer.
struct Answered<'a> {
    id: String,
    item: String,
    model: &'a str,
    created: u64,
    limit: Value,
    made: Generation,
}

pub(super) fn responses(model: &str, call: &Value) -> Reply {
    let limit = call.get("max_output_tokens");
    let answered = Answered {
        id: format!("resp_{}{}", number(), number()),
        item: format!("msg_{}{}", number(), number()),
        model,
        created: clock::unix_seconds(clock::now()),
        limit: limit.cloned().unwrap_or(Value::Null),
        made: Generation::new(call.get("input").unwrap_or(&Value::Null), limit),
    };
    if call.get("stream") == Some(&Value::Bool(true)) {
        return Reply::named_events(answered.events());
    }
    Reply::v1(answered.response("completed"))
}

impl Answered<'_> {
    fn response(&self, status: &str) -> Value {
        let done = status == "completed";
        let completed_at = if done { json!(self.created) } else { Value::Null };
        let output = if done { json!([self.message(status)]) } else { json!([]) };
        let usage = if done { self.usage() } else { Value::Null };
        json!({
            "id": self.id, "object": "response", "created_at": self.created, "completed_at": completed_at,
            "status": status, "incomplete_details": null, "model": self.model, "previous_response_id": null,
            "instructions": null, "output": output, "error": null, "tools": [], "tool_choice": "auto",
            "truncation": "disabled", "parallel_tool_calls": true, "text": {"format": {"type": "text"}}, "top_p": 1,
            "presence_penalty": 0, "frequency_penalty": 0, "top_logprobs": 0, "temperature": 1, "reasoning": null,
            "usage": usage, "max_output_tokens": self.limit, "max_tool_calls": null, "store": false,
            "background": false, "service_tier": "default", "metadata": {}, "safety_identifier": null,
            "prompt_cache_key": null,
        })
    }

    fn message(&self, status: &str) -> Value {
        let content = if status == "completed" { json!([part(&self.made.text())]) } else { json!([]) };
        json!({"id": self.item, "type": "message", "status": status, "role": "assistant", "content": content})
    }

    fn usage(&self) -> Value {
        json!({
            "input_tokens": self.made.prompt_tokens, "output_tokens": self.made.tokens(),
            "total_tokens": self.made.total_tokens(), "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        })
    }

    /// Every event carries its number and its place.
    fn events(&self) -> Vec<Value> {
        let (text, item) = (self.made.text(), &self.item);
        let at = |mut event: Value| {
            if let Some(fields) = event.as_object_mut() {
                fields.extend([("content_index".to_owned(), json!(0)), ("item_id".to_owned(), json!(item))]);
            }
            event
        };
        let start = [
            json!({"type": "response.created", "response": self.response("in_progress")}),
            json!({"type": "response.in_progress", "response": self.response("in_progress")}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": self.message("in_progress")}),
            at(json!({"type": "response.content_part.added", "output_index": 0, "part": part("")})),
        ];
        let delta = |word: &&str| {
            at(json!({"type": "response.output_text.delta", "output_index": 0, "delta": word, "logprobs": []}))
        };
        let end = [
            at(json!({"type": "response.output_text.done", "output_index": 0, "text": text, "logprobs": []})),
            at(json!({"type": "response.content_part.done", "output_index": 0, "part": part(&text)})),
            json!({"type": "response.output_item.done", "output_index": 0, "item": self.message("completed")}),
            json!({"type": "response.completed", "response": self.response("completed")}),
        ];
        numbered(start.into_iter().chain(self.made.words.iter().map(delta)).chain(end))
    }
}

fn part(text: &str) -> Value {
    json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
}

fn numbered(events: impl Iterator<Item = Value>) -> Vec<Value> {
    let number = |(at, mut event): (usize, Value)| {
        if let Some(fields) = event.as_object_mut() {
            fields.insert("sequence_number".to_owned(), json!(at));
        }
        event
    };
    events.enumerate().map(number).collect()
}
