//! The reader: one pass, no look back, recursion bounded by the depth it is told.

use super::escape::escape;
use super::scan::{Run, run};
use super::text::Surplus;
use super::{Number, Text, Value};
use crate::ollama::fault::BodyFault;
use std::collections::HashSet;

/// Values of one body: what keeps `[0,0,0,…]` from growing to many times its size in memory.
pub const MAX_VALUES: usize = 131_072;
/// No configuration can allow more than this, since every level takes some stack.
const DEEPEST: usize = 128;
/// Objects up to this size are searched for duplicates by comparing, larger ones by hashing.
const FEW: usize = 12;

/// Reads a whole body.
///
/// # Errors
/// The first fault.
pub fn parse(body: &[u8], max_depth: usize) -> Result<Value<'_>, BodyFault> {
    if body.starts_with(b"\xEF\xBB\xBF") || body.starts_with(b"\xFF\xFE") || body.starts_with(b"\xFE\xFF") {
        return Err(BodyFault::ByteOrderMark);
    }
    let text = std::str::from_utf8(body).map_err(|_| BodyFault::NotUtf8)?;
    let mut reader = Reader { text, bytes: body, at: 0, limit: max_depth.min(DEEPEST), depth: 0, values: 0 };
    reader.skip_space();
    if reader.peek().is_none() {
        return Err(BodyFault::Empty);
    }
    let value = reader.value()?;
    reader.skip_space();
    if reader.peek().is_none() { Ok(value) } else { Err(BodyFault::TrailingData) }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    limit: usize,
    depth: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, byte: u8) -> Result<(), BodyFault> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(BodyFault::Syntax)
        }
    }

    fn value(&mut self) -> Result<Value<'a>, BodyFault> {
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(BodyFault::TooManyValues { limit: MAX_VALUES });
        }
        match self.peek() {
            Some(b'"') => self.string().map(Value::Text),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Number),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(_) | None => Err(BodyFault::Syntax),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value<'a>, BodyFault>) -> Result<Value<'a>, BodyFault> {
        self.depth += 1;
        if self.depth > self.limit {
            return Err(BodyFault::TooDeep { limit: self.limit });
        }
        self.at += 1;
        self.skip_space();
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn array(&mut self) -> Result<Value<'a>, BodyFault> {
        let mut items = Vec::new();
        if self.take(b']').is_ok() {
            return Ok(Value::Array(items));
        }
        loop {
            items.push(self.value()?);
            if self.ends(b']')? {
                return Ok(Value::Array(items));
            }
        }
    }

    fn object(&mut self) -> Result<Value<'a>, BodyFault> {
        let mut members = Vec::new();
        if self.take(b'}').is_ok() {
            return Ok(Value::Object(members));
        }
        loop {
            let key = self.string()?;
            self.skip_space();
            self.take(b':')?;
            self.skip_space();
            members.push((key, self.value()?));
            if self.ends(b'}')? {
                break;
            }
        }
        if has_duplicate(&members) { Err(BodyFault::DuplicateKey) } else { Ok(Value::Object(members)) }
    }

    /// After an element: its end, or a comma and then another one.
    fn ends(&mut self, close: u8) -> Result<bool, BodyFault> {
        self.skip_space();
        if self.take(close).is_ok() {
            return Ok(true);
        }
        self.take(b',')?;
        self.skip_space();
        Ok(false)
    }

    fn word(&mut self, word: &str, value: Value<'a>) -> Result<Value<'a>, BodyFault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        if !rest.starts_with(word.as_bytes()) {
            return Err(BodyFault::Syntax);
        }
        self.at += word.len();
        Ok(value)
    }

    /// A string, which stays as it is, however many escapes it has.
    fn string(&mut self) -> Result<Text<'a>, BodyFault> {
        self.take(b'"')?;
        let start = self.at;
        let mut surplus = Surplus::default();
        let first = self.run()?;
        while self.peek() != Some(b'"') {
            self.escaped(&mut surplus)?;
            self.run()?;
        }
        let raw = self.text.get(start..self.at).ok_or(BodyFault::Syntax)?;
        self.at += 1;
        Ok(if surplus.is_some() { Text::escaped(raw, surplus) } else { Text::plain(raw, first.letters) })
    }

    /// The escape here. In code most are of two letters, and say one byte.
    fn escaped(&mut self, surplus: &mut Surplus) -> Result<(), BodyFault> {
        if let [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] = self.rest() {
            surplus.add_short();
            self.at += 2;
            return Ok(());
        }
        let (said, length) = escape(self.rest())?;
        surplus.add(said, length);
        self.at += length;
        Ok(())
    }

    /// Goes to the next quote or backslash; on the way there is no control character.
    fn run(&mut self) -> Result<Run, BodyFault> {
        let run = run(self.rest());
        self.at += run.length;
        match self.peek() {
            Some(b'"' | b'\\') => Ok(run),
            Some(_) => Err(BodyFault::ControlCharacter),
            None => Err(BodyFault::Syntax),
        }
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn number(&mut self) -> Result<Number<'a>, BodyFault> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.take(b'0').is_err() {
            self.digits()?;
        }
        if self.take(b'.').is_ok() {
            self.digits()?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let number = Number(self.text.get(start..self.at).ok_or(BodyFault::Syntax)?);
        // 300 digits without an exponent cannot be beyond a double.
        let short = number.0.len() < 300 && !number.0.bytes().any(|b| b == b'e' || b == b'E');
        if short || number.as_f64().is_finite() { Ok(number) } else { Err(BodyFault::NumberOutOfRange) }
    }

    fn digits(&mut self) -> Result<(), BodyFault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start { Err(BodyFault::Syntax) } else { Ok(()) }
    }
}

fn has_duplicate(members: &[(Text<'_>, Value<'_>)]) -> bool {
    if members.len() <= FEW {
        let mut rest = members.iter();
        while let Some((key, _)) = rest.next() {
            if rest.clone().any(|(other, _)| other == key) {
                return true;
            }
        }
        return false;
    }
    let mut seen = HashSet::with_capacity(members.len());
    !members.iter().all(|(key, _)| seen.insert(key.as_str()))
}
