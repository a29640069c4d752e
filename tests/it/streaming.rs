//! Streams: every frame at once, in both versions of HTTP and all dialects; what becomes of clients that stall,
//! and of an Ollama that breaks off. Of clients that leave: `leaving`.

use crate::harness::gateway::field;
use crate::harness::recording::Recording;
use crate::harness::reply::Gate;
use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, within};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Route and recording of every kind of stream.
const STREAMS: [(&str, &str); 6] = [
    ("/api/chat", "chat_stream"),
    ("/api/generate", "generate_stream_absent_default_true"),
    ("/v1/chat/completions", "v1_chat_stream_usage"),
    ("/v1/completions", "v1_completions_stream"),
    ("/v1/responses", "v1_responses_stream"),
    ("/v1/messages", "v1_messages_stream"),
];

/// A request for a stream that this route understands.
pub(crate) fn ask(path: &str, gateway: &Gateway) -> Request {
    let said = json!([{"role": "user", "content": "hi"}]);
    let body = match path {
        "/api/chat" => json!({"model": "tiny", "messages": said}),
        "/api/generate" => json!({"model": "tiny", "prompt": "hi"}),
        "/v1/completions" => {
            json!({"model": "tiny", "prompt": "hi", "stream": true, "stream_options": {"include_usage": true}})
        }
        "/v1/responses" => json!({"model": "tiny", "input": "hi", "stream": true}),
        "/v1/messages" => json!({"model": "tiny", "messages": said, "max_tokens": 99, "stream": true}),
        _ => json!({"model": "tiny", "messages": said, "stream": true, "stream_options": {"include_usage": true}}),
    };
    Request::post(path, &body).key(&gateway.user)
}

