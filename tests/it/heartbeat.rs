//! A silent Ollama: signs of life in every format after the delay, none before; refusals with their own status before
//! it, and in the answer after it; signs between the frames of a stream that stops; nothing is left behind by those who do
//! not wait.

use crate::harness::gateway::field;
use crate::harness::recording::Recording;
use crate::harness::reply::Gate;
use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup};
use serde_json::{Value, json};
use std::time::Duration;

/// Route, whether it is a stream, recording.
const ANSWERS: [(&str, bool, &str); 9] = [
    ("/api/chat", true, "chat_stream"),
    ("/api/generate", true, "generate_stream_absent_default_true"),
    ("/v1/chat/completions", true, "v1_chat_stream"),
    ("/v1/completions", true, "v1_completions_stream"),
    ("/v1/responses", true, "v1_responses_stream"),
    ("/v1/messages", true, "v1_messages_stream"),
    ("/api/chat", false, "chat_nostream"),
    ("/v1/chat/completions", false, "v1_chat_nostream"),
    ("/api/embed", false, "embed_array"),
];

fn ask(path: &str, stream: bool, key: &str) -> Request {
    let said = json!([{"role": "user", "content": "hi"}]);
    let mut body = match path {
        "/api/generate" | "/v1/completions" => json!({"model": "tiny", "prompt": "hi"}),
        "/v1/responses" | "/api/embed" => json!({"model": "tiny", "input": "hi"}),
        "/v1/messages" => json!({"model": "tiny", "messages": said, "max_tokens": 99}),
        _ => json!({"model": "tiny", "messages": said}),
    };
    if path != "/api/embed" {
        body["stream"] = json!(stream);
    }
    Request::post(path, &body).key(key)
}

async fn ground(after: &str) -> (Ollama, Gateway) {
    let ollama = Ollama::start().await;
    let setup = Setup::before(&ollama).set("upstream", "heartbeat_after", &format!("{after:?}"));
    (ollama, Box::pin(setup.start()).await)
}

const SILENCE: Duration = Duration::from_millis(700);

