//! The writer: compact JSON, commas put by itself.

use super::pieces::{Left, ToCopy};
use super::scan::run;
use super::{Text, Value};
use bytes::Bytes;

/// Writes one JSON value: into bytes of its own, and around long strings where they stand.
#[derive(Debug, Default)]
pub struct Writer {
    out: Vec<u8>,
    left: Left,
}

impl Writer {
    /// Writes what was read from a body anew; long strings may stay in it.
    #[must_use]
    pub fn over(body: &Bytes) -> Self {
        Self { out: Vec::with_capacity(body.len().saturating_add(256)), left: Left::of(body) }
    }

    /// What was written, in pieces that follow each other.
    #[must_use]
    pub fn into_pieces(self) -> Vec<Bytes> {
        self.left.into_pieces(self.out)
    }

    /// What was written, in one.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.into_pieces().concat()
    }

    /// How much was written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len().saturating_add(self.left.bytes())
    }

    /// Whether nothing was written so far.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// `{`
    pub fn open_object(&mut self) {
        self.separate();
        self.out.push(b'{');
    }

    /// `}`
    pub fn close_object(&mut self) {
        self.out.push(b'}');
    }

    /// `[`
    pub fn open_array(&mut self) {
        self.separate();
        self.out.push(b'[');
    }

    /// `]`
    pub fn close_array(&mut self) {
        self.out.push(b']');
    }

    /// A member's name.
    pub fn key(&mut self, key: &str) {
        self.string(key);
        self.out.push(b':');
    }

    /// `true`, `false`
    pub fn bool(&mut self, value: bool) {
        self.literal(if value { "true" } else { "false" });
    }

    /// A whole number.
    pub fn whole(&mut self, value: i64) {
        self.literal(&value.to_string());
    }

    /// A string that was read, as it was spelled.
    pub fn text(&mut self, text: &Text<'_>) {
        self.separate();
        self.out.push(b'"');
        let spelled = text.spelled().as_bytes();
        if let Err(ToCopy) = self.left.leave(self.out.len(), spelled) {
            self.out.extend_from_slice(spelled);
        }
        self.out.push(b'"');
    }

    /// Any string: what JSON must escape is escaped.
    pub fn string(&mut self, text: &str) {
        self.separate();
        self.out.push(b'"');
        let mut rest = text.as_bytes();
        loop {
            let (plain, tail) = rest.split_at(run(rest).length);
            self.out.extend_from_slice(plain);
            let Some((&byte, tail)) = tail.split_first() else { break };
            self.escape(byte);
            rest = tail;
        }
        self.out.push(b'"');
    }

    /// A value as it was read, with its keys in their order and its strings as they were spelled.
    pub fn value(&mut self, value: &Value<'_>) {
        self.tree(value, Self::text);
    }

    /// The same with all strings in the writer's own spelling, for what another reader than Go's will read.
    pub fn value_anew(&mut self, value: &Value<'_>) {
        self.tree(value, |writer, text| writer.string(text.as_str()));
    }

    fn tree(&mut self, value: &Value<'_>, text: fn(&mut Self, &Text<'_>)) {
        match value {
            Value::Null => self.literal("null"),
            Value::Bool(value) => self.bool(*value),
            Value::Number(number) => self.literal(number.as_str()),
            Value::Text(string) => text(self, string),
            Value::Array(items) => {
                self.open_array();
                items.iter().for_each(|item| self.tree(item, text));
                self.close_array();
            }
            Value::Object(members) => {
                self.open_object();
                for (key, value) in members {
                    text(self, key);
                    self.out.push(b':');
                    self.tree(value, text);
                }
                self.close_object();
            }
        }
    }

    fn literal(&mut self, word: &str) {
        self.separate();
        self.out.extend_from_slice(word.as_bytes());
    }

    fn escape(&mut self, byte: u8) {
        match byte {
            b'"' => self.out.extend_from_slice(b"\\\""),
            b'\\' => self.out.extend_from_slice(b"\\\\"),
            b'\n' => self.out.extend_from_slice(b"\\n"),
            b'\r' => self.out.extend_from_slice(b"\\r"),
            b'\t' => self.out.extend_from_slice(b"\\t"),
            _ => self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
        }
    }

    /// A comma, where one is due: after anything but an opening or a colon. No string's end is ever one of these.
    fn separate(&mut self) {
        if !matches!(self.out.last(), None | Some(b'{' | b'[' | b':')) {
            self.out.push(b',');
        }
    }
}
