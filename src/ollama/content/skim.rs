//! A look at a text that can tell that no blocked word is in it, at a fraction of a search's cost.
//!
//! Guarantees: a text that [`Skim::rules_out`] rules out holds none of the words in any case, however it is spelled; what
//! it does not rule out is searched. It works on a string as it stands in the body: of each word it knows a fragment
//! whose characters nobody but who wants to hide them would escape, and where a string hides such characters nothing is
//! ruled out. The time is linear: a text that comes near the words again and again is given up. Answers `threats.md` §5.
//! Does not: help where a word has no fragment of three bytes.

use crate::ollama::strict_json::Escapes;
use memchr::memmem;

/// Bytes of a fragment below which skimming is no faster than searching.
const SHORTEST: usize = 3;
/// Different pairs of bytes: six bits of each.
const PAIRS: usize = 1 << 12;
/// Characters beyond ASCII that are ASCII in lower case.
const INTO_ASCII: [char; 3] = ['\u{212a}', 'ſ', 'İ'];

/// The fragments of all words, after Wu and Manber.
#[derive(Debug, Clone)]
pub(super) struct Skim {
    /// Sorted by the pair at which they are looked at.
    fragments: Vec<(usize, String)>,
    /// Bytes from one place that is looked at to the end of the shortest fragment that begins there.
    reach: usize,
    /// By pair: how far the nearest place is at which a fragment's pair could stand.
    shifts: Vec<u8>,
    /// What escapes a string may have so that its spelling hides no fragment.
    most: Escapes,
}

impl Skim {
    /// Takes folded words; `None`: one of them has no fragment.
    pub(super) fn of<'w>(words: impl Iterator<Item = &'w str>) -> Option<Self> {
        let fragments: Vec<&str> = words.map(fragment).collect::<Option<_>>()?;
        let shortest = fragments.iter().map(|fragment| fragment.len()).min()?;
        let reach = shortest - 1;
        let mut shifts = vec![shift(reach); PAIRS];
        for fragment in &fragments {
            for (at, bytes) in fragment.as_bytes().windows(2).take(reach).enumerate() {
                let Some(known) = bytes.first_chunk().and_then(|bytes| shifts.get_mut(pair(bytes))) else { continue };
                *known = (*known).min(shift(reach - 1 - at));
            }
        }
        let ascii = fragments.iter().all(|fragment| fragment.is_ascii());
        let last = |fragment: &str| fragment.as_bytes().get(reach - 1..)?.first_chunk().map(pair);
        let placed = fragments.into_iter().filter_map(|fragment| Some((last(fragment)?, fragment.to_owned())));
        let mut fragments: Vec<_> = placed.collect();
        fragments.sort();
        Some(Self { fragments, reach, shifts, most: if ascii { Escapes::BeyondAscii } else { Escapes::Marks } })
    }

    /// Whether none of the words is in a string, given as it is spelled and what its escapes say.
    pub(super) fn rules_out(&self, spelled: &str, escapes: Escapes) -> bool {
        escapes <= self.most && !folds_into_ascii(spelled) && !self.comes_near(spelled.as_bytes())
    }

    /// Whether a fragment is there, or so much that looks like one that it does not pay to go on.
    fn comes_near(&self, bytes: &[u8]) -> bool {
        let mut looks = bytes.len() / 64 + 16;
        let mut at = self.reach;
        while let Some(last) = bytes.get(at - 1..).and_then(<[u8]>::first_chunk) {
            let pair = pair(last);
            let shift = usize::from(self.shifts.get(pair).copied().unwrap_or_default());
            if shift > 0 {
                at += shift;
                continue;
            }
            let text = bytes.get(at - self.reach..).unwrap_or_default();
            for fragment in self.at(pair) {
                looks -= 1;
                let begin = text.get(..fragment.len()).unwrap_or_default();
                if looks == 0 || begin.eq_ignore_ascii_case(fragment.as_bytes()) {
                    return true;
                }
            }
            at += 1;
        }
        false
    }

    fn at(&self, pair: usize) -> impl Iterator<Item = &str> {
        let first = self.fragments.partition_point(|(other, _)| *other < pair);
        let from = self.fragments.get(first..).unwrap_or_default().iter();
        from.take_while(move |(other, _)| *other == pair).map(|(_, fragment)| fragment.as_str())
    }
}

/// The longest part of a word that stands in a text as it stands in the word, but for the case of ASCII.
fn fragment(word: &str) -> Option<&str> {
    let fragments = word.split(|character| !stays(character));
    fragments.max_by_key(|fragment| fragment.len()).filter(|fragment| fragment.len() >= SHORTEST)
}

/// Whether nothing becomes this character by folding (but an ASCII letter's other case, and [`INTO_ASCII`]), and no
/// serialiser escapes it (but those that escape all that is not ASCII).
fn stays(character: char) -> bool {
    match character {
        '\0'..='\x1f' | '\x7f' | '"' | '\\' | '/' | '<' | '>' | '&' | '\u{307}' => false,
        _ => character.is_ascii() || !(character.is_lowercase() || character.is_uppercase()),
    }
}

fn folds_into_ascii(text: &str) -> bool {
    let holds = |character: &char| {
        let mut bytes = [0; 4];
        memmem::find(text.as_bytes(), character.encode_utf8(&mut bytes).as_bytes()).is_some()
    };
    !text.is_ascii() && INTO_ASCII.iter().any(holds)
}

/// Two bytes without the case of ASCII letters. Others may fall together; then one is looked at in vain.
fn pair([first, second]: &[u8; 2]) -> usize {
    let six = |byte: u8| usize::from((byte & 0x1f) | ((byte & 0x40) >> 1));
    six(*first) << 6 | six(*second)
}

fn shift(bytes: usize) -> u8 {
    u8::try_from(bytes).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::fold::lower;
    use super::*;

    #[test]
    fn no_other_character_becomes_one_of_a_fragment() {
        for character in '\0'..=char::MAX {
            let text = character.to_string();
            for folded in lower(&text).chars().filter(|folded| *folded != character && stays(*folded)) {
                assert!(folded.is_ascii() && INTO_ASCII.contains(&character), "{character:?} becomes {folded:?}");
            }
        }
    }

    #[test]
    fn what_a_word_is_known_by() {
        for (word, expected) in [
            ("codename zebra", Some("codename zebra")),
            ("a/bcd\\efghi\"jk", Some("efghi")),
            ("ärger", Some("rger")),
            ("i\u{307}stanbul", Some("stanbul")),
            ("σοφοσ", None),
            ("机密", Some("机密")),
            ("ab", None),
            ("r&d", None),
        ] {
            assert_eq!(fragment(word), expected, "{word}");
        }
    }

    #[test]
    fn a_text_that_comes_near_again_and_again_is_given_up() {
        let skim = Skim::of(["aaaaaaaab", "xyz"].into_iter()).unwrap();
        let near = "aaaaaaaa ";
        assert!(skim.rules_out(near, Escapes::Marks));
        assert!(skim.rules_out(&format!("{near}{}", "quiet ".repeat(1000)), Escapes::Marks));
        assert!(!skim.rules_out(&near.repeat(1000), Escapes::Marks));
    }
}
