//! The rules on texts, and on texts in pieces of every size.

use super::*;
use crate::config::types::OnOutputMatch;
use crate::ollama::call::fixtures::validation;
use crate::ollama::strict_json;
use proptest::prelude::*;
use std::sync::Arc;

fn rules(words: &[&str], patterns: &[&str]) -> Arc<ContentRules> {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let validation = Validation { blocked: owned(words), patterns: owned(patterns), ..validation() };
    Arc::new(ContentRules::compile(&validation).unwrap())
}

/// All that comes out of a window when a text is pushed in pieces of `size` characters.
fn streamed(rules: &Arc<ContentRules>, action: OnOutputMatch, text: &str, size: usize) -> (String, Vec<RuleId>) {
    let (mut window, mut out, mut found) = (Window::new(rules.clone(), action), String::new(), Vec::new());
    let characters: Vec<char> = text.chars().collect();
    for chunk in characters.chunks(size) {
        let piece = window.push(&chunk.iter().collect::<String>());
        out.push_str(&piece.text);
        found.extend(piece.found);
    }
    let last = window.finish();
    out.push_str(&last.text);
    found.extend(last.found);
    (out, found)
}

#[test]
fn words_are_found_in_any_case() {
    let rules = rules(&["Geheim", "ÄRGER", "ΣΟΦΟΣ", "Kelvin"], &[]);
    assert_eq!(rules.find("ganz GEHEIM"), Some(RuleId::Word(0)));
    assert_eq!(rules.find("kein ärger — nie"), Some(RuleId::Word(1)));
    assert_eq!(rules.find("ο σοφος"), Some(RuleId::Word(2)));
    assert_eq!(rules.find("\u{212a}elvin"), Some(RuleId::Word(3)));
    assert_eq!(rules.find("gehei m"), None);
}

#[test]
fn a_secret_split_over_twelve_tokens_is_taken_out() {
    let text = "Contact alice@example.com or call ALICE@EXAMPLE.COM now";
    for (words, patterns, rule) in [
        (vec!["alice@example.com"], vec![], RuleId::Word(0)),
        (vec![], vec![r"(?i)[a-z]+@[a-z]+\.com"], RuleId::Pattern(0)),
    ] {
        let rules = rules(&words, &patterns);
        for size in 1..=text.len() {
            let (out, found) = streamed(&rules, OnOutputMatch::Replace, text, size);
            assert_eq!(out, "Contact [removed] or call [removed] now", "{size}");
            assert_eq!(found, [rule, rule]);
            assert_eq!(streamed(&rules, OnOutputMatch::Log, text, size), (text.to_owned(), vec![rule, rule]));
            assert_eq!(streamed(&rules, OnOutputMatch::Ignore, text, size).0, text);
            assert_eq!(streamed(&rules, OnOutputMatch::Cut, text, size), ("Contact ".to_owned(), vec![rule]));
        }
    }
}

#[test]
fn only_what_could_become_a_word_is_held_back() {
    let rules = rules(&["secret", "İstanbul"], &[]);
    let mut window = Window::new(rules.clone(), OnOutputMatch::Replace);
    assert_eq!(window.push("hello ").text, "hello ");
    assert_eq!(window.push("a sec").text, "a ");
    assert_eq!(window.push("ond, se").text, "second, ");
    assert_eq!(window.push("cret").text, "[removed]");
    assert_eq!(window.finish().text, "");
    assert_eq!(streamed(&rules, OnOutputMatch::Replace, "zu İstanbul, ı", 1).0, "zu [removed], ı");
}

#[test]
fn the_longer_of_two_words_is_waited_for() {
    let rules = rules(&["ab", "abcd", "zzzzzz"], &[]);
    for size in 1..8 {
        assert_eq!(streamed(&rules, OnOutputMatch::Replace, "-abcd-ab-abc", size).0, "-[removed]-[removed]-[removed]c");
    }
    assert_eq!(Window::new(rules.clone(), OnOutputMatch::Replace).push("-abcd").text, "-[removed]");
}

