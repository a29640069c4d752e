//! Strings, undone no earlier than somebody looks.
//!
//! Guarantees: a string stays as it stands in the body, however its escapes are spelled, and is copied once in its life
//! at most, into what is sent. Its escapes are checked while it is read, and undone only where its text is asked for (names,
//! patterns). Bytes and characters are counted and white space is cut off without that. All say the same as the undone
//! text would: the tests compare.
//! Does not: make two spellings of a text one; what compares texts compares what they say.

use super::escape::{Escapes, escape};
use super::scan::Letters;
use std::cell::OnceCell;
use std::ops::Range;

/// A string. The distinction between its forms is private, so what it holds is always safe to copy between quotes.
#[derive(Debug, Clone)]
pub struct Text<'a>(Form<'a>);

#[derive(Debug, Clone)]
enum Form<'a> {
    /// Holds nothing that JSON would escape.
    Plain(&'a str, Letters),
    /// Holds escapes, which were checked.
    Escaped(Box<Escaped<'a>>),
}

impl<'a> Text<'a> {
    /// What it says.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Plain(text, _) => text,
            Form::Escaped(escaped) => escaped.text.get_or_init(|| undo(escaped.raw)),
        }
    }

    /// What stood between the quotes.
    #[must_use]
    pub const fn spelled(&self) -> &'a str {
        match &self.0 {
            Form::Plain(text, _) => text,
            Form::Escaped(escaped) => escaped.raw,
        }
    }

    /// What its escapes say.
    #[must_use]
    pub const fn escapes(&self) -> Escapes {
        match &self.0 {
            Form::Plain(..) => Escapes::Marks,
            Form::Escaped(escaped) => escaped.surplus.escapes,
        }
    }

    /// Where it was seen, while it was read, to hold nothing but letters of base64. It may hold more of them.
    #[must_use]
    pub(in crate::ollama) const fn letters(&self) -> Range<usize> {
        match &self.0 {
            Form::Plain(_, letters) => letters.range(),
            Form::Escaped(_) => 0..0,
        }
    }

    /// Whether it says nothing.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.spelled().is_empty()
    }

    /// How many bytes it has.
    #[must_use]
    pub const fn len(&self) -> usize {
        match &self.0 {
            Form::Plain(text, _) => text.len(),
            Form::Escaped(escaped) => escaped.raw.len().saturating_sub(escaped.surplus.bytes),
        }
    }

    /// How many characters it has.
    #[must_use]
    pub fn chars(&self) -> usize {
        match &self.0 {
            Form::Plain(text, _) => text.chars().count(),
            Form::Escaped(escaped) => escaped.raw.chars().count().saturating_sub(escaped.surplus.chars),
        }
    }

    /// The same without white space at its ends. A part of a plain string is plain.
    #[must_use]
    pub fn trimmed(&self) -> Text<'a> {
        match &self.0 {
            Form::Plain(text, _) => Self::plain(text.trim(), Letters::default()),
            Form::Escaped(escaped) => {
                let (raw, surplus) = trim(escaped.raw, escaped.surplus);
                Self::escaped(raw, surplus)
            }
        }
    }

    pub(super) const fn plain(text: &'a str, letters: Letters) -> Self {
        Self(Form::Plain(text, letters))
    }

    /// What stood between the quotes, all of it checked, and what its escapes make it longer.
    pub(super) fn escaped(raw: &'a str, surplus: Surplus) -> Self {
        Self(Form::Escaped(Box::new(Escaped { raw, surplus, text: OnceCell::new() })))
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// A string with escapes.
#[derive(Debug, Clone)]
struct Escaped<'a> {
    raw: &'a str,
    surplus: Surplus,
    text: OnceCell<String>,
}

/// What a string is longer by than what it says, and what its escapes say.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Surplus {
    bytes: usize,
    chars: usize,
    escapes: Escapes,
}

impl Surplus {
    /// With one escape of two letters more, which says one byte.
    pub(super) const fn add_short(&mut self) {
        self.bytes += 1;
        self.chars += 1;
    }

    /// With one escape more.
    pub(super) fn add(&mut self, said: char, spelled: usize) {
        self.bytes += spelled - said.len_utf8();
        self.chars += spelled - 1;
        self.escapes = self.escapes.max(Escapes::of(said));
    }

    const fn remove(&mut self, said: char, spelled: usize) {
        self.bytes = self.bytes.saturating_sub(spelled - said.len_utf8());
        self.chars = self.chars.saturating_sub(spelled - 1);
    }

    /// Whether there is an escape at all.
    pub(super) const fn is_some(&self) -> bool {
        self.chars > 0
    }
}

/// Without white space at the ends, however it is spelled.
fn trim(raw: &str, mut surplus: Surplus) -> (&str, Surplus) {
    let mut raw = raw.trim();
    while let Ok((said, length)) = escape(raw.as_bytes()) {
        if !said.is_whitespace() {
            break;
        }
        surplus.remove(said, length);
        raw = raw.get(length..).unwrap_or_default().trim_start();
    }
    while let Some((said, length)) = last_escape(raw) {
        if !said.is_whitespace() {
            break;
        }
        surplus.remove(said, length);
        raw = raw.get(..raw.len() - length).unwrap_or_default().trim_end();
    }
    (raw, surplus)
}

/// The escape at the end, if it is one that can say white space. In `\\n` the `n` is a letter: only after an even number
/// of backslashes does an escape begin.
fn last_escape(raw: &str) -> Option<(char, usize)> {
    [2, 6].into_iter().find_map(|length| {
        let (before, last) = raw.as_bytes().split_at_checked(raw.len().checked_sub(length)?)?;
        let backslashes = before.iter().rev().take_while(|&&byte| byte == b'\\').count();
        escape(last).ok().filter(|(_, spelled)| *spelled == length && backslashes.is_multiple_of(2))
    })
}

/// Undoes escapes that were checked while they were read.
fn undo(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'\\', rest.as_bytes()) {
        let (plain, escaped) = rest.split_at_checked(at).unwrap_or((rest, ""));
        text.push_str(plain);
        rest = escaped;
        let Ok((said, length)) = escape(rest.as_bytes()) else { break };
        text.push(said);
        rest = rest.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}