/// The answer without signs of life, and how many there were.
fn without_beats(kind: &str, text: &str) -> (usize, String) {
    let beat = if kind.starts_with("text/event-stream") { ": \n\n" } else { " " };
    let answer = text.trim_start_matches(beat);
    ((text.len() - answer.len()) / beat.len(), answer.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_answer_is_kept_alive_and_is_then_what_it_would_have_been() {
    let (ollama, gateway) = ground("100ms").await;
    let (prompt_ollama, prompt) = ground("1h").await;
    for (path, stream, name) in ANSWERS {
        for version in Version::ALL {
            ollama.on(path, Reply::recording(name).after(SILENCE));
            let answer = Box::pin(version.send(&gateway, ask(path, stream, &gateway.user))).await;
            prompt_ollama.on(path, Reply::recording(name));
            let expected = Box::pin(version.send(&prompt, ask(path, stream, &prompt.user))).await;
            assert_eq!(answer.status, 200, "{path} {name}");
            let kind = answer.one("content-type").unwrap();
            assert_eq!(Some(kind), expected.one("content-type"), "{path} {name}");
            let (beats, text) = without_beats(kind, &answer.text());
            assert!((2..=7).contains(&beats), "{path} {name}: {beats} beats");
            assert_eq!(text, expected.text(), "{path} {name}");
            for field in ["x-content-type-options", "cache-control", "strict-transport-security", "ratelimit-policy"] {
                assert_eq!(answer.one(field), expected.one(field), "{field}");
            }
            let record = gateway.record(answer.id()).await;
            assert_eq!((field(&record, "outcome"), field(&record, "status")), ("completed".into(), "200".into()));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_answer_has_no_sign_of_life() {
    let (ollama, gateway) = ground("5s").await;
    ollama.on("/api/chat", Reply::recording("chat_stream").after(Duration::from_millis(50)));
    let mut stream = Box::pin(Stream::open(&gateway, Version::Two, &ask("/api/chat", true, &gateway.user))).await;
    while stream.more().await.unwrap() {}
    assert_eq!(stream.text.lines().count(), Recording::load("chat_stream").answered().body().lines().count());
    assert!(stream.text.starts_with('{'));
}

/// A recorded stream in two pieces, the first of which ends in the middle of a frame, and its content type.
pub(crate) fn halves(name: &str) -> (String, String, String) {
    let recording = Recording::load(name);
    let (answered, text) = (recording.answered(), recording.answered().body());
    let first = text.find("data: {").map_or_else(|| text.find('\n'), |_| text.find("\n\n")).unwrap();
    let kind = answered.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case("content-type")).unwrap();
    let (begun, rest) = text.split_at(first + 20);
    (kind.1.clone(), begun.to_owned(), rest.to_owned())
}

/// The same, which stops between the two until the gate is opened.
fn stopped(name: &str) -> (Reply, Gate) {
    let (kind, begun, rest) = halves(name);
    Reply::chunked_head(&kind).then_chunk(begun).then_chunk(rest).then("0\r\n\r\n").gated()
}

fn frames(kind: &str, text: &str) -> Vec<String> {
    let events = kind.starts_with("text/event-stream");
    let frames = text.split(if events { "\n\n" } else { "\n" }).map(str::trim);
    frames.filter(|frame| !frame.is_empty() && *frame != ":").map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_stops_in_a_frame_is_kept_alive_between_its_frames() {
    let (ollama, gateway) = ground("100ms").await;
    let (prompt_ollama, prompt) = ground("1h").await;
    for (path, _, name) in ANSWERS.into_iter().filter(|(_, stream, _)| *stream) {
        prompt_ollama.on(path, Reply::recording(name));
        let expected = Box::pin(prompt.send(ask(path, true, &prompt.user))).await;
        for version in Version::ALL {
            let (reply, gate) = stopped(name);
            ollama.on(path, reply);
            let mut stream = Box::pin(Stream::open(&gateway, version, &ask(path, true, &gateway.user))).await;
            let kind = stream.answer.one("content-type").unwrap().to_owned();
            let beat = if kind.starts_with("text/event-stream") { ": \n\n" } else { " " };
            stream.frames(1).await;
            let first = stream.text.len();
            while stream.text.len() < first + 3 * beat.len() {
                assert_eq!(stream.more().await, Ok(true), "{path}");
            }
            assert_eq!(stream.text[first..].replace(beat, ""), "", "{path}: no part of a frame");
            gate.open_all();
            stream.read_to_end().await;
            let whole = |text: &str| frames(&kind, text);
            assert_eq!(whole(&stream.text), whole(&expected.text()), "{path} {version:?}");
            let record = gateway.record(stream.answer.id()).await;
            assert_eq!(field(&record, "outcome"), "completed", "{path}");
        }
    }
}

/// An Ollama that fails, at once or late.
fn failure() -> Reply {
    Reply::json(500, "{\"error\":\"model runner has unexpectedly stopped\"}")
}

fn error_of(path: &str, text: &str) -> Value {
    let frame = text.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let frames: Vec<Value> = frame.filter_map(|json| serde_json::from_str(json).ok()).collect();
    let with_error = frames.iter().find(|frame| !frame["error"].is_null() || !frame["response"]["error"].is_null());
    with_error.unwrap_or_else(|| panic!("{path}: no error in {text}")).clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failure_keeps_its_status_before_the_delay_and_is_said_in_the_answer_after_it() {
    let (ollama, gateway) = ground("100ms").await;
    for (path, stream, name) in ANSWERS {
        ollama.on(path, failure());
        let early = Box::pin(gateway.send(ask(path, stream, &gateway.user))).await;
        assert_eq!(early.status, 502, "{path} {name}");
        ollama.on(path, failure().after(SILENCE));
        let late = Box::pin(gateway.send(ask(path, stream, &gateway.user))).await;
        assert_eq!(late.status, 200, "{path} {name}");
        let (beats, text) = without_beats(late.one("content-type").unwrap(), &late.text());
        assert!(beats > 0);
        let error = error_of(path, &text).to_string();
        assert!(error.contains("model server") && !error.contains("runner"), "{path}: {error}");
        if !stream {
            let same: Value = serde_json::from_str(&early.text().replace(early.id(), late.id())).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), same, "{path}");
        }
        let record = gateway.record(late.id()).await;
        let expected = ("refused".to_owned(), field(&gateway.record(early.id()).await, "code"));
        assert_eq!((field(&record, "outcome"), field(&record, "code")), expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_kind_than_was_announced_is_an_error() {
    let (ollama, gateway) = ground("100ms").await;
    ollama.on("/api/chat", Reply::recording("chat_nostream").after(SILENCE));
    let answer = Box::pin(gateway.send(ask("/api/chat", true, &gateway.user))).await;
    let (_, text) = without_beats(answer.one("content-type").unwrap(), &answer.text());
    assert!(error_of("/api/chat", &text)["code"].as_str().unwrap().starts_with("upstream_"), "{text}");
    assert!(!text.contains("assistant"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_for_a_slot_is_kept_alive_too_and_one_who_leaves_leaves_nothing() {
    let ollama = Ollama::start().await;
    let setup = Setup::before(&ollama).set("upstream", "heartbeat_after", "\"50ms\"").set("queue", "slots", "1");
    let gateway = Box::pin(setup.start()).await;
    ollama.on("/api/chat", Reply::silence());
    for version in Version::ALL {
        let before = ollama.count();
        let mut runs = Box::pin(Stream::open(&gateway, version, &ask("/api/chat", true, &gateway.user))).await;
        let received = ollama.wait_for(before + 1).await;
        let mut waits = Box::pin(Stream::open(&gateway, version, &ask("/api/chat", true, &gateway.user))).await;
        while waits.text.len() < 3 {
            assert_eq!(waits.more().await, Ok(true));
        }
        assert_eq!(runs.more().await, Ok(true));
        assert_eq!(ollama.count(), before + 1);
        let id = waits.answer.id().to_owned();
        let _connection = waits.leave();
        assert_eq!(field(&gateway.record(&id).await, "outcome"), "client_left");
        let id = runs.answer.id().to_owned();
        let _connection = runs.leave();
        ollama.wait_closed(received.connection).await; // how soon: `leaving`
        assert_eq!(field(&gateway.record(&id).await, "outcome"), "client_left");
    }
}
