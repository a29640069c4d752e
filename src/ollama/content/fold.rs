//! Text in lower case, and where each part of it came from.
//!
//! Guarantees: two texts that differ in case alone fold to the same. A range of the folded text gives the range of whole
//! characters of the original that it covers. ASCII is left as it is by [`lower`] and not copied: what searches in it
//! takes no notice of ASCII case.

use std::borrow::Cow;
use std::ops::Range;

/// The text in lower case, but for its ASCII.
pub(super) fn lower(text: &str) -> Cow<'_, str> {
    if text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut folded = String::with_capacity(text.len());
    for run in text.split_inclusive(|character: char| !character.is_ascii()) {
        match run.chars().next_back().filter(|last| !last.is_ascii()) {
            Some(last) => {
                folded.push_str(run.strip_suffix(last).unwrap_or(run));
                folded.extend(fold(last));
            }
            None => folded.push_str(run),
        }
    }
    Cow::Owned(folded)
}

/// One character in lower case; letters with two lower-case forms get one.
fn fold(character: char) -> impl Iterator<Item = char> {
    character.to_lowercase().map(|lower| match lower {
        'ς' => 'σ',
        'ſ' => 's',
        other => other,
    })
}

/// A text in lower case, ASCII too.
pub(super) struct Folded {
    text: String,
    /// Where each byte of `text` came from.
    origins: Vec<usize>,
    length: usize,
}

impl Folded {
    pub(super) fn of(text: &str) -> Self {
        let mut folded = String::with_capacity(text.len());
        let mut origins = Vec::with_capacity(text.len());
        for (at, character) in text.char_indices() {
            folded.extend(fold(character));
            origins.resize(folded.len(), at);
        }
        Self { text: folded, origins, length: text.len() }
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// The range of the original. It ends where the next character begins.
    pub(super) fn origin(&self, range: Range<usize>) -> Range<usize> {
        let at = |place: usize| self.origins.get(place).copied().unwrap_or(self.length);
        let last = at(range.end.saturating_sub(1));
        let end = self.origins.iter().skip(range.end).copied().find(|origin| *origin > last).unwrap_or(self.length);
        at(range.start)..end
    }
}
