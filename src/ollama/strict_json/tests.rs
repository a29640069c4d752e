//! What is refused, and that what is written is what was read.

use super::*;
use crate::ollama::fault::BodyFault;
use proptest::prelude::*;

fn fault(body: &str) -> Option<BodyFault> {
    parse(body.as_bytes(), 8).err()
}

#[test]
fn what_go_would_read_in_another_way_is_refused() {
    for (body, expected) in [
        ("", BodyFault::Empty),
        (" \n", BodyFault::Empty),
        ("\u{feff}{}", BodyFault::ByteOrderMark),
        ("{}{}", BodyFault::TrailingData),
        ("{}\0", BodyFault::TrailingData),
        (r#"{"a":1,"a":2}"#, BodyFault::DuplicateKey),
        (r#"{"a":1,"\u0061":2}"#, BodyFault::DuplicateKey),
        (r#"[{"x":{"a":1,"a":2}}]"#, BodyFault::DuplicateKey),
        (r#""\ud800""#, BodyFault::LoneSurrogate),
        (r#""\udc00\ud800""#, BodyFault::LoneSurrogate),
        (r#""\ud800\u0041""#, BodyFault::LoneSurrogate),
        ("\"a\u{1}\"", BodyFault::ControlCharacter),
        ("\"a\tb\"", BodyFault::ControlCharacter),
        ("1e400", BodyFault::NumberOutOfRange),
        ("-1e400", BodyFault::NumberOutOfRange),
        ("[[[[[[[[[", BodyFault::TooDeep { limit: 8 }),
    ] {
        assert_eq!(fault(body), Some(expected), "{body:?}");
    }
    assert_eq!(parse(b"\"\xff\"", 8), Err(BodyFault::NotUtf8));
    assert_eq!(parse(b"\xff\xfe{\0}\0", 8), Err(BodyFault::ByteOrderMark));
}

#[test]
fn what_is_no_json_is_refused() {
    for body in [
        "{",
        "[1,]",
        "{\"a\":1,}",
        "{'a':1}",
        "{a:1}",
        "01",
        "+1",
        "1.",
        ".5",
        "1e",
        "0x1",
        "NaN",
        "Infinity",
        "nul",
        "tru e",
        "/*x*/1",
        "\"\\x41\"",
        "\"\\u12g4\"",
        "\"\\u12\"",
        "\"abc",
        "\"\\",
        "[1 2]",
        "{\"a\" 1}",
        "-",
        "{1:2}",
        "\u{a0}1",
    ] {
        let found = fault(body);
        assert!(matches!(found, Some(BodyFault::Syntax | BodyFault::TrailingData)), "{body:?}: {found:?}");
    }
}

#[test]
fn many_keys_are_searched_too() {
    let keys: Vec<String> = (0..100).map(|i| format!("\"k{}\":0", i % 99)).collect();
    assert_eq!(fault(&format!("{{{}}}", keys.join(","))), Some(BodyFault::DuplicateKey));
    let zeros = format!("[{}0]", "0,".repeat(MAX_VALUES));
    assert_eq!(fault(&zeros), Some(BodyFault::TooManyValues { limit: MAX_VALUES }));
}

#[test]
fn what_is_written_is_what_was_read() {
    let body = r#"{ "b" : [1, -0.5e+3, true, null, "x\"\\\n\u0001\ud83d\ude00é/"], "a":{}, "c":[] }"#;
    let tree = parse(body.as_bytes(), 8).unwrap();
    let mut writer = Writer::default();
    writer.value(&tree);
    let out = writer.into_bytes();
    assert_eq!(
        String::from_utf8_lossy(&out),
        r#"{"b":[1,-0.5e+3,true,null,"x\"\\\n\u0001\ud83d\ude00é/"],"a":{},"c":[]}"#
    );
    assert_eq!(parse(&out, 8).unwrap(), tree);
}

#[test]
fn whole_numbers() {
    let whole = |text: &'static str| Number(text).as_whole();
    assert_eq!((whole("3"), whole("3.0"), whole("3e2"), whole("3.5")), (Some(3), Some(3), Some(300), None));
    assert_eq!(whole("99999999999999999999"), Some(9_007_199_254_740_992));
    assert_eq!(whole("-1e300"), Some(-9_007_199_254_740_992));
}

fn written(write: impl FnOnce(&mut Writer)) -> String {
    let mut writer = Writer::default();
    write(&mut writer);
    String::from_utf8(writer.into_bytes()).unwrap()
}

/// Text of which much is white space, backslashes and what must be escaped.
fn knotty() -> impl Strategy<Value = String> {
    let ends = [" ", "\n", "\t", "\r", "\u{b}", "\u{c}", "\u{2003}", "\\", "\\", "\\n", "\\t", "\\u000b"];
    let others = ["\u{8}", "\0", "\u{1a}", "\u{1f}", "\"", "/", "\u{85}", "\u{a0}", "é", "😀", "x", "\u{7f}"];
    let many = |pieces: &[&'static str]| proptest::collection::vec(proptest::sample::select(pieces.to_vec()), 0..5);
    (many(&ends), many(&others), many(&ends)).prop_map(|(first, middle, last)| [first, middle, last].concat().concat())
}

/// Other ways to spell a text: each character by itself or by its units, in small digits or large ones.
fn spelled(text: &str, ways: &[u8]) -> String {
    let mut ways = ways.iter().cycle();
    let units = |c: char| c.encode_utf16(&mut [0; 2]).to_vec();
    let spell = |c: char| match (c, ways.next().unwrap_or(&0) % 4) {
        ('"' | '\\' | '/', 0 | 1) => format!("\\{c}"),
        ('\n', 0 | 1) => "\\n".to_owned(),
        ('\t', 0 | 1) => "\\t".to_owned(),
        ('\r', 0 | 1) => "\\r".to_owned(),
        ('\u{8}', 0 | 1) => "\\b".to_owned(),
        ('\u{c}', 0 | 1) => "\\f".to_owned(),
        (_, 3) => units(c).iter().map(|unit| format!("\\u{unit:04X}")).collect(),
        ('\0'..' ' | '"' | '\\', _) | (_, 2) => units(c).iter().map(|unit| format!("\\u{unit:04x}")).collect(),
        _ => c.to_string(),
    };
    text.chars().map(spell).collect()
}

proptest! {
    #[test]
    fn a_raw_string_says_what_the_undone_one_says(text in knotty(), ways in proptest::collection::vec(0..=255_u8, 0..9)) {
        let spelled = format!("\"{}\"", spelled(&text, &ways));
        let tree = parse(spelled.as_bytes(), 8).unwrap();
        let read = tree.as_text().unwrap();
        prop_assert_eq!(&written(|writer| writer.text(read)), &spelled);
        for (read, text) in [(read.clone(), text.as_str()), (read.trimmed(), text.trim())] {
            prop_assert_eq!((read.chars(), read.len()), (text.chars().count(), text.len()), "{}", spelled);
            prop_assert_eq!((read.is_empty(), read.as_str()), (text.is_empty(), text));
            let again = written(|writer| writer.text(&read));
            let again = parse(again.as_bytes(), 8).unwrap();
            prop_assert_eq!(again.as_text().unwrap().as_str(), text);
        }
        let own = written(|writer| writer.string(&text));
        prop_assert_eq!(&parse(own.as_bytes(), 8).unwrap(), &tree);
    }
}

#[test]
fn every_spelling_is_kept_and_says_what_it_says() {
    for (body, expected) in [
        (r#""\/""#, "/"),
        (r#""\u000a""#, "\n"),
        (r#""\u001A\u001a""#, "\u{1a}\u{1a}"),
        (r#""\u0022""#, "\""),
        (r#"" \n\u000a\u000A\u000d\u0009""#, " \n\n\n\r\t"),
        (r#""\n\b\f\u000B\u001F""#, "\n\u{8}\u{c}\u{b}\u{1f}"),
        (r#""\\\u005c\u0022\"""#, "\\\\\"\""),
        (r#""\tA\u0041\u00e9\u003c""#, "\tAAé<"),
        (r#""a\\n\ud83d\ude00""#, "a\\n😀"),
        (r#""\u007f""#, "\u{7f}"),
    ] {
        let tree = parse(body.as_bytes(), 8).unwrap();
        assert_eq!(tree.as_text().unwrap().as_str(), expected, "{body}");
        assert_eq!(written(|writer| writer.value(&tree)), body);
    }
    for body in [r#""\n\u000""#, r#""\n\u00""#, "\"\\n\\u0000", "\"\\n", r#""\n\ud800""#, r#""\n\N""#, "\"\\n\n\""] {
        assert!(parse(body.as_bytes(), 8).is_err(), "{body}");
    }
}

#[test]
fn what_escapes_say_is_known() {
    let escapes = |body: &str| parse(body.as_bytes(), 8).unwrap().as_text().unwrap().escapes();
    for marks in [r#""a""#, r#""\n\"\\\/\b\f\r\t""#, r#""\u003c\u003e\u0026\u0000\u002f""#] {
        assert_eq!(escapes(marks), Escapes::Marks, "{marks}");
    }
    for beyond in [r#""\u00e9""#, r#""\ud83d\ude00\u003c""#] {
        assert_eq!(escapes(beyond), Escapes::BeyondAscii, "{beyond}");
    }
    for any in [r#""\u0041""#, r#""\u0020\u00e9""#, r#""\u212A""#, r#""\u017f\n""#, r#""\u0130""#] {
        assert_eq!(escapes(any), Escapes::Any, "{any}");
    }
}
