//! Blocked words and patterns: in requests, in answers, and in answers that come in pieces.
//!
//! Guarantees: words are found in any case, patterns in linear time; in a stream, a match that is split over any number
//! of pieces is found before its last piece is released. A [`Window`] holds back no more than could still become a word,
//! or, where there are patterns, the last [`PATTERN_WINDOW`] characters.
//! Does not: know what stood before a window (`^` and `\b` hold at its edge too); see through other spellings (spaces between letters, letters that look alike, encodings); find a match of a
//! pattern that is longer than the window as one: what was released of it stays released, the rest is replaced.
//! Source of the need: `threats.md` §5; the recorded secret that a model split over twelve tokens.

mod fold;
mod skim;
mod window;

pub use window::{Piece, Window};

use crate::config::types::Validation;
use crate::ollama::strict_json::{Escapes, Text};
use aho_corasick::{AhoCorasick, MatchKind};
use fold::{Folded, lower};
use regex::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use skim::Skim;
use std::fmt;
use std::ops::Range;

/// Characters of a stream in which a pattern is looked for.
pub const PATTERN_WINDOW: usize = 256;
/// Memory that the patterns may take when compiled.
const COMPILED_BYTES: usize = 4 << 20;

/// Bytes of one word: what a stream may have to wait for.
const LONGEST_WORD: usize = 256;

/// Which rule matched: a number in the configuration, never a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RuleId {
    /// `validation.blocked[n]`
    Word(usize),
    /// `validation.patterns[n]`
    Pattern(usize),
}

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(index) => write!(f, "blocked[{index}]"),
            Self::Pattern(index) => write!(f, "patterns[{index}]"),
        }
    }
}

/// The compiled rules.
#[derive(Debug, Clone)]
pub struct ContentRules {
    /// Folded and sorted, each with its place in the configuration.
    words: Vec<(String, usize)>,
    automaton: Option<AhoCorasick>,
    skim: Option<Skim>,
    set: RegexSet,
    patterns: Vec<Regex>,
}

impl ContentRules {
    /// Compiles the words and patterns of a configuration.
    ///
    /// # Errors
    /// The rule that is at fault, and why.
    pub fn compile(validation: &Validation) -> Result<Self, (RuleId, &'static str)> {
        let mut words = Vec::new();
        for (index, word) in validation.blocked.iter().enumerate() {
            if word.trim().is_empty() {
                return Err((RuleId::Word(index), "an empty word would match everything"));
            }
            if word.len() > LONGEST_WORD {
                return Err((RuleId::Word(index), "a word may have 256 bytes at most"));
            }
            words.push((Folded::of(word).into_text(), index));
        }
        words.sort();
        let automaton = automaton(&words).map_err(|_| (RuleId::Word(0), "the words are too many"))?;
        let skim = Skim::of(words.iter().map(|(word, _)| word.as_str()));
        let mut patterns = Vec::new();
        for (index, pattern) in validation.patterns.iter().enumerate() {
            patterns.push(compile(pattern).map_err(|reason| (RuleId::Pattern(index), reason))?);
        }
        let set = RegexSetBuilder::new(&validation.patterns).size_limit(COMPILED_BYTES).build();
        let last = RuleId::Pattern(patterns.len().saturating_sub(1));
        let set = set.map_err(|_| (last, "the patterns together are too large"))?;
        Ok(Self { words, automaton, skim, set, patterns })
    }

