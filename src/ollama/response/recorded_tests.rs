//! Every recorded exchange of a real Ollama, served to the response side.
//!
//! Holds: what comes out does not depend on where the bytes are split; no text of a recorded error comes out of anything;
//! every stream ends as its protocol says.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::shape::Shape;
use super::*;
use crate::ollama::endpoint::Endpoint;

/// One recorded exchange.
struct Recording {
    name: String,
    endpoint: Endpoint,
    status: u16,
    body: Vec<u8>,
    streams: bool,
    end: End,
}

fn recordings() -> Vec<Recording> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/ollama");
    let mut found: Vec<Recording> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| recording(&path))
        .collect();
    assert!(found.len() > 300, "{} recordings", found.len());
    found.sort_by(|a, b| a.name.cmp(&b.name));
    found
}

fn recording(path: &Path) -> Option<Recording> {
    let name = path.file_stem()?.to_str()?.to_owned();
    let exchange: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let target = exchange["request"]["target"].as_str()?.split('?').next()?.replace('%', "");
    let (endpoint, _) = Endpoint::find(exchange["request"]["method"].as_str()?, &target).ok()?;
    let response = &exchange["response"];
    let text: String = response["chunks"].as_array()?.iter().filter_map(|chunk| chunk["text"].as_str()).collect();
    let header = |header: &&Value| header[0] == "Content-Type";
    let kind = response["headers"].as_array()?.iter().find(header).and_then(|header| header[1].as_str());
    let streams = matches!(kind, Some("application/x-ndjson" | "text/event-stream"));
    let end = if response["end"] == "complete" { End::Clean } else { End::Cut };
    let status = u16::try_from(response["status"].as_u64()?).ok()?;
    Some(Recording { name, endpoint, status, body: text.into_bytes(), streams, end })
}

fn streams() -> impl Iterator<Item = Recording> {
    recordings().into_iter().filter(|recording| recording.streams && recording.status == 200)
}

fn options() -> StreamOptions {
    let request_id = "req-1".to_owned();
    let (usage_chunk, context) = (UsageChunk::Show, Context::Drop);
    StreamOptions { request_id, usage_chunk, context, max_frame: 1 << 20, rules: None }
}

/// All that comes out, and how it ended.
fn sanitise(recording: &Recording, pieces: &[&[u8]]) -> (String, Outcome, Usage) {
    sanitise_with(recording, pieces, options())
}

fn sanitise_with(recording: &Recording, pieces: &[&[u8]], options: StreamOptions) -> (String, Outcome, Usage) {
    let (mut sanitiser, mut out) = (StreamSanitiser::new(recording.endpoint, options), Vec::new());
    for piece in pieces {
        sanitiser.push(piece, &mut out);
    }
    let outcome = sanitiser.finish(recording.end, &mut out);
    (String::from_utf8(out).unwrap(), outcome, sanitiser.usage())
}

fn named(name: &str) -> Recording {
    recordings().into_iter().find(|recording| recording.name == name).unwrap_or_else(|| panic!("{name}"))
}

#[test]
fn the_split_does_not_matter() {
    let mut seen = 0;
    for recording in streams() {
        let body = recording.body.as_slice();
        let expected = sanitise(&recording, &[body]);
        let step = 1 + body.len() / 150;
        for at in (0..=body.len()).step_by(step) {
            let (first, second) = body.split_at(at);
            assert_eq!(sanitise(&recording, &[first, second]), expected, "{} at {at}", recording.name);
        }
        let single: Vec<&[u8]> = body.chunks(1).collect();
        assert_eq!(sanitise(&recording, &single), expected, "{} byte by byte", recording.name);
        seen += 1;
    }
    assert!(seen >= 50, "{seen} streams");
}

#[test]
fn whole_streams_pass_byte_for_byte() {
    for name in ["chat_stream", "v1_chat_stream_usage", "v1_responses_stream", "v1_messages_think_stream"] {
        let recording = named(name);
        let (out, outcome, usage) = sanitise(&recording, &[&recording.body]);
        assert_eq!(out.as_bytes(), recording.body, "{name}");
        assert_eq!(outcome, Outcome::Complete);
        assert!(usage.prompt_tokens.is_some() && usage.output_tokens.is_some(), "{name}: {usage:?}");
    }
}

