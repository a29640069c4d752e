//! Fifteen hundred clients that leave, in every phase and both versions of HTTP: nothing of theirs is left behind.

use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, Wire, http2, within, within_time};
use serde_json::json;
use std::time::Duration;

/// Streams of one connection that are reset at once, and connections of them.
const BATCH: usize = 60;
const BATCHES: usize = 20;
const SINGLE: usize = 300;

fn chat(model: &str, key: &str) -> Request {
    let said = json!([{"role": "user", "content": "hi"}]);
    Request::post("/api/chat", &json!({"model": model, "messages": said})).key(key)
}

/// File descriptors that the gateway has open.
fn descriptors(gateway: &Gateway) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", gateway.pid())).unwrap().count()
}

/// Streams that are reset while their body is sent, while they wait for a slot, and before their first byte.
async fn batch(gateway: &Gateway, number: usize) {
    let mut client = Box::pin(http2::Client::connect(gateway)).await;
    let mut streams = Vec::new();
    for stream in 0..BATCH {
        let request = chat("silent", &gateway.user);
        let (response, mut send) = Box::pin(client.begin(&request, false)).await;
        let half = stream % 4 == 0;
        let end = if half { request.body.len() / 2 } else { request.body.len() };
        send.send_data(request.body[..end].to_vec().into(), !half).unwrap();
        streams.push((response, send));
    }
    tokio::time::sleep(Duration::from_millis(15)).await;
    if number.is_multiple_of(2) {
        streams.iter_mut().for_each(|(_, send)| send.send_reset(h2::Reason::CANCEL));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// A client of HTTP/1.1 that leaves in its body, or before its first byte.
async fn single(gateway: &Gateway, number: usize) {
    let request = chat("silent", &gateway.user).bytes();
    let mut wire = Box::pin(Wire::tls(gateway)).await;
    let end = if number.is_multiple_of(3) { request.len() - 5 } else { request.len() };
    wire.write(&request[..end]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_that_leave_leave_nothing() {
    let ollama = Ollama::start().await;
    ollama.on("/api/chat", Reply::recording("chat_stream"));
    ollama.on_model("/api/chat", "silent:latest", Reply::silence());
    ollama.on_model("/api/chat", "stalls:latest", Reply::recording("chat_stream").cut_after(4).then_stall());
    let setup = Setup::before(&ollama)
        .set("queue", "slots", "4")
        .set("roles.user", "concurrent", "200")
        .set("roles.user", "tokens", "\"60000/day\"") // a reservation that stays takes 513 of them
        .set("upstream", "max_connections", "64");
    let gateway = Box::pin(setup.start()).await;
    Box::pin(gateway.send(chat("tiny", &gateway.user))).await.expect(200);
    let before = descriptors(&gateway);
    for number in 0..BATCHES {
        batch(&gateway, number).await;
    }
    for number in 0..SINGLE {
        single(&gateway, number).await;
    }
    for version in Version::ALL {
        for _ in 0..20 {
            let mut stream = Box::pin(Stream::open(&gateway, version, &chat("stalls", &gateway.user))).await;
            stream.frames(3).await;
            drop(stream.leave());
        }
    }
    // All four slots, and all two hundred places of this key, are free within seconds.
    let served = async {
        let all = (0..8).map(|_| Box::pin(gateway.send(chat("tiny", &gateway.user))));
        futures_util::future::join_all(all).await
    };
    for answer in within_time(Duration::from_secs(10), "all slots to be free", served).await {
        answer.expect(200);
    }
    let events = BATCHES * BATCH + SINGLE;
    within("every request to be told", async {
        while gateway.events("request").len() < events * 9 / 10 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    within("connections to be closed", async {
        while descriptors(&gateway) > before + 8 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
