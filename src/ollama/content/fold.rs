//! Text in lower case, that knows where each part of it came from.
//!
//! Guarantees: two texts that differ in case alone fold to the same; ASCII is not copied. A range of the folded text
//! gives the range of whole characters of the original that it covers.

use std::borrow::Cow;
use std::ops::Range;

/// A folded text.
pub(super) struct Folded<'a> {
    text: Cow<'a, str>,
    /// Where each byte of `text` came from; empty where nothing moved. One more than there are bytes.
    origins: Vec<usize>,
    length: usize,
}

impl<'a> Folded<'a> {
    /// Folds a text.
    pub(super) fn of(text: &'a str) -> Self {
        if text.is_ascii() {
            let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
            let text = if upper { Cow::Owned(text.to_ascii_lowercase()) } else { Cow::Borrowed(text) };
            return Self { length: text.len(), text, origins: Vec::new() };
        }
        let mut folded = String::with_capacity(text.len());
        let mut origins = Vec::with_capacity(text.len() + 1);
        for (at, character) in text.char_indices() {
            for lower in character.to_lowercase() {
                // The lower-case letters that have two forms.
                folded.push(match lower {
                    'ς' => 'σ',
                    'ſ' => 's',
                    other => other,
                });
            }
            origins.resize(folded.len(), at);
        }
        Self { length: text.len(), text: Cow::Owned(folded), origins }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn into_text(self) -> String {
        self.text.into_owned()
    }

    /// The range of the original. It ends where the next character begins.
    pub(super) fn origin(&self, range: Range<usize>) -> Range<usize> {
        if self.origins.is_empty() {
            return range;
        }
        let at = |place: usize| self.origins.get(place).copied().unwrap_or(self.length);
        let last = at(range.end.saturating_sub(1));
        let end = self.origins.iter().skip(range.end).copied().find(|origin| *origin > last).unwrap_or(self.length);
        at(range.start)..end
    }
}