    /// Whether there is nothing to look for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty() && self.patterns.is_empty()
    }

    /// The first rule that matches anywhere in a text.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<RuleId> {
        let word = if self.no_word(text, Escapes::Marks) { None } else { self.find_folded(&lower(text)) };
        word.or_else(|| self.find_pattern(text))
    }

    /// The same in a string of a body. Its escapes are undone only where there are patterns or a word could be there.
    #[must_use]
    pub fn find_in(&self, text: &Text<'_>) -> Option<RuleId> {
        if self.patterns.is_empty() && self.no_word(text.spelled(), text.escapes()) {
            return None;
        }
        self.find(text.as_str())
    }

    fn no_word(&self, spelled: &str, escapes: Escapes) -> bool {
        self.words.is_empty() || self.skim.as_ref().is_some_and(|skim| skim.rules_out(spelled, escapes))
    }

    fn find_folded(&self, text: &str) -> Option<RuleId> {
        let found = self.automaton.as_ref()?.find(text)?;
        self.words.get(found.pattern().as_usize()).map(|(_, index)| RuleId::Word(*index))
    }

    fn find_pattern(&self, text: &str) -> Option<RuleId> {
        if self.patterns.is_empty() { None } else { self.set.matches(text).iter().next().map(RuleId::Pattern) }
    }

    /// The left-most match of any rule, by the bytes of the text; of two that begin together, the longer one.
    fn find_at(&self, text: &str) -> Option<(Range<usize>, RuleId)> {
        let pattern = self.patterns.iter().enumerate().filter_map(|(index, pattern)| {
            // An empty match removes nothing.
            let found = pattern.find_iter(text).find(|found| !found.is_empty())?;
            Some((found.range(), RuleId::Pattern(index)))
        });
        self.find_word(text).into_iter().chain(pattern).min_by_key(|(range, _)| (range.start, usize::MAX - range.end))
    }

    fn find_word(&self, text: &str) -> Option<(Range<usize>, RuleId)> {
        let automaton = self.automaton.as_ref()?;
        let (range, found) = if text.is_ascii() {
            let found = automaton.find(text)?;
            (found.range(), found.pattern())
        } else {
            let folded = Folded::of(text);
            let found = automaton.find(folded.as_str())?;
            (folded.origin(found.range()), found.pattern())
        };
        self.words.get(found.as_usize()).map(|(_, index)| (range, RuleId::Word(*index)))
    }

    /// How many bytes at the end of a text must wait, since with what follows they could become a match.
    fn pending(&self, text: &str) -> usize {
        let by_word = self.pending_word(text);
        if self.patterns.is_empty() {
            return by_word;
        }
        let by_pattern =
            text.char_indices().rev().nth(PATTERN_WINDOW - 1).map_or(text.len(), |(at, _)| text.len() - at);
        by_word.max(by_pattern)
    }

    /// The longest end of a text that is the beginning of a word.
    fn pending_word(&self, text: &str) -> usize {
        let longest = self.words.iter().map(|(word, _)| word.len()).max().unwrap_or(0);
        let mut pending = 0;
        for (at, _) in text.char_indices().rev() {
            let tail = text.get(at..).unwrap_or_default();
            let folded = Folded::of(tail);
            if folded.as_str().len() >= longest {
                break;
            }
            // Sorted: the first word behind this text is one that begins with it, if there is any longer one.
            let place = self.words.partition_point(|(word, _)| word.as_str() <= folded.as_str());
            if self.words.get(place).is_some_and(|(word, _)| word.starts_with(folded.as_str())) {
                pending = tail.len();
            }
        }
        pending
    }
}

fn automaton(words: &[(String, usize)]) -> Result<Option<AhoCorasick>, aho_corasick::BuildError> {
    if words.is_empty() {
        return Ok(None);
    }
    let patterns = words.iter().map(|(word, _)| word);
    AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).ascii_case_insensitive(true).build(patterns).map(Some)
}

fn compile(pattern: &str) -> Result<Regex, &'static str> {
    match RegexBuilder::new(pattern).size_limit(COMPILED_BYTES).build() {
        Ok(regex) if regex.is_match("") => Err("the pattern matches the empty text, and so everything"),
        Ok(regex) => Ok(regex),
        Err(regex::Error::CompiledTooBig(_)) => Err("the pattern is too large"),
        Err(_) => Err("not a regular expression"),
    }
}

#[cfg(test)]
mod tests;