#[test]
fn a_stream_of_any_length_is_held_in_a_bounded_window() {
    let rules = rules(&[], &["key-[0-9]+"]);
    let text = format!("{}key-12345 end", "x".repeat(5000));
    for size in [1, 7, 300] {
        let (out, _) = streamed(&rules, OnOutputMatch::Replace, &text, size);
        assert_eq!(out, format!("{}[removed] end", "x".repeat(5000)));
    }
    let mut window = Window::new(rules.clone(), OnOutputMatch::Replace);
    let released = window.push(&"y".repeat(1000)).text;
    assert_eq!(released.len(), 1000 - PATTERN_WINDOW);
}

#[test]
fn faulty_rules_are_named() {
    let fault = |words: &[&str], patterns: &[&str]| {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        let validation = Validation { blocked: owned(words), patterns: owned(patterns), ..validation() };
        ContentRules::compile(&validation).err().map(|(rule, _)| rule)
    };
    assert_eq!(fault(&["a", " "], &[]), Some(RuleId::Word(1)));
    assert_eq!(fault(&[], &["a", "(("]), Some(RuleId::Pattern(1)));
    assert_eq!(fault(&[], &["a*"]), Some(RuleId::Pattern(0)));
    assert_eq!(fault(&[], &[r"\w{1000}{1000}"]), Some(RuleId::Pattern(0)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn how_a_text_is_cut_in_pieces_makes_no_difference(text in "[abcdé ]{0,60}", size in 1_usize..20) {
        for rules in [rules(&["ab", "abca", "CÉ", "dd"], &[]), rules(&["bc"], &["a[bc]{1,3}d", "é+"])] {
            for action in [OnOutputMatch::Replace, OnOutputMatch::Log, OnOutputMatch::Cut] {
                prop_assert_eq!(streamed(&rules, action, &text, size), streamed(&rules, action, &text, 1000));
            }
            let (out, _) = streamed(&rules, OnOutputMatch::Replace, &text, size);
            prop_assert!(out.split("[removed]").all(|kept| rules.find(kept).is_none()), "{}", out);
        }
    }

    #[test]
    fn a_word_is_found_however_the_string_is_spelled(
        text in proptest::collection::vec(knots(), 0..30),
        words in proptest::collection::vec(proptest::collection::vec(knots(), 1..5), 1..4),
        ways in proptest::collection::vec(0..6_u8, 1..20),
    ) {
        let words: Vec<String> = words.iter().map(|word| word.concat()).filter(|word| !word.trim().is_empty()).collect();
        // Often one of the words is there, in another case.
        let text = text.concat() + &words.first().map_or(String::new(), |word| word.to_uppercase()) + &text.concat();
        let rules = rules(&words.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
        let body = format!("\"{}\"", spelled(&text, &ways));
        let tree = strict_json::parse(body.as_bytes(), 2).unwrap();
        let expected = rules.find_folded(&fold::lower(&text));
        prop_assert_eq!(rules.find_in(tree.as_text().unwrap()), expected, "{} in {}", words.join("|"), body);
        prop_assert_eq!(rules.find(&text), expected, "{} in {}", words.join("|"), text);
    }
}

/// Pieces of words and texts: what folds, what is escaped, and what begins like another.
fn knots() -> impl Strategy<Value = &'static str> {
    let ascii = ["abc", "ABCD", "bcd", "k", "s", "i", "x y", "-12", "/", "<b>", "\"", "\\", "\n", "u0041", "\u{7f}"];
    let other = ["é", "É", "ſ", "\u{212a}", "İ", "ß", "σας", "Σ", "机密", "密", "😀", "\u{307}", "ﬁ", "Ǆ"];
    proptest::sample::select([&ascii[..], &other].concat())
}

/// A text with some of its characters escaped.
fn spelled(text: &str, ways: &[u8]) -> String {
    let spell = |(character, way): (char, &u8)| match (character, way) {
        ('"' | '\\' | '/', 0..=2) => format!("\\{character}"),
        ('\n', 0..=2) => "\\n".to_owned(),
        ('\0'..' ' | '"' | '\\' | '<', _) | (_, 5) => {
            character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04x}")).collect()
        }
        ('\u{80}'.., 3 | 4) if ways.len() > 9 => {
            character.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect()
        }
        _ => character.to_string(),
    };
    text.chars().zip(ways.iter().cycle()).map(spell).collect()
}
