//! What the gateway itself writes into a stream: frames, and the polite end of an answer that Ollama left without one.
//!
//! Does not: write errors (see `dialect::error_frames`).

use super::frames::Framing;
use super::shape::{Kind, Reading, Shape};
use super::usage::{Finish, Usage};
use crate::ollama::dialect::LastSeen;

/// OpenAI's end of a stream.
pub(super) const DONE: &[u8] = b"data: [DONE]\n\n";

/// What was seen of a stream so far. The texts are JSON as it came, empty if none did.
#[derive(Debug, Default)]
pub(super) struct Seen {
    id: String,
    model: String,
    created: String,
    pub(super) next_sequence: u64,
    /// The reason of the end has come, if not the end itself.
    pub(super) finished: bool,
    /// Anthropic's content block that has begun and not stopped.
    open_block: Option<u64>,
    pub(super) usage: Usage,
}

impl Seen {
    pub(super) fn note(&mut self, reading: &Reading<'_>) {
        keep(&mut self.id, reading.id);
        keep(&mut self.model, reading.model);
        keep(&mut self.created, reading.created);
        self.next_sequence = reading.sequence.map_or(self.next_sequence, |n| n.saturating_add(1));
        match reading.event {
            Some("content_block_start") => self.open_block = reading.block,
            Some("content_block_stop") => self.open_block = None,
            _ => {}
        }
        self.finished |= reading.kind == Kind::Finish;
        self.usage.note(reading.usage.prompt_tokens, reading.usage.output_tokens);
        self.usage.total_duration_ns = reading.usage.total_duration_ns.or(self.usage.total_duration_ns);
        if reading.usage.finish != Finish::Unknown {
            self.usage.finish = reading.usage.finish;
        }
        self.usage.pieces += u64::from(reading.is_text());
    }

    pub(super) fn last(&self) -> LastSeen<'_> {
        LastSeen {
            id: seen(&self.id),
            model: seen(&self.model),
            created: seen(&self.created),
            next_sequence: self.next_sequence,
        }
    }
}

fn seen(json: &str) -> Option<&str> {
    (!json.is_empty()).then_some(json)
}

fn keep(slot: &mut String, value: Option<&str>) {
    if let Some(value) = value.filter(|value| value != slot) {
        slot.clear();
        slot.push_str(value);
    }
}

/// Writes one frame of the gateway's own making.
pub(super) fn write_frame(shape: Shape, json: &str, event: Option<&str>, out: &mut Vec<u8>) {
    let mut write = |part: &str| out.extend_from_slice(part.as_bytes());
    match (shape.framing(), event.filter(|_| shape.names_events())) {
        (Framing::Lines, _) => [json, "\n"].into_iter().for_each(&mut write),
        (Framing::Events, None) => ["data: ", json, "\n\n"].into_iter().for_each(&mut write),
        (Framing::Events, Some(name)) => {
            ["event: ", name, "\ndata: ", json, "\n\n"].into_iter().for_each(&mut write);
        }
    }
}

/// Whether OpenAI's usage frame is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    Usage,
    Nothing,
}

/// Ends an answer that is not an error: Ollama's repeat abort, a missing `[DONE]`, a rule that cut it, a budget's end.
pub(super) fn polite((shape, told): (Shape, Told), seen: &Seen, finish: Finish, out: &mut Vec<u8>) {
    let word = match finish {
        Finish::Filtered => "content_filter",
        Finish::Length => "length",
        Finish::Unknown | Finish::Stop | Finish::ToolCalls | Finish::Load | Finish::Repeated | Finish::Failed => "stop",
    };
    match shape {
        Shape::Chat => native(shape, seen, (r#""message":{"role":"assistant","content":""}"#, word), out),
        Shape::Generate => native(shape, seen, (r#""response":"""#, word), out),
        Shape::ChatChunks => chunk((shape, told), seen, ("chat.completion.chunk", r#""delta":{}"#, word), out),
        Shape::TextChunks => chunk((shape, told), seen, ("text_completion", r#""text":"""#, word), out),
        Shape::Responses => {
            let reason = if finish == Finish::Length { "max_output_tokens" } else { word };
            write_frame(shape, &incomplete(seen, reason), Some("response.incomplete"), out);
        }
        Shape::Messages => {
            let reason = if finish == Finish::Length { "max_tokens" } else { "refusal" };
            message_end(shape, seen, reason, out);
        }
        Shape::Progress | Shape::Nothing => {}
    }
}

fn native(shape: Shape, seen: &Seen, (empty, word): (&str, &str), out: &mut Vec<u8>) {
    let (model, created) = (or_null(&seen.model), or_null(&seen.created));
    let head = format!(r#"{{"model":{model},"created_at":{created},{empty}"#);
    write_frame(shape, &format!(r#"{head},"done":true,"done_reason":"{word}"}}"#), None, out);
}

fn chunk((shape, told): (Shape, Told), seen: &Seen, (object, empty, word): (&str, &str, &str), out: &mut Vec<u8>) {
    let (id, model, created) = (or_null(&seen.id), or_null(&seen.model), or_null(&seen.created));
    let head = format!(r#"{{"id":{id},"object":"{object}","created":{created},"model":{model}"#);
    let choice = format!(r#"{{"index":0,{empty},"finish_reason":"{word}"}}"#);
    if !seen.finished {
        write_frame(shape, &format!(r#"{head},"system_fingerprint":"fp_ollama","choices":[{choice}]}}"#), None, out);
    }
    if told == Told::Usage && seen.usage.output_tokens.is_none() {
        let (prompt, output) = (seen.usage.prompt_tokens.unwrap_or(0), seen.usage.pieces);
        let total = prompt.saturating_add(output);
        let usage = format!(r#"{{"prompt_tokens":{prompt},"completion_tokens":{output},"total_tokens":{total}}}"#);
        let rest = format!(r#""system_fingerprint":"fp_ollama","choices":[],"usage":{usage}"#);
        write_frame(shape, &format!("{head},{rest}}}"), None, out);
    }
    out.extend_from_slice(DONE);
}

fn message_end(shape: Shape, seen: &Seen, reason: &str, out: &mut Vec<u8>) {
    if let Some(index) = seen.open_block {
        let stop = format!(r#"{{"type":"content_block_stop","index":{index}}}"#);
        write_frame(shape, &stop, Some("content_block_stop"), out);
    }
    if !seen.finished {
        let output = seen.usage.output_tokens.unwrap_or(seen.usage.pieces);
        let delta = format!(r#"{{"type":"message_delta","delta":{{"stop_reason":"{reason}","stop_sequence":null}}"#);
        write_frame(shape, &format!(r#"{delta},"usage":{{"output_tokens":{output}}}}}"#), Some("message_delta"), out);
    }
    write_frame(shape, r#"{"type":"message_stop"}"#, Some("message_stop"), out);
}

fn incomplete(seen: &Seen, word: &str) -> String {
    let (id, model, created) = (or_null(&seen.id), or_null(&seen.model), or_null(&seen.created));
    let head = format!(r#"{{"type":"response.incomplete","sequence_number":{}"#, seen.next_sequence);
    let status = format!(r#""status":"incomplete","incomplete_details":{{"reason":"{word}"}},"error":null"#);
    let rest = r#""output":[],"parallel_tool_calls":true,"tool_choice":"auto","tools":[]"#;
    format!(
        r#"{head},"response":{{"id":{id},"object":"response","created_at":{created},"model":{model},{status},{rest}}}}}"#
    )
}

fn or_null(json: &str) -> &str {
    seen(json).unwrap_or("null")
}
