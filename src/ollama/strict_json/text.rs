//! Strings, undone no earlier than somebody looks.
//!
//! Guarantees: a string that came in the spelling that [`super::Writer`] gives it is copied once in its life, from the
//! body into what is sent; its escapes are checked while it is read, and undone only where its text is asked for (content
//! rules, names). Characters are counted and white space is cut off without that. Both say the same as the undone text
//! would: the tests compare.
//! Does not: keep another spelling (`\/`, `\u0041`) raw; such a string is undone while it is read and spelled anew.

use std::borrow::Cow;
use std::cell::OnceCell;

/// A string. The distinction between its forms is private, so a raw one is always safe to copy between quotes.
#[derive(Debug, Clone)]
pub struct Text<'a>(pub(super) Form<'a>);

#[derive(Debug, Clone)]
pub(super) enum Form<'a> {
    /// Holds nothing that JSON would escape.
    Plain(&'a str),
    /// Holds escapes, all as the writer makes them.
    Escaped(Box<Escaped<'a>>),
    /// Had other escapes, which are undone.
    Unescaped(Cow<'a, str>),
}

impl<'a> Text<'a> {
    /// What it says.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Form::Plain(text) => text,
            Form::Escaped(escaped) => escaped.text(),
            Form::Unescaped(text) => text,
        }
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Form::Plain(text) => text.is_empty(),
            Form::Escaped(escaped) => escaped.raw.is_empty(),
            Form::Unescaped(text) => text.is_empty(),
        }
    }

    /// How many bytes it has.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Plain(text) => text.len(),
            // What an escape of the writer's says is one byte.
            Form::Escaped(escaped) => escaped.raw.len().saturating_sub(escaped.surplus),
            Form::Unescaped(text) => text.len(),
        }
    }

    /// How many characters it has.
    #[must_use]
    pub fn chars(&self) -> usize {
        match &self.0 {
            Form::Plain(text) => text.chars().count(),
            Form::Escaped(escaped) => escaped.raw.chars().count().saturating_sub(escaped.surplus),
            Form::Unescaped(text) => text.chars().count(),
        }
    }

    /// The same without white space at its ends. A part of a plain string is plain.
    #[must_use]
    pub fn trimmed(&self) -> Text<'_> {
        match &self.0 {
            Form::Plain(text) => Text(Form::Plain(text.trim())),
            Form::Escaped(escaped) => Text(Form::Escaped(Box::new(escaped.trimmed()))),
            Form::Unescaped(text) => Text(Form::Unescaped(Cow::Borrowed(text.trim()))),
        }
    }

    /// The same, borrowed.
    #[must_use]
    pub fn borrowed(&self) -> Text<'_> {
        match &self.0 {
            Form::Plain(text) => Text(Form::Plain(text)),
            Form::Escaped(escaped) => Text(Form::Escaped(escaped.clone())),
            Form::Unescaped(text) => Text(Form::Unescaped(Cow::Borrowed(text))),
        }
    }

    pub(super) const fn plain(text: &'a str) -> Self {
        Self(Form::Plain(text))
    }

    /// What stood between the quotes, and how many of its characters only spell others.
    pub(super) fn escaped(raw: &'a str, surplus: usize) -> Self {
        Self(Form::Escaped(Box::new(Escaped { raw, surplus, text: OnceCell::new() })))
    }

    pub(super) const fn unescaped(text: String) -> Self {
        Self(Form::Unescaped(Cow::Owned(text)))
    }
}

impl PartialEq for Text<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

/// A string in the writer's own spelling.
#[derive(Debug, Clone)]
pub(super) struct Escaped<'a> {
    raw: &'a str,
    /// Characters of `raw` beyond those that it says.
    surplus: usize,
    text: OnceCell<String>,
}

impl<'a> Escaped<'a> {
    pub(super) const fn raw(&self) -> &'a str {
        self.raw
    }

    fn text(&self) -> &str {
        self.text.get_or_init(|| undo(self.raw))
    }

    fn trimmed(&self) -> Self {
        let (mut raw, mut surplus) = (self.raw, self.surplus);
        while let Some((rest, spelled)) = without_first(raw) {
            (raw, surplus) = (rest, surplus.saturating_sub(spelled));
        }
        while let Some((rest, spelled)) = without_last(raw) {
            (raw, surplus) = (rest, surplus.saturating_sub(spelled));
        }
        Self { raw, surplus, text: OnceCell::new() }
    }
}

/// White space as it is escaped: what is below a space, and no character of Unicode's that stands as it is.
const SPACES: [&str; 5] = ["\\n", "\\t", "\\r", "\\u000b", "\\u000c"];

/// Without the first character, if that is white space; and how much longer it was spelled.
fn without_first(raw: &str) -> Option<(&str, usize)> {
    if let Some(rest) = raw.strip_prefix(char::is_whitespace) {
        return Some((rest, 0));
    }
    SPACES.iter().find_map(|space| Some((raw.strip_prefix(space)?, space.len() - 1)))
}

/// Without the last character, if that is white space. In `\\n` the `n` is a letter: only after an even number of
/// backslashes does an escape begin.
fn without_last(raw: &str) -> Option<(&str, usize)> {
    if let Some(rest) = raw.strip_suffix(char::is_whitespace) {
        return Some((rest, 0));
    }
    let (rest, spelled) = SPACES.iter().find_map(|space| Some((raw.strip_suffix(space)?, space.len() - 1)))?;
    let before = rest.bytes().rev().take_while(|&byte| byte == b'\\').count();
    before.is_multiple_of(2).then_some((rest, spelled))
}

/// Undoes escapes that were checked while they were read.
fn undo(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, tail)) = rest.split_once('\\') {
        text.push_str(plain);
        let (said, length) = said(tail.as_bytes());
        text.push(said);
        rest = tail.get(length..).unwrap_or_default();
    }
    text.push_str(rest);
    text
}

/// What an escape says, and its length behind the backslash.
fn said(escape: &[u8]) -> (char, usize) {
    match escape {
        [b'n', ..] => ('\n', 1),
        [b't', ..] => ('\t', 1),
        [b'r', ..] => ('\r', 1),
        [b'u', b'0', b'0', high, low, ..] => {
            let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_default();
            (char::from_u32(digit(high) * 16 + digit(low)).unwrap_or_default(), 5)
        }
        [itself, ..] => (char::from(*itself), 1),
        [] => ('\\', 0),
    }
}