#[test]
fn every_stream_has_its_end() {
    for recording in streams() {
        let (out, outcome, _) = sanitise(&recording, &[&recording.body]);
        let failed = matches!(outcome, Outcome::Failed(_));
        let last = out.trim_end().rsplit("\n").next().unwrap_or_default();
        let shape = Shape::of(recording.endpoint);
        let fits = match shape {
            Shape::Chat | Shape::Generate if !failed => last.contains("\"done\":true"),
            Shape::Chat | Shape::Generate | Shape::Progress if failed => last.starts_with("{\"error\":\""),
            Shape::Progress => last == "{\"status\":\"success\"}",
            Shape::ChatChunks | Shape::TextChunks => out.ends_with("data: [DONE]\n\n"),
            Shape::Responses => last.contains(if failed { "\"response.failed\"" } else { "\"response.completed\"" }),
            Shape::Messages => out.ends_with("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
            Shape::Chat | Shape::Generate | Shape::Nothing => false,
        };
        assert!(fits, "{}: {outcome:?}: {last}", recording.name);
        assert_eq!(failed, out.contains("req-1"), "{}: an error holds the id, an answer does not", recording.name);
    }
}

#[test]
fn silent_ends() {
    let ends: BTreeMap<&str, Outcome> = BTreeMap::from([
        ("crash_runner_stream_native_chat", Outcome::Failed(UpstreamFault::Failed(500))),
        ("crash_runner_stream_v1_chat", Outcome::Failed(UpstreamFault::Failed(500))),
        ("crash_runner_stream_v1_completions", Outcome::Failed(UpstreamFault::Failed(500))),
        ("crash_runner_stream_v1_messages", Outcome::Failed(UpstreamFault::Cut)),
        ("crash_runner_stream_v1_responses", Outcome::Failed(UpstreamFault::Cut)),
        ("repeat_limit_stream", Outcome::Shortened),
        ("repeat_limit_v1_stream", Outcome::Shortened),
        ("repeat_limit_v1_messages_stream", Outcome::Failed(UpstreamFault::Cut)),
        ("server_sigkill_stream_v1_chat", Outcome::Failed(UpstreamFault::Cut)),
        ("server_sigterm_stream_native_chat", Outcome::Failed(UpstreamFault::Cut)),
        ("ssrf_pull_reflects_error_body", Outcome::Failed(UpstreamFault::Failed(500))),
    ]);
    for (name, expected) in ends {
        let recording = named(name);
        let (out, outcome, _) = sanitise(&recording, &[&recording.body]);
        assert_eq!(outcome, expected, "{name}");
        assert!(!out.contains("\"model\":\"\""), "{name}");
    }
    let recording = named("crash_runner_stream_v1_responses");
    let (out, ..) = sanitise(&recording, &[&recording.body]);
    let failed: Value = serde_json::from_str(out.trim_end().rsplit("data: ").next().unwrap()).unwrap();
    assert_eq!(failed["sequence_number"], 14);
    assert_eq!(failed["response"]["id"], "resp_328699");
    assert_eq!(failed["response"]["model"], "slow");
}

#[test]
fn the_usage_frame_is_hidden_but_noted() {
    for name in ["v1_chat_stream_usage", "v1_completions_stream"] {
        let recording = named(name);
        let hide = StreamOptions { usage_chunk: UsageChunk::Hide, ..options() };
        let (out, outcome, usage) = sanitise_with(&recording, &[&recording.body], hide);
        assert_eq!(outcome, Outcome::Complete);
        assert!(!out.contains("\"usage\"") && !out.contains("\"choices\":[]"), "{name}: {out}");
        assert!(out.contains("\"finish_reason\":\"length\""), "{name}: {out}");
        assert_eq!((usage.prompt_tokens, usage.finish), (Some(25), Finish::Length), "{name}");
        assert!(usage.output_tokens.is_some() && usage.pieces > 0, "{name}: {usage:?}");
    }
}

/// Texts of recorded errors, and the paths and addresses in them.
fn secrets() -> Vec<String> {
    let mut secrets: Vec<String> =
        ["/usr/share/ollama", "AKIAINTERNAL", "10.255.255.53", "dial tcp", "sha256-"].map(str::to_owned).into();
    for recording in recordings() {
        for line in String::from_utf8(recording.body).unwrap().lines() {
            let line = line.strip_prefix("data: ").unwrap_or(line);
            let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
            collect_errors(&value, &mut secrets);
        }
    }
    secrets.sort();
    secrets.dedup();
    assert!(secrets.len() > 80, "{}", secrets.len());
    secrets
}

fn collect_errors(value: &Value, secrets: &mut Vec<String>) {
    let error = &value["error"];
    let message = error.as_str().or(error["message"].as_str());
    secrets.extend(message.filter(|text| text.len() >= 8).map(str::to_owned));
}

fn view() -> View<'static> {
    let (full, context) = (Full::Reduced, Context::Drop);
    View { may_see: &|_| true, full, shown_version: "1", wanted: Some("tiny:latest"), context }
}

#[test]
fn no_text_of_an_error_comes_out() {
    let secrets = secrets();
    for recording in recordings() {
        let out = if recording.status != 200 {
            let facts = classify(recording.endpoint, recording.status, &recording.body).facts();
            assert!(facts.status >= 400, "{}", recording.name);
            format!("{} {}", facts.code, facts.text)
        } else if recording.streams {
            sanitise(&recording, &[&recording.body]).0
        } else {
            whole(recording.endpoint, &recording.body, &view())
                .map(|whole| String::from_utf8(whole.body).unwrap())
                .unwrap_or_default()
        };
        for secret in &secrets {
            assert!(!out.contains(secret.as_str()), "{}: {secret:?} in {out}", recording.name);
        }
    }
}

#[test]
fn whole_answers_of_every_route_pass() {
    for recording in recordings().into_iter().filter(|r| r.status == 200 && !r.streams && r.end == End::Clean) {
        let answer = whole(recording.endpoint, &recording.body, &view());
        let odd = recording.endpoint == Endpoint::Model || recording.body.is_empty();
        assert!(answer.is_ok() || odd, "{}: {answer:?}", recording.name);
    }
}

#[test]
fn the_log_gets_what_the_caller_does_not() {
    let recording = named("ssrf_pull_reflects_error_body");
    let mut sanitiser = StreamSanitiser::new(recording.endpoint, options());
    let progress = sanitiser.push(&recording.body, &mut Vec::new());
    assert_eq!(progress, Progress::Failed(UpstreamFault::Failed(500)));
    assert!(sanitiser.original().unwrap().contains("AKIAINTERNAL"));
}
