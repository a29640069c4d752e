//! The stand-in itself: what it serves is what was recorded, and what it was sent is what it shows.

use crate::harness::ollama::{Close, servable};
use crate::harness::recording::Recording;
use crate::harness::reply::Step;
use crate::harness::wire::Ending;
use crate::harness::{Ollama, Reply, Request, Wire};
use serde_json::json;

#[tokio::test]
async fn every_recording_is_served_with_its_status_and_its_bytes() {
    let ollama = Ollama::start().await;
    let mut served = 0;
    for name in Recording::names() {
        let recording = Recording::load(&name);
        let broken_off = |answered: &str| answered.starts_with("incomplete");
        if !servable(&recording) || recording.answered().end.as_deref().is_some_and(broken_off) {
            continue;
        }
        let method = recording.request.method.as_deref().unwrap_or("GET");
        ollama.on("/recorded", Reply::recording(&name));
        let answer = Wire::cleartext(ollama.address).await.exchange(&Request::new(method, "/recorded")).await;
        assert_eq!(Some(answer.status), recording.answered().status, "{name}");
        assert_eq!(answer.text(), recording.answered().body(), "{name}");
        served += 1;
    }
    assert!(served > 500, "only {served} recordings were served");
}

#[tokio::test]
async fn a_stream_that_broke_off_breaks_off_again() {
    let ollama = Ollama::start().await;
    ollama.on("/api/chat", Reply::recording("server_sigterm_stream_native_chat"));
    let mut wire = Wire::cleartext(ollama.address).await;
    let (_, mut body) = wire.open(&Request::post("/api/chat", &json!({}))).await;
    while let Ok(piece) = body.piece(&mut wire).await {
        assert!(piece.is_some(), "the body must not end as if it were whole");
    }
}

#[tokio::test]
async fn a_reset_is_a_reset_and_a_close_is_seen() {
    let ollama = Ollama::start().await;
    ollama.on("/reset", Reply::chunked_head("text/plain").then_chunk("a").then_reset());
    let mut wire = Wire::cleartext(ollama.address).await;
    wire.write(&Request::get("/reset").bytes()).await;
    assert_eq!(wire.read_to_end().await.1, Ending::Reset);

    ollama.on("/stall", Reply::silence());
    let mut wire = Wire::cleartext(ollama.address).await;
    wire.write(&Request::get("/stall").bytes()).await;
    let received = ollama.wait_for(2).await;
    drop(wire);
    assert!(matches!(ollama.wait_closed(received.connection).await, Close::Fin(_)));
}

#[tokio::test]
async fn what_was_sent_is_kept_byte_for_byte() {
    let ollama = Ollama::start().await;
    let request = Request::post("/api/blobs/x", &json!({"model": "tiny"})).header("X-Odd", "kept");
    ollama.on_model("/api/blobs/x", "tiny", Reply::json(200, "{}"));
    Wire::cleartext(ollama.address).await.exchange(&request).await.expect(200);
    let received = ollama.wait_for_whole(1).await;
    assert_eq!(received.method(), "POST");
    assert_eq!(received.json(), json!({"model": "tiny"}));
    assert_eq!(received.sha256, "6357ff6e9f34c0a7e57c20c6e15fd20ad171329cacb1f3e4a627dfd9dc6df513");
    assert_eq!(ollama.raw(), vec![request.bytes()]);
}

#[tokio::test]
async fn a_gate_holds_back_what_follows() {
    let (reply, gate) = Reply::chunked("text/plain", ["a", "b", "c"]).gated();
    assert!(matches!(reply.steps[..4], [Step::Bytes(_), Step::Bytes(_), Step::Gate(_), Step::Bytes(_)]));
    let ollama = Ollama::start().await;
    ollama.on("/", reply);
    let mut wire = Wire::cleartext(ollama.address).await;
    let (_, mut body) = wire.open(&Request::get("/")).await;
    assert_eq!(body.next(&mut wire).await.unwrap(), b"a");
    gate.open();
    assert_eq!(body.next(&mut wire).await.unwrap(), b"b");
    gate.open_all();
    assert_eq!(body.next(&mut wire).await.unwrap(), b"c");
    assert_eq!(body.next(&mut wire).await, None);
}
