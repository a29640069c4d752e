//! How often a body is copied: the bytes that are allocated while one is read, judged and written anew.
//!
//! What is sent takes once the body's length. The tree that is read borrows from the body; a copy of its texts would be
//! as much again. Reallocations count in full. Long strings are sent from the body itself: the room for them is given back
//! unused.

use super::fixtures::{Judge, role, validation};
use super::{Call, Rules, parse};
use crate::config::types::{ModelPins, Validation};
use crate::ollama::content::ContentRules;
use crate::ollama::endpoint::Endpoint::{self, Chat, ChatCompletions};
use allocation_counter::measure;
use bytes::Bytes;

/// Bytes allocated for each hundred bytes of a body, under some blocked words and patterns.
fn allocated(words: &[&str], patterns: &[&str], endpoint: Endpoint, body: &str) -> u64 {
    let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
    let validation = Validation { blocked: owned(words), patterns: owned(patterns), ..validation() };
    let (role, content) = (role(), ContentRules::compile(&validation).unwrap());
    let rules = Rules { role: &role, validation: &validation, content: &content, pins: ModelPins::none() };
    let body = Bytes::copy_from_slice(body.as_bytes());
    let read = || -> Call { parse(endpoint, &body, &rules).unwrap() };
    read();
    let allocated = measure(|| drop(read()));
    100 * allocated.bytes_total / body.len() as u64
}

fn conversation(content: &str) -> String {
    let turn = |i: usize| format!(r#"{{"role":"{}","content":{content}}}"#, ["user", "assistant"][i % 2]);
    let turns: Vec<String> = (0..40).map(turn).collect();
    format!(r#"{{"model":"tiny","messages":[{}]}}"#, turns.join(","))
}

/// One text of nearly 4,000 characters in several spellings.
fn contents() -> Vec<(&'static str, String)> {
    let string = |text: &str, times: usize| format!("\"{}\"", text.repeat(times));
    let part = |text: &str| format!(r#"{{"type":"text","text":{}}}"#, string(text, 90));
    vec![
        ("prose", string("The quick brown fox, and zwölf Boxkämpfer. ", 90)),
        ("code", string(r#"fn main() {\n\tprintln!(\"{}\", \"\\\");\n}\n"#, 90)),
        ("as Python spells it", string(r"Gr\u00fc\u00dfe, na\u00efve fa\u00e7ade \ud83d\ude00 ", 90)),
        ("as Go spells it", string(r"\u003cp\u003e a \u0026 b\n", 150)),
        ("as PHP spells it", string(r"https:\/\/example.org\/a ", 150)),
        ("parts", format!("[{},{}]", part("The quick brown fox. "), part(r"Gr\u00fc\u00dfe, \u003cb\u003e\n "))),
    ]
}

#[test]
fn no_body_is_copied_more_than_once() {
    for (name, content) in contents() {
        for endpoint in [Chat, ChatCompletions].into_iter().filter(|endpoint| *endpoint != Chat || name != "parts") {
            let body = conversation(&content);
            let plain = allocated(&[], &[], endpoint, &body);
            assert!((100..140).contains(&plain), "{name}, {endpoint:?}: {plain} %");
            if name != "parts" {
                let searched = allocated(&["codename zebra", "internal only"], &[], endpoint, &body);
                assert!((100..140).contains(&searched), "{name}, {endpoint:?}, searched: {searched} %");
            }
        }
    }
    let pixels = "AAAA".repeat(100_000);
    let image = format!("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ{pixels}");
    let body = format!(r#"{{"model":"t","messages":[{{"role":"user","content":"?","images":["{image}"]}}]}}"#);
    let image = allocated(&[], &[], Chat, &body);
    assert!((100..105).contains(&image), "an image: {image} %");
    let body = Bytes::from(body);
    let call = Judge::new().read(Chat, &body).unwrap();
    let sent = call.into_pieces();
    let in_place = sent.iter().filter(|piece| body.as_ptr_range().contains(&piece.as_ptr()));
    assert_eq!(in_place.map(Bytes::len).collect::<Vec<_>>(), [pixels.len() + 44], "the image is sent from where it is");
}

/// What copies once more, as `benches/README.md` says; so the test above would see it.
#[test]
fn a_second_copy_shows() {
    let contents = contents();
    let content = |name| conversation(&contents.iter().find(|(other, _)| *other == name).unwrap().1);
    let undone = allocated(&[], &["zebra"], Chat, &content("code"));
    assert!((180..240).contains(&undone), "under a pattern: {undone} %");
    let joined = allocated(&["codename zebra"], &[], ChatCompletions, &content("parts"));
    assert!(joined > 180, "parts under a word: {joined} %");
}
