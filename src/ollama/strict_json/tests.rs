//! What is refused, and that what is written is what was read.

use super::*;
use crate::ollama::fault::BodyFault;

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
        "{\"b\":[1,-0.5e+3,true,null,\"x\\\"\\\\\\n\\u0001\u{1f600}é/\"],\"a\":{},\"c\":[]}"
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
