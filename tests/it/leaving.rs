//! Clients that leave, in every phase and both versions of HTTP: Ollama's work ends within 100 ms.

use crate::harness::gateway::field;
use crate::harness::ollama::{Close, Received};
use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Wire, http2};
use crate::streaming::{ask, ground};
use serde_json::json;
use std::time::{Duration, Instant};

/// How long after a client has left its request upstream may live (`lib.rs`, I9).
const LEAVE: Duration = Duration::from_millis(100);

/// When a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Ollama loads the model: no byte of an answer yet.
    BeforeTheHead,
    /// The same for an answer that is no stream.
    BeforeAWholeAnswer,
    /// Some frames have come.
    MidStream,
}

/// How late upstream is closed after a client left. A machine that is busy with other things only adds to it: so the least
/// of a few tries is what is asserted.
async fn lateness<F: Future<Output = Duration>>(attempt: impl Fn() -> F) -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..6 {
        least = least.min(attempt().await);
        if least < LEAVE {
            break;
        }
    }
    least
}

async fn closed_after(ollama: &Ollama, received: &Received, left: Instant) -> Duration {
    let (Close::Fin(ended) | Close::Reset(ended)) = ollama.wait_closed(received.connection).await;
    ended.saturating_duration_since(left)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_request_upstream_in_every_phase() {
    for version in Version::ALL {
        for phase in [Phase::BeforeTheHead, Phase::BeforeAWholeAnswer, Phase::MidStream] {
            let late = lateness(async || {
                let (ollama, gateway) = ground().await;
                let (received, left, _connection) = leave(&ollama, &gateway, version, phase).await;
                let late = closed_after(&ollama, &received, left).await;
                let record = gateway.event("request").await;
                assert!(!field(&record, "outcome").is_empty(), "{record}");
                late
            });
            let late = Box::pin(late).await;
            assert!(late < LEAVE, "{version:?} {phase:?}: upstream lived on for {late:?}");
        }
    }
}

/// What a client of HTTP/1.1 sends behind its request before it leaves.
const TOO_EARLY: [(&str, &[u8]); 3] =
    [("a byte", b"G"), ("a head", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"), ("much", &[b'x'; 100_000])];

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_is_noticed_though_it_sent_bytes_too_early() {
    for (what, bytes) in TOO_EARLY {
        for reply in [Reply::silence(), Reply::recording("chat_stream").cut_after(4).then_stall()] {
            let late = lateness(async || {
                let (ollama, gateway) = ground().await;
                ollama.on("/api/chat", reply.clone());
                let mut wire = Wire::tls(&gateway).await;
                wire.write(&[ask("/api/chat", &gateway).bytes(), bytes.to_vec()].concat()).await;
                let received = ollama.wait_for_whole(1).await;
                tokio::time::sleep(Duration::from_millis(50)).await; // the answer's first frames are on their way
                drop(wire);
                closed_after(&ollama, &received, Instant::now()).await
            });
            let late = Box::pin(late).await;
            assert!(late < LEAVE, "{what}: upstream lived on for {late:?}");
        }
    }
}

/// As nginx and Go have it: one that has closed its side is gone.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_closes_its_side_has_left() {
    let (ollama, gateway) = ground().await;
    ollama.on("/api/chat", Reply::silence());
    let mut wire = Wire::tls(&gateway).await;
    wire.write(&ask("/api/chat", &gateway).bytes()).await;
    let received = ollama.wait_for_whole(1).await;
    wire.half_close().await;
    closed_after(&ollama, &received, Instant::now()).await;
}

/// Asks, waits for the phase, leaves; an HTTP/2 connection itself is kept open.
async fn leave(
    ollama: &Ollama,
    gateway: &Gateway,
    version: Version,
    phase: Phase,
) -> (Received, Instant, Option<http2::Client>) {
    let request = match phase {
        Phase::BeforeAWholeAnswer => {
            let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
            Request::post("/api/chat", &body).key(&gateway.user)
        }
        Phase::BeforeTheHead | Phase::MidStream => ask("/api/chat", gateway),
    };
    if phase == Phase::MidStream {
        ollama.on("/api/chat", Reply::recording("chat_stream").cut_after(4).then_stall());
        let mut stream = Stream::open(gateway, version, &request).await;
        stream.frames(3).await;
        let received = ollama.wait_for_whole(1).await;
        return (received, Instant::now(), stream.leave());
    }
    ollama.on("/api/chat", Reply::silence());
    match version {
        Version::One => {
            let mut wire = Wire::tls(gateway).await;
            wire.write(&request.bytes()).await;
            let received = ollama.wait_for_whole(1).await;
            drop(wire);
            (received, Instant::now(), None)
        }
        Version::Two => {
            let mut client = http2::Client::connect(gateway).await;
            let (response, mut send) = client.begin(&request, false).await;
            send.send_data(request.body.clone().into(), true).unwrap();
            let received = ollama.wait_for_whole(1).await;
            send.send_reset(h2::Reason::CANCEL);
            drop(response);
            (received, Instant::now(), Some(client))
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_in_its_own_body_is_never_heard_of_upstream() {
    let (ollama, gateway) = ground().await;
    let whole = ask("/api/chat", &gateway).bytes();
    let mut wire = Wire::tls(&gateway).await;
    wire.write(&whole[..whole.len() - 5]).await;
    drop(wire);
    gateway.event("request").await;
    ollama.assert_nothing_received();
}
