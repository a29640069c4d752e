//! Content rules in the running binary: on what is asked, and on what streams back in many pieces.

use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup};
use crate::streaming::ask;
use serde_json::{Value, json};

/// Route, recording, and words that it spreads over several frames.
const SPREAD: [(&str, &str, &str); 5] = [
    ("/api/chat", "chat_stream", "door produce health head place set hit name cause father number receive"),
    ("/v1/chat/completions", "v1_chat_stream_usage", "mother information produce health"),
    ("/v1/completions", "v1_completions_stream", "mother information produce health"),
    ("/v1/responses", "v1_responses_stream", "set create"),
    ("/v1/messages", "v1_messages_stream", "produce health head"),
];

/// The words of a stream, in whichever protocol.
fn words(stream: &str) -> String {
    let frames = stream.lines().map(|line| line.strip_prefix("data: ").unwrap_or(line));
    let values = frames.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let places =
        ["/message/content", "/response", "/choices/0/delta/content", "/choices/0/text", "/delta", "/delta/text"];
    values
        .filter_map(|value| places.iter().find_map(|place| value.pointer(place)?.as_str().map(str::to_owned)))
        .collect()
}

async fn serving(ollama: &Ollama, on_output: &str) -> Gateway {
    let blocked = json!(SPREAD.map(|(.., words)| words)).to_string();
    let setup = Setup::before(ollama).set("validation", "blocked", &blocked);
    setup.set("validation", "on_output_match", &format!("{on_output:?}")).start().await
}

async fn streamed(gateway: &Gateway, version: Version, path: &str) -> String {
    let mut stream = Stream::open(gateway, version, &ask(path, gateway)).await;
    while stream.more().await.expect("a stream that ends as it should") {}
    stream.text
}

#[tokio::test(flavor = "multi_thread")]
async fn words_that_stream_in_many_pieces_are_replaced_or_end_the_answer() {
    let ollama = Ollama::start().await;
    let (replaces, cuts) = (serving(&ollama, "replace").await, serving(&ollama, "cut").await);
    let ends = [
        ["\"done\":true"; 2],
        ["[DONE]"; 2],
        ["[DONE]"; 2],
        ["response.completed", "response.incomplete"],
        ["message_stop"; 2],
    ];
    for ((path, recording, blocked), ends) in SPREAD.into_iter().zip(ends) {
        ollama.on(path, Reply::recording(recording));
        for version in Version::ALL {
            let replaced = streamed(&replaces, version, path).await;
            let said = words(&replaced);
            assert!(said.contains("[removed]") && !said.contains(blocked), "{path}: {said}");
            let cut = streamed(&cuts, version, path).await;
            let said = words(&cut);
            let first = blocked.split(' ').next().unwrap();
            assert!(!said.contains(first) && !said.contains("[removed]"), "{path}: {said}");
            for (text, end) in [&replaced, &cut].into_iter().zip(ends) {
                assert!(text.contains(end), "{path}: no {end} in {text}");
            }
        }
    }
    for gateway in [&replaces, &cuts] {
        gateway.event("content_blocked").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_a_request_refuse_it_or_are_told_to_the_log() {
    let ollama = crate::harness::routes::recorded().await;
    let blocked = |setup: Setup| setup.set("validation", "blocked", "[\"forbidden word\"]");
    let refuses = blocked(Setup::before(&ollama)).start().await;
    let logs = blocked(Setup::before(&ollama)).set("validation", "on_match", "\"log\"").start().await;
    let said = json!([{"role": "user", "content": "one Forbidden WORD more"}]);
    for (path, body) in [
        ("/api/chat", json!({"model": "tiny", "messages": said, "stream": false})),
        ("/api/generate", json!({"model": "tiny", "prompt": "a forbidden word", "stream": false})),
        ("/v1/chat/completions", json!({"model": "tiny", "messages": said})),
        ("/v1/responses", json!({"model": "tiny", "input": "a forbidden word"})),
        ("/v1/messages", json!({"model": "tiny", "max_tokens": 9, "messages": said})),
    ] {
        let before = ollama.count();
        let answer = refuses.send(Request::post(path, &body).key(&refuses.user)).await.expect(422);
        assert_eq!((answer.code(), ollama.count()), ("content_blocked".to_owned(), before), "{path}");
        let let_through = logs.send(Request::post(path, &body).key(&logs.user)).await.expect(200);
        let told = logs.events("content_blocked").into_iter().any(|event| event.to_string().contains(let_through.id()));
        assert!(told, "{path}: nothing in the log");
    }
}
