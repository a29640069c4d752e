//! The end: no new connections, running streams to their end, exit code 0, and not for ever.

use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, Wire, within};
use serde_json::json;
use std::time::Duration;

fn chat(gateway: &Gateway) -> Request {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    Request::post("/api/chat", &body).key(&gateway.user)
}

#[tokio::test(flavor = "multi_thread")]
async fn running_streams_finish_and_nothing_new_is_taken() {
    let ollama = Ollama::start().await;
    let mut gateway = Setup::before(&ollama).start().await;
    let (reply, gate) = Reply::recording("chat_stream").gated();
    ollama.on("/api/chat", reply);
    let mut streams = Vec::new();
    for version in Version::ALL {
        let mut stream = Stream::open(&gateway, version, &chat(&gateway)).await;
        stream.frames(1).await;
        streams.push(stream);
    }
    let mut idle = Wire::tls(&gateway).await;
    idle.exchange(&Request::get("/api/health")).await.expect(200);
    let address = gateway.https();
    gateway.signal("TERM");
    gateway.event("stopping").await;
    within("the listener to close", async {
        while tokio::net::TcpStream::connect(address).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    idle.read_to_end().await;
    assert!(!gateway.ends_within(Duration::from_millis(300)).await, "two streams are running");
    gate.open_all();
    for mut stream in streams {
        assert_eq!(stream.read_to_end().await.len(), 17);
    }
    assert_eq!(gateway.ended().await, 0);
    gateway.event("stopped").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_never_ends_is_cut_at_the_deadline() {
    let ollama = Ollama::start().await;
    let mut gateway = Setup::before(&ollama).set("server", "drain_timeout", "\"1s\"").start().await;
    ollama.on("/api/chat", Reply::recording("chat_stream").cut_after(3).then_stall());
    let mut stream = Stream::open(&gateway, Version::One, &chat(&gateway)).await;
    stream.frames(2).await;
    let received = ollama.wait_for(1).await;
    assert_eq!(gateway.stop().await, 0);
    while let Ok(true) = stream.more().await {}
    ollama.wait_closed(received.connection).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_with_nothing_to_do_ends_at_once() {
    let ollama = Ollama::start().await;
    let mut gateway = Setup::before(&ollama).set("server", "drain_timeout", "\"30s\"").start().await;
    let _mute = Wire::cleartext(gateway.https()).await;
    gateway.signal("TERM");
    assert!(gateway.ends_within(Duration::from_secs(8)).await, "a mute client must not hold it up");
}