pub(crate) async fn ground() -> (Ollama, Gateway) {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).start().await;
    (ollama, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_frame_arrives_before_the_next_one_is_sent() {
    let (ollama, gateway) = ground().await;
    for (path, name) in STREAMS {
        for version in Version::ALL {
            let (reply, gate) = Reply::recording(name).gated();
            ollama.on(path, reply);
            let mut stream = Stream::open(&gateway, version, &ask(path, &gateway)).await;
            assert_eq!(stream.answer.status, 200, "{name} {version:?}");
            assert_eq!(stream.answer.one("content-encoding"), None, "{name} {version:?}");
            let separator = if path.starts_with("/api/") { "\n" } else { "\n\n" };
            let mut sent = 0;
            for chunk in &Recording::load(name).answered().chunks {
                sent += chunk.text.matches(separator).count();
                stream.frames(sent).await;
                gate.open();
            }
            gate.open_all();
            stream.read_to_end().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_stream_says_is_what_ollama_said() {
    let (ollama, gateway) = ground().await;
    ollama.on("/api/chat", Reply::recording("chat_utf8_stream"));
    let frames = Stream::open(&gateway, Version::Two, &ask("/api/chat", &gateway)).await.read_to_end().await;
    let said = |frames: Vec<String>| -> String {
        let frames = frames.iter().map(|frame| serde_json::from_str::<Value>(frame).unwrap());
        frames.filter_map(|frame| Some(frame["message"]["content"].as_str()?.to_owned())).collect()
    };
    let recorded = Recording::load("chat_utf8_stream").answered().body();
    assert_eq!(said(frames), said(recorded.lines().map(str::to_owned).collect()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_stream_field_means_what_it_means_to_the_dialect() {
    let (ollama, gateway) = ground().await;
    ollama.on_stream("/api/chat", true, Reply::recording("chat_stream"));
    ollama.on_stream("/api/chat", false, Reply::recording("chat_nostream"));
    ollama.on_stream("/v1/chat/completions", true, Reply::recording("v1_chat_stream"));
    ollama.on_stream("/v1/chat/completions", false, Reply::recording("v1_chat_nostream"));
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    let send = async |path| gateway.send(Request::post(path, &body).key(&gateway.user)).await.expect(200);
    let native = send("/api/chat").await;
    assert!(native.one("content-type").unwrap().starts_with("application/x-ndjson"));
    assert_eq!(native.text().lines().count(), 17);
    let openai = send("/v1/chat/completions").await;
    assert!(openai.one("content-type").unwrap().starts_with("application/json"));
    assert_eq!(openai.json()["object"], "chat.completion");
    assert_eq!(ollama.received()[0].json()["stream"], true, "said, not left to a default");
    assert_eq!(ollama.received()[1].json()["stream"], false, "said, not left to a default");
}

// --- stalling ---

/// Sixty megabytes of a stream that the client does not read: its id, and the client.
async fn unread(ollama: &Ollama, gateway: &Gateway, version: Version) -> (String, Stream) {
    let line = json!({"model": "tiny", "message": {"role": "assistant", "content": "a".repeat(8000)}, "done": false});
    let chunk = crate::harness::reply::chunk_of(format!("{line}\n").as_bytes());
    ollama.on("/api/chat", Reply::chunked_head("application/x-ndjson").then_repeat(chunk, 8_000).then("0\r\n\r\n"));
    let mut stream = Stream::open(gateway, version, &ask("/api/chat", gateway)).await;
    stream.frames(1).await;
    (stream.answer.id().to_owned(), stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_does_not_stop_ollama() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).set("server", "write_stall_timeout", "\"10m\"").start().await;
    for version in Version::ALL {
        let (before, requests) = (gateway.resident(), ollama.count());
        let (_, stream) = unread(&ollama, &gateway, version).await;
        let received = ollama.wait_for_whole(requests + 1).await;
        within("upstream to be read to its end, or closed, long before the client is given up", async {
            tokio::select! {
                () = ollama.wait_answered(requests + 1) => {}
                _ = ollama.wait_closed(received.connection) => {}
            }
        })
        .await;
        let grown = gateway.resident().saturating_sub(before);
        assert!(grown < 32 << 20, "{version:?}: {} MiB were kept for a client that does not read", grown >> 20);
        drop(stream);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_stops_reading_is_cut() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).set("server", "write_stall_timeout", "\"1s\"").start().await;
    for version in Version::ALL {
        let (id, stream) = unread(&ollama, &gateway, version).await;
        let outcome = field(&gateway.record(&id).await, "outcome");
        assert_ne!(outcome, "completed", "{version:?}");
        drop(stream);
    }
}

// --- an Ollama that breaks off ---

/// Streams that Ollama did not end as its protocol says, with what must not be repeated.
const BROKEN: [(&str, &str); 11] = [
    ("/api/chat", "crash_runner_stream_native_chat"),
    ("/api/chat", "crash_runner_abrt_native_chat"),
    ("/api/generate", "crash_runner_stream_native_generate"),
    ("/v1/chat/completions", "crash_runner_stream_v1_chat"),
    ("/v1/completions", "crash_runner_stream_v1_completions"),
    ("/v1/responses", "crash_runner_stream_v1_responses"),
    ("/v1/messages", "crash_runner_stream_v1_messages"),
    ("/v1/chat/completions", "server_sigkill_stream_v1_chat"),
    ("/v1/messages", "server_sigkill_stream_v1_messages"),
    ("/api/chat", "server_sigterm_stream_native_chat"),
    ("/v1/chat/completions", "server_sigterm_stream_v1_chat"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ollama_breaks_off_ends_with_an_error_in_the_callers_dialect() {
    let (ollama, gateway) = ground().await;
    for (path, name) in BROKEN {
        for version in Version::ALL {
            ollama.on(path, Reply::recording(name));
            let mut stream = Stream::open(&gateway, version, &ask(path, &gateway)).await;
            let frames = stream.read_to_end().await;
            let id = stream.answer.id().to_owned();
            assert_says_error(path, &frames, &id, name);
            assert!(!stream.text.contains("EOF") && !stream.text.contains("runner"), "{name}: {}", stream.text);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_ends_in_silence_is_ended_in_words() {
    let (ollama, gateway) = ground().await;
    for (path, name) in [
        ("/api/chat", "repeat_limit_stream"),
        ("/v1/chat/completions", "repeat_limit_v1_stream"),
        ("/v1/messages", "repeat_limit_v1_messages_stream"),
        ("/v1/responses", "repeat_limit_v1_responses_stream"),
    ] {
        ollama.on(path, Reply::recording(name));
        let mut stream = Stream::open(&gateway, Version::One, &ask(path, &gateway)).await;
        let frames = stream.read_to_end().await;
        let last = frames.last().unwrap();
        let ended = ["\"done\":true", "\"error\"", "[DONE]", "message_stop", "response.completed", "response.failed"];
        assert!(ended.iter().any(|words| last.contains(words)), "{name} ends with {last}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_line_a_reset_and_garbage_are_errors_too() {
    let (ollama, gateway) = ground().await;
    let head = || Reply::recording("chat_stream").cut_after(3);
    let bad: [(&str, Reply); 5] = [
        ("half a line", head().then_chunk("{\"model\":\"tiny\",\"mess").then("0\r\n\r\n")),
        ("a reset", head().then_reset()),
        ("no JSON", head().then_chunk("<html>oops</html>\n").then("0\r\n\r\n")),
        ("a broken chunk", head().then("zz\r\n")),
        ("an end inside a chunk", head().then("ff\r\n{\"model").then_fin()),
    ];
    for (what, reply) in bad {
        ollama.on("/api/chat", reply);
        let mut stream = Stream::open(&gateway, Version::One, &ask("/api/chat", &gateway)).await;
        let frames = stream.read_to_end().await;
        let id = stream.answer.id().to_owned();
        assert_says_error("/api/chat", &frames, &id, what);
        assert!(!stream.text.contains("html"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_of_a_hundred_megabytes_is_not_kept() {
    let (ollama, gateway) = ground().await;
    let megabyte = crate::harness::reply::chunk_of(&vec![b'a'; 1 << 20]);
    ollama.on(
        "/api/chat",
        Reply::chunked_head("application/x-ndjson").then_chunk("{\"a\":\"").then_repeat(megabyte, 100),
    );
    let before = gateway.resident();
    let answer = gateway.send(ask("/api/chat", &gateway)).await;
    assert!(answer.text().contains("\"error\""), "{}", answer.status);
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB were kept", grown >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upstream_is_given_up_after_the_idle_timeout() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).set("upstream", "idle_timeout", "\"300ms\"").start().await;
    ollama.on("/api/chat", Reply::recording("chat_stream").cut_after(3).then_stall());
    let mut stream = Stream::open(&gateway, Version::One, &ask("/api/chat", &gateway)).await;
    let frames = stream.read_to_end().await;
    let id = stream.answer.id().to_owned();
    assert_says_error("/api/chat", &frames, &id, "idle");
    ollama.wait_closed(ollama.received()[0].connection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_longer_than_the_idle_timeout_is_whole_if_no_gap_is() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).set("upstream", "idle_timeout", "\"1s\"").start().await;
    ollama.on("/api/chat", Reply::recording("chat_stream").paced(Duration::from_millis(100)));
    let started = Instant::now();
    let frames = Stream::open(&gateway, Version::One, &ask("/api/chat", &gateway)).await.read_to_end().await;
    assert_eq!(frames.len(), 17);
    assert!(started.elapsed() > Duration::from_secs(1), "the test was too fast to show anything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_byte_that_takes_long_is_waited_for_and_one_that_never_comes_is_not() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).set("upstream", "first_byte_timeout", "\"2s\"").start().await;
    let (reply, gate): (Reply, Gate) = Reply::recording("chat_stream").held();
    ollama.on("/api/chat", reply);
    let request = ask("/api/chat", &gateway);
    let waiting = async { gateway.send(request.clone()).await };
    let opening = async {
        ollama.wait_for_whole(1).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        gate.open_all();
    };
    let (answer, ()) = tokio::join!(waiting, opening);
    assert_eq!(answer.status, 200);
    ollama.on("/api/chat", Reply::silence());
    let answer = gateway.send(request).await;
    assert!(matches!(answer.status, 503 | 504), "{}", answer.status);
}

/// The last frames say an error as this route's clients expect it, with the id of the request.
#[track_caller]
pub(crate) fn assert_says_error(path: &str, frames: &[String], id: &str, what: &str) {
    let frame = |from_end: usize| frames.iter().rev().nth(from_end).map_or("", String::as_str);
    let data = |frame: &str| -> Value {
        let json = frame.lines().find_map(|line| line.strip_prefix("data: ")).unwrap_or(frame);
        serde_json::from_str(json).unwrap_or_else(|e| panic!("{what}: {e}: {frame}"))
    };
    let error = match path {
        "/v1/chat/completions" | "/v1/completions" => {
            assert_eq!(frame(0), "data: [DONE]", "{what}");
            data(frame(1))
        }
        "/v1/messages" => {
            assert_eq!(data(frame(0))["type"], "message_stop", "{what}");
            data(frame(1))
        }
        _ => data(frame(0)),
    };
    let shape = match path {
        "/api/chat" | "/api/generate" => error["error"].is_string(),
        "/v1/messages" => error["type"] == "error" && error["error"]["type"].is_string(),
        "/v1/responses" => error["type"] == "error" || error["type"] == "response.failed",
        _ => error["error"]["message"].is_string(),
    };
    assert!(shape, "{what}: {error}");
    assert!(error.to_string().contains(id), "{what}: no request id {id} in {error}");
}
