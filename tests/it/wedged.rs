//! A slow reader costs Ollama nothing, and a model that has stopped saying anything is unloaded.

use crate::harness::gateway::field;
use crate::harness::ollama::Received;
use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, Wire, within_time};
use serde_json::json;
use std::time::{Duration, Instant};

fn chat(model: &str, key: &str) -> Request {
    let said = json!([{"role": "user", "content": "hi"}]);
    Request::post("/api/chat", &json!({"model": model, "messages": said})).key(key)
}

fn whole(model: &str, key: &str) -> Request {
    let said = json!([{"role": "user", "content": "hi"}]);
    Request::post("/api/chat", &json!({"model": model, "messages": said, "stream": false})).key(key)
}

async fn ground(after: &str) -> (Ollama, Gateway) {
    let ollama = Ollama::start().await;
    ollama.on("/api/generate", Reply::recording("generate_unload"));
    let setup = Setup::before(&ollama).set("upstream", "wedged_after", &format!("{after:?}"));
    (ollama, Box::pin(setup.start()).await)
}

fn unloads(ollama: &Ollama) -> Vec<Received> {
    ollama.received().into_iter().filter(|received| received.path() == "/api/generate").collect()
}

async fn waits(gateway: &Gateway, model: &str) -> Wire {
    let mut wire = Box::pin(Wire::tls(gateway)).await;
    wire.write(&chat(model, &gateway.user).bytes()).await;
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_says_nothing_to_anybody_is_reported_and_unloaded_ever_more_rarely() {
    let (ollama, gateway) = ground("400ms").await;
    ollama.on("/api/chat", Reply::silence());
    let _two = [waits(&gateway, "tiny").await, waits(&gateway, "tiny").await];
    let event = gateway.event("upstream_wedged").await;
    assert_eq!(field(&event, "detail"), "tiny:latest");
    let unload = gateway.event("model_unloaded").await;
    assert_eq!(field(&unload, "status"), "200", "{unload}");
    let body = unloads(&ollama)[0].json();
    assert_eq!(body, json!({"model": "tiny:latest", "keep_alive": 0}));
    tokio::time::sleep(Duration::from_millis(2_500)).await; // 0.4, 1.2 and 2.8 s after the first question
    assert!((2..=3).contains(&unloads(&ollama).len()), "{} unloads", unloads(&ollama).len());
    assert_eq!(gateway.events("upstream_wedged").len(), unloads(&ollama).len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_that_answers_anybody_is_left_alone_and_so_is_every_model_where_it_is_off() {
    let (ollama, gateway) = ground("300ms").await;
    let (reply, frames) = Reply::recording("chat_stream").gated();
    ollama.on("/api/chat", reply);
    let mut streams = Box::pin(Stream::open(&gateway, Version::One, &chat("tiny", &gateway.user))).await;
    streams.frames(1).await;
    ollama.on("/api/chat", Reply::silence());
    let _waits = waits(&gateway, "tiny").await;
    let (off, without) = ground("off").await;
    off.on("/api/chat", Reply::silence());
    let _too = waits(&without, "tiny").await;
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert!(unloads(&ollama).is_empty() && unloads(&off).is_empty());
    frames.open_all();
    while streams.more().await.unwrap() {}
    gateway.event("upstream_wedged").await;
}

/// Those who give up one after the other have heard nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_no_word_of_the_model() {
    for ask in [chat, whole] {
        let ollama = Ollama::start().await;
        ollama.on("/api/generate", Reply::recording("generate_unload"));
        ollama.on("/api/chat", Reply::silence());
        let setup = Setup::before(&ollama).set("upstream", "wedged_after", "\"1s\"");
        let gateway = Box::pin(setup.set("upstream", "first_byte_timeout", "\"700ms\"").start()).await;
        for _ in 0..3 {
            gateway.send(ask("tiny", &gateway.user)).await.expect(504);
        }
        gateway.event("upstream_wedged").await;
        assert_eq!(unloads(&ollama).len(), 1);
    }
}

/// A long generation has no byte before its last one: the model is at work, and those behind it wait for their turn.
#[tokio::test(flavor = "multi_thread")]
async fn a_model_at_work_on_an_answer_in_one_piece_is_left_alone() {
    let (ollama, gateway) = ground("300ms").await;
    let (reply, at_work) = Reply::recording("chat_nostream").held();
    ollama.on("/api/chat", Reply::silence()).on_model("/api/chat", "works:latest", reply);
    let mut answer = Box::pin(Wire::tls(&gateway)).await;
    answer.write(&whole("works", &gateway.user).bytes()).await;
    let first = ollama.wait_for_whole(1).await;
    assert_eq!(first.json()["stream"], false);
    let _behind_it = waits(&gateway, "works").await;
    let _stuck = waits(&gateway, "stuck").await;
    let unloaded = |model: &str| {
        let unloads = unloads(&ollama).into_iter().filter(|unload| !unload.sha256.is_empty());
        unloads.filter(|unload| unload.json()["model"] == model).count()
    };
    let twice = async {
        while unloaded("stuck:latest") < 2 {
            ollama.wait_whole(ollama.whole() + 1).await; // 0.3 and 0.9 s after it was asked
        }
    };
    within_time(Duration::from_secs(20), "another model to be unloaded twice", twice).await;
    assert_eq!(unloaded("works:latest"), 0);
    at_work.open_all();
    answer.answer(false).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_holds_no_slot_once_ollama_is_done() {
    let ollama = Ollama::start().await;
    let setup = Setup::before(&ollama).set("queue", "slots", "1").set("server", "write_stall_timeout", "\"10m\"");
    let gateway = Box::pin(setup.start()).await;
    let words = "a".repeat(8_000);
    let line = json!({"model": "tiny", "message": {"role": "assistant", "content": words}, "done": false});
    let chunk = crate::harness::reply::chunk_of(format!("{line}\n").as_bytes());
    // More than all buffers between hold: the answer of the one who does not read is given up.
    let long = Reply::chunked_head("application/x-ndjson").then_repeat(chunk, 4_000).then("0\r\n\r\n");
    for version in Version::ALL {
        ollama.on("/api/chat", long.clone());
        let before = ollama.count();
        let mut stalls = Box::pin(Stream::open(&gateway, version, &chat("tiny", &gateway.user))).await;
        stalls.frames(1).await;
        ollama.wait_for_whole(before + 1).await;
        ollama.on("/api/chat", Reply::recording("chat_stream"));
        let asked = Instant::now();
        let next = Box::pin(gateway.send(chat("tiny", &gateway.admin)));
        within_time(Duration::from_secs(5), "the slot", next).await.expect(200);
        assert!(asked.elapsed() < Duration::from_secs(2), "{version:?}: after {:?}", asked.elapsed());
        drop(stalls);
    }
}

/// What follows the protocol's end is HTTP's own end and nothing else: nobody waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_is_over_with_the_protocols_end_though_https_own_end_is_late() {
    let ollama = Ollama::start().await;
    let setup = Setup::before(&ollama).set("queue", "slots", "1").set("upstream", "max_connections", "1");
    let gateway = Box::pin(setup.set("queue", "wait", "\"50ms\"").start()).await;
    let line = json!({"model": "tiny", "message": {"role": "assistant", "content": ""}, "done": true});
    let endless = Reply::chunked_head("application/x-ndjson").then_chunk(format!("{line}\n")).then_stall();
    for version in Version::ALL {
        ollama.on("/api/chat", endless.clone());
        let mut first = Box::pin(Stream::open(&gateway, version, &chat("tiny", &gateway.user))).await;
        assert_eq!(first.read_to_end().await.len(), 1);
        ollama.on("/api/chat", Reply::recording("chat_stream"));
        Box::pin(gateway.send(chat("tiny", &gateway.admin))).await.expect(200);
    }
}
