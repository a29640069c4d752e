//! Rules for the text of answers, applied while it streams.
//!
//! Guarantees: a rule sees the decoded text of each channel (choice × field) in one piece, however it was split over
//! frames; what it holds back is released, in a frame of the same kind, before the channel ends; the second copies that
//! `/v1/responses` sends at the end, tool-call arguments and reasoning go through the same rules; token lists (`logprobs`),
//! which would repeat the text unchecked, are left out.
//! Does not: know any rule. Answers the secret that is split over twelve tokens (`ollama-facts.md` (e)).

use serde_json::Value;

use super::shape::{Kind, Shape};
use super::texts;

/// A rule set at work on one answer.
pub trait OutputRules: Send {
    /// Takes the next text of a channel, and appends what may go out now.
    fn push(&mut self, channel: Channel, text: &str, out: &mut String) -> Ruling;
    /// The channel's text is over, or another begins: appends what was held back.
    fn flush(&mut self, channel: Channel, out: &mut String) -> Ruling;
}

/// Text that belongs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Channel {
    /// The choice, the content block or the output item.
    pub index: u32,
    /// Which of its fields.
    pub field: Field,
}

/// The fields of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Field {
    /// The answer.
    Content,
    /// `thinking`, `reasoning`.
    Thinking,
    /// Tool-call arguments that come in pieces.
    Arguments,
    /// A text that comes in one piece: it is pushed and at once flushed.
    Whole,
}

/// What becomes of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ruling {
    /// It goes on.
    Pass,
    /// It ends here, politely.
    Cut,
}

/// Applies rules to the frames of one stream.
pub(super) struct Filter {
    shape: Shape,
    rules: Box<dyn OutputRules>,
    /// Channels that may have text held back, each with a frame to send it in.
    open: Vec<(Channel, Value)>,
    /// `/v1/responses` numbers its events; frames of ours count too.
    sequence: u64,
}

impl Filter {
    pub(super) fn new(shape: Shape, rules: Box<dyn OutputRules>) -> Self {
        Self { shape, rules, open: Vec::new(), sequence: 0 }
    }

    pub(super) const fn next_sequence(&self) -> u64 {
        self.sequence
    }

    /// The frames that go out for one that came in.
    pub(super) fn take(&mut self, mut frame: Value, kind: Kind) -> (Vec<Value>, Ruling) {
        hide_tokens(&mut frame);
        let carried = self.carried(&mut frame);
        let last = self.ends_text(&frame, kind);
        let (mut frames, mut ruling) = self.flush_others(&carried, last);
        if !last {
            self.remember(&carried, &frame);
        }
        let rules = &mut self.rules;
        texts::of_frame(self.shape, &mut frame, &mut |channel, text| {
            let mut released = String::new();
            if ruling == Ruling::Pass && !text.is_empty() {
                ruling = rules.push(channel, text, &mut released);
                if ruling == Ruling::Pass && (last || channel.field == Field::Whole) {
                    ruling = rules.flush(channel, &mut released);
                }
            }
            *text = released;
        });
        if last {
            self.open.clear();
        }
        if ruling == Ruling::Pass || !last {
            frames.push(frame);
        }
        self.number(&mut frames);
        (frames, ruling)
    }

    /// The stream ends: what is still held back and may go out.
    pub(super) fn flush(&mut self) -> Vec<Value> {
        let (mut frames, _ends_anyway) = self.flush_others(&[], true);
        self.number(&mut frames);
        frames
    }

    /// The channels whose text a frame goes on with.
    fn carried(&self, frame: &mut Value) -> Vec<Channel> {
        let mut carried = Vec::new();
        texts::of_frame(self.shape, frame, &mut |channel, text| {
            if !text.is_empty() && channel.field != Field::Whole {
                carried.push(channel);
            }
        });
        carried
    }

    /// Whether no text of a channel that is open may come after this frame.
    fn ends_text(&self, frame: &Value, kind: Kind) -> bool {
        match self.shape {
            Shape::Chat | Shape::Generate => frame.get("done") == Some(&Value::Bool(true)),
            Shape::ChatChunks | Shape::TextChunks => matches!(kind, Kind::Finish | Kind::UsageOnly),
            Shape::Messages | Shape::Responses => {
                let ping = frame.get("type").is_some_and(|name| name == "ping");
                !ping && (frame.get("delta").is_none() || kind != Kind::Piece)
            }
            Shape::Progress | Shape::Nothing => false,
        }
    }

    /// Text in one field of an answer ends the text of its other fields.
    fn flush_others(&mut self, carried: &[Channel], last: bool) -> (Vec<Value>, Ruling) {
        let over = |channel: &Channel| {
            !carried.contains(channel) && (last || carried.iter().any(|other| other.index == channel.index))
        };
        let (ended, open) = std::mem::take(&mut self.open).into_iter().partition(|(channel, _)| over(channel));
        self.open = open;
        let (mut frames, mut ruling): (Vec<Value>, _) = (Vec::new(), Ruling::Pass);
        let ended: Vec<(Channel, Value)> = ended;
        for (channel, mut frame) in ended {
            let mut held = String::new();
            if ruling == Ruling::Pass {
                ruling = self.rules.flush(channel, &mut held);
            }
            if !held.is_empty() {
                let fill = &mut |other: Channel, text: &mut String| {
                    if other == channel {
                        text.push_str(&held);
                    }
                };
                texts::of_frame(self.shape, &mut frame, fill);
                frames.push(frame);
            }
        }
        (frames, ruling)
    }

    /// Keeps an empty copy of the frame for each channel that it opens.
    fn remember(&mut self, carried: &[Channel], frame: &Value) {
        for channel in carried {
            if self.open.iter().all(|(open, _)| open != channel) {
                let mut empty = frame.clone();
                for part in ["/message", "/choices/0/delta"] {
                    if let Some(Value::Object(message)) = empty.pointer_mut(part) {
                        message.shift_remove("tool_calls");
                    }
                }
                texts::of_frame(self.shape, &mut empty, &mut |_, text| text.clear());
                self.open.push((*channel, empty));
            }
        }
    }

    fn number(&mut self, frames: &mut [Value]) {
        for number in frames.iter_mut().filter_map(|frame| frame.get_mut("sequence_number")) {
            *number = Value::from(self.sequence);
            self.sequence += 1;
        }
    }
}

/// `logprobs` repeat the text token by token. A tool's arguments may well have such a name.
pub(super) fn hide_tokens(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            if fields.get("logprobs").is_some_and(|tokens| !tokens.as_array().is_some_and(Vec::is_empty)) {
                fields.shift_remove("logprobs");
            }
            let written = |key: &str| matches!(key, "arguments" | "input");
            fields.iter_mut().filter(|(key, _)| !written(key)).for_each(|(_, field)| hide_tokens(field));
        }
        Value::Array(items) => items.iter_mut().for_each(hide_tokens),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
