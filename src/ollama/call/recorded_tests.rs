//! Every recorded request with the decision on it: what real servers and clients were seen to send.
//!
//! `tests/cases/ollama_decisions.tsv` has a row a recording: its name, and the code of the refusal or the body that is
//! sent (its beginning, where the row ends in `…`). A recording without a row fails.

use super::fixtures::Judge;
use crate::ollama::endpoint::{Endpoint, Payload};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::path::PathBuf;

const GROUPS: [&str; 10] =
    ["json_", "num_", "name_", "chat_", "generate_", "v1_", "embed", "show_", "create_", "pull_"];

fn cases() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases")
}

fn decisions() -> Vec<(String, String)> {
    let rows = std::fs::read_to_string(cases().join("ollama_decisions.tsv")).unwrap();
    let row = |line: &str| line.split_once('\t').map(|(name, row)| (name.to_owned(), row.to_owned()));
    rows.lines().filter_map(row).collect()
}

/// What is decided on a recorded request.
fn decide(name: &str) -> String {
    let file = std::fs::read(cases().join("ollama").join(format!("{name}.json"))).unwrap();
    let file: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let request = &file["request"];
    let path = request["target"].as_str().unwrap().split('?').next().unwrap();
    let (endpoint, _) = Endpoint::find(request["method"].as_str().unwrap(), path).unwrap();
    let body = match request["body_text"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => STANDARD.decode(request["body_base64"].as_str().unwrap()).unwrap(),
    };
    Judge::new().sent(endpoint, with_a_message(name, body))
}

/// The recordings of names, keys and numbers load a model with no message, which is refused for itself: they get one,
/// so that the decision is about what they are for.
fn with_a_message(name: &str, body: Vec<u8>) -> Vec<u8> {
    if !["json_", "num_", "name_"].iter().any(|group| name.starts_with(group)) {
        return body;
    }
    let message = r#""messages":[{"role":"user","content":"x"}]"#;
    let text = String::from_utf8(body).unwrap();
    text.replace(r#""messages": []"#, message).replace(r#""messages":[]"#, message).into_bytes()
}

#[test]
fn every_recorded_request_is_decided_as_expected() {
    let mut faults = Vec::new();
    for (name, expected) in decisions() {
        let decided = decide(&name);
        let same = expected.strip_suffix('…').map_or(decided == expected, |begin| decided.starts_with(begin));
        if !same {
            faults.push(format!("{name}\n  expected {expected}\n  decided  {decided}"));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_recorded_request_is_without_a_decision() {
    let rows = decisions();
    assert!(rows.len() > 250, "{} rows", rows.len());
    for entry in std::fs::read_dir(cases().join("ollama")).unwrap() {
        let name = entry.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned();
        let ours = GROUPS.iter().any(|group| name.starts_with(group)) && !has_other_encoding(&name);
        assert!(!ours || rows.iter().any(|(known, _)| *known == name), "{name} has no row");
    }
}

/// Bodies that are refused before they are read, or that are none; routes that take no JSON.
fn has_other_encoding(name: &str) -> bool {
    let file = std::fs::read_to_string(cases().join("ollama").join(format!("{name}.json"))).unwrap();
    let file: serde_json::Value = serde_json::from_str(&file).unwrap();
    let request = &file["request"];
    let headers = request["headers"].to_string().to_ascii_lowercase();
    let bodiless = request["body_text"].as_str().is_none() && request["body_base64"].as_str().is_none();
    let path = request["target"].as_str().unwrap_or_default().split('?').next().unwrap();
    let found = Endpoint::find(request["method"].as_str().unwrap_or_default(), path);
    let unserved = found.map_or(true, |(endpoint, _)| endpoint.facts().payload != Payload::Json);
    bodiless
        || unserved
        || headers.contains("content-encoding")
        || headers.contains("multipart")
        || headers.contains("zstd")
}

/// Recorded too, but too large to keep.
#[test]
fn what_was_too_large_to_keep() {
    let judge = Judge::new();
    let nested = |open: &str, close: &str, times: usize| format!("{}{}", open.repeat(times), close.repeat(times));
    let ignored = format!(r#"{{"model":"tiny","messages":[],"x":{}}}"#, nested("[", "]", 9_990));
    assert_eq!(judge.sent(Endpoint::Chat, ignored.as_bytes()), "too_deep");
    assert_eq!(judge.sent(Endpoint::Chat, "[".repeat(100_000).as_bytes()), "too_deep");
    let schema = format!(
        r#"{{"model":"tiny","messages":[{{"role":"user","content":"hi"}}],"format":{}1{}}}"#,
        r#"{"type":"array","items":"#.repeat(5_000),
        "}".repeat(5_000)
    );
    assert_eq!(judge.sent(Endpoint::Chat, schema.as_bytes()), "too_deep");
    let stops = format!(r#"{{"model":"tiny","prompt":"x","options":{{"stop":["{}"]}}}}"#, ["a"; 5_000].join("\",\""));
    assert_eq!(judge.sent(Endpoint::Generate, stops.as_bytes()), "field_too_long");
    let large =
        format!(r#"{{"model":"tiny","messages":[{{"role":"user","content":"hi"}}],"x":"{}"}}"#, "a".repeat(2 << 20));
    assert_eq!(judge.sent(Endpoint::Chat, large.as_bytes()), "body_too_large");
    let long = format!(r#"{{"model":"tiny","messages":[{{"role":"user","content":"{}"}}]}}"#, "word ".repeat(42_000));
    assert_eq!(judge.sent(Endpoint::Chat, long.as_bytes()), "message_too_long");
}
