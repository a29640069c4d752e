//! A text that a regular expression matches.
//!
//! Guarantees: what is returned does match; `None` where the simple way (the first branch, the least repetition, the
//! first character of a class) finds no such text.

use regex::Regex;
use regex_syntax::hir::{Class, Hir, HirKind};

/// An example.
pub(super) fn example(pattern: &str) -> Option<String> {
    let hir = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    write(&hir, &mut text)?;
    let regex = Regex::new(pattern).ok()?;
    // A message is trimmed, and one of spaces is empty.
    (regex.is_match(text.trim()) && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

fn write(hir: &Hir, text: &mut String) -> Option<()> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(()),
        HirKind::Literal(literal) => {
            text.push_str(std::str::from_utf8(&literal.0).ok()?);
            Some(())
        }
        HirKind::Class(class) => {
            text.push(character(class)?);
            Some(())
        }
        HirKind::Repetition(repetition) => {
            // Something to see is better than nothing.
            let times = repetition.min.max(1).min(repetition.max.unwrap_or(u32::MAX));
            (0..times).try_for_each(|_| write(&repetition.sub, text))
        }
        HirKind::Capture(capture) => write(&capture.sub, text),
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| write(part, text)),
        HirKind::Alternation(branches) => write(branches.first()?, text),
    }
}

/// A letter or a digit where the class has one.
fn character(class: &Class) -> Option<char> {
    let ranges: Vec<(char, char)> = match class {
        Class::Unicode(class) => class.ranges().iter().map(|range| (range.start(), range.end())).collect(),
        Class::Bytes(class) => {
            class.ranges().iter().map(|range| (char::from(range.start()), char::from(range.end()))).collect()
        }
    };
    let within = |c: char| ranges.iter().any(|(from, to)| (*from..=*to).contains(&c));
    let plain = ('a'..='z').chain('A'..='Z').chain('0'..='9').chain("-_.@/:, ".chars()).find(|c| within(*c));
    plain.or_else(|| ranges.first().map(|(from, _)| *from))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_match() {
        let cases =
            [(r"\b\d{3}-\d{2}-\d{4}\b", "000-00-0000"), ("(?i)foo|bar", "FOO"), ("a+b*c?", "abc"), ("[^a-z]", "A")];
        for (pattern, text) in cases {
            assert_eq!(
                example(pattern).map(|t| t.to_lowercase()).as_deref(),
                Some(text.to_lowercase().as_str()),
                "{pattern}"
            );
        }
    }

    #[test]
    fn where_there_is_none_none_is_told() {
        for pattern in [r"a\Bb\b c$x", r"\s+", "("] {
            assert_eq!(example(pattern), None, "{pattern}");
        }
    }
}
