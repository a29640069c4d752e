//! Whole answers of the routes that run a model.
//!
//! Guarantees: the answer has the body of its route (a message, choices, vectors, …) and no error; what it cost is read
//! from it. An answer of Ollama's repeat abort (`done:false`, no reason for the end) is finished, since clients wait for a
//! reason; private fields are taken out; anything else passes byte for byte.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::private::{self, Context};
use super::shape::{Counts, Kind, Shape};
use super::upstream_fault::UpstreamFault;
use super::usage::{Finish, Usage};
use super::whole::Whole;
use crate::ollama::endpoint::Endpoint;

pub(super) fn answer(endpoint: Endpoint, text: &str, context: Context) -> Result<Whole, UpstreamFault> {
    let shape = Shape::of(endpoint);
    if matches!(shape, Shape::Chat | Shape::Generate) {
        native(shape, text, context)
    } else {
        object(endpoint, text, context)
    }
}

/// `/api/chat` and `/api/generate` answer with one line of their streams.
fn native(shape: Shape, text: &str, context: Context) -> Result<Whole, UpstreamFault> {
    let reading = shape.read(text)?;
    let mut usage = Usage { pieces: 1, ..reading.usage };
    if reading.kind == Kind::End {
        return Ok(Whole { body: text.as_bytes().to_vec(), usage });
    }
    let mut value = parse(text)?;
    private::strip(shape, &mut value, context);
    if matches!(reading.kind, Kind::Piece | Kind::Rewrite) {
        set(&mut value, "done", Value::Bool(true));
        set(&mut value, "done_reason", Value::from("stop"));
        usage.finish = Finish::Repeated;
    }
    Ok(Whole::json(&value, usage))
}

/// The fields of all other answers that are looked at.
#[derive(Deserialize)]
struct Answer<'a> {
    error: Option<IgnoredAny>,
    #[serde(borrow)]
    object: Option<&'a RawValue>,
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    #[serde(borrow)]
    output: Option<&'a RawValue>,
    #[serde(borrow)]
    embeddings: Option<&'a RawValue>,
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    stop_reason: Option<&'a RawValue>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
    usage: Option<Counts>,
    prompt_eval_count: Option<u64>,
    total_duration: Option<u64>,
    #[serde(rename = "_debug_info")]
    debug_info: Option<IgnoredAny>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    #[serde(borrow)]
    finish_reason: Option<&'a RawValue>,
}

impl Answer<'_> {
    /// Whether the body that the route answers is there.
    fn has_body(&self, endpoint: Endpoint) -> bool {
        let begins = |value: Option<&RawValue>, first: char| value.is_some_and(|value| value.get().starts_with(first));
        // An empty list of Go's may be `null`.
        let list = |value: Option<&RawValue>| value.is_none() || begins(value, '[');
        let says = |value: Option<&RawValue>, word: &str| value.is_some_and(|value| value.get() == word);
        let choices = |fits: &dyn Fn(&Choice<'_>) -> bool| {
            self.choices.as_ref().is_some_and(|choices| !choices.is_empty() && choices.iter().all(fits))
        };
        match Shape::of(endpoint) {
            Shape::ChatChunks => choices(&|choice| begins(choice.message, '{')),
            Shape::TextChunks => choices(&|choice| begins(choice.text, '"')),
            Shape::Responses => {
                says(self.object, "\"response\"") && list(self.output) && !says(self.status, "\"failed\"")
            }
            Shape::Messages => says(self.kind, "\"message\"") && list(self.content),
            Shape::Chat | Shape::Generate | Shape::Progress => false,
            Shape::Nothing if endpoint == Endpoint::Embed => begins(self.embeddings, '['),
            Shape::Nothing if endpoint == Endpoint::Embeddings => begins(self.embedding, '['),
            Shape::Nothing if endpoint == Endpoint::V1Embeddings => begins(self.data, '['),
            Shape::Nothing => begins(self.text, '"'),
        }
    }

    /// Why it ended; [`Finish::Repeated`] where the protocol wants a reason and Ollama gave none.
    fn finish(&self, endpoint: Endpoint) -> Finish {
        let word = |value: Option<&RawValue>| {
            let word = value.map(RawValue::get).filter(|word| *word != "null");
            word.map_or(Finish::Repeated, Finish::of_word)
        };
        match Shape::of(endpoint) {
            Shape::ChatChunks | Shape::TextChunks => {
                let first = self.choices.as_ref().and_then(|choices| choices.first());
                word(first.and_then(|choice| choice.finish_reason))
            }
            Shape::Messages => word(self.stop_reason),
            Shape::Responses => self.status.map(|status| Finish::of_word(status.get())).unwrap_or_default(),
            Shape::Chat | Shape::Generate | Shape::Progress | Shape::Nothing => Finish::Unknown,
        }
    }
}

fn object(endpoint: Endpoint, text: &str, context: Context) -> Result<Whole, UpstreamFault> {
    if !text.trim_ascii().starts_with('{') {
        return Err(UpstreamFault::Invalid);
    }
    let answer: Answer<'_> = serde_json::from_str(text).map_err(|_| UpstreamFault::Invalid)?;
    if answer.error.is_some() {
        return Err(UpstreamFault::Failed(500));
    }
    if !answer.has_body(endpoint) {
        return Err(UpstreamFault::Invalid);
    }
    let mut usage = Usage { total_duration_ns: answer.total_duration, pieces: 1, ..Usage::default() };
    usage.finish = answer.finish(endpoint);
    usage.note(answer.prompt_eval_count, None);
    if let Some(counts) = &answer.usage {
        usage.note(counts.prompt_tokens, counts.completion_tokens);
    }
    if answer.debug_info.is_none() && usage.finish != Finish::Repeated {
        return Ok(Whole { body: text.as_bytes().to_vec(), usage });
    }
    let mut value = parse(text)?;
    private::strip(Shape::of(endpoint), &mut value, context);
    if usage.finish == Finish::Repeated {
        say_why(&mut value, "stop", "end_turn");
    }
    Ok(Whole::json(&value, usage))
}

/// A content rule cut the answer.
pub(super) fn say_filtered(value: &mut Value) {
    say_why(value, "content_filter", "refusal");
    if value.get("done").is_some() {
        set(value, "done_reason", Value::from("content_filter"));
    }
    if value.get("object") == Some(&Value::from("response")) {
        set(value, "status", Value::from("incomplete"));
        set(value, "incomplete_details", serde_json::json!({ "reason": "content_filter" }));
    }
}

/// Sets the reason of the end in OpenAI's choices and in Anthropic's message.
fn say_why(value: &mut Value, openai: &str, anthropic: &str) {
    for choice in value.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        set(choice, "finish_reason", Value::from(openai));
    }
    if value.get("type") == Some(&Value::from("message")) {
        set(value, "stop_reason", Value::from(anthropic));
    }
}

fn set(value: &mut Value, key: &str, to: Value) {
    if let Some(object) = value.as_object_mut() {
        object.insert(key.to_owned(), to);
    }
}

fn parse(text: &str) -> Result<Value, UpstreamFault> {
    serde_json::from_str(text).map_err(|_| UpstreamFault::Invalid)
}
