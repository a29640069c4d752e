//! Clients that leave, in every phase and both versions of HTTP: Ollama's work ends within 100 ms.
//!
//! `LEAVING_TRIES=200 cargo test --test it leaving:: -- --nocapture` prints how late it ended in so many tries of each.

use crate::harness::gateway::field;
use crate::harness::ollama::{Close, Received};
use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, Wire, http2};
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
    /// A sign of life has come, and nothing else.
    AfterAHeartbeat,
    /// Some frames have come.
    MidStream,
    /// A part of a body that is passed on has gone through.
    MidUpload,
}

impl Phase {
    const ALL: [Self; 5] =
        [Self::BeforeTheHead, Self::BeforeAWholeAnswer, Self::AfterAHeartbeat, Self::MidStream, Self::MidUpload];
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

/// How often each is tried, however soon one of them was soon enough.
fn tries() -> usize {
    std::env::var("LEAVING_TRIES").map_or(1, |text| text.parse().expect("LEAVING_TRIES is a number"))
}

#[expect(clippy::print_stderr, reason = "the figures of the long run are read by people")]
fn tell(what: &str, mut late: Vec<Duration>) {
    late.sort();
    let at = |part: usize| late[(late.len() - 1) * part / 100];
    eprintln!("{what}: {} tries, p50 {:.1?}, p99 {:.1?}, most {:.1?}", late.len(), at(50), at(99), at(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_leaves_ends_its_request_upstream_in_every_phase() {
    for version in Version::ALL {
        for phase in Phase::ALL {
            let ollama = Ollama::start().await;
            let beats = if phase == Phase::AfterAHeartbeat { "20ms" } else { "10s" };
            let setup = Setup::before(&ollama).set("upstream", "heartbeat_after", &format!("{beats:?}"));
            let gateway = Box::pin(setup.start()).await;
            let mut late = Vec::new();
            while late.len() < tries() || (late.len() < 6 && late.iter().all(|late| *late >= LEAVE)) {
                let (received, left, _connection) = Box::pin(leave(&ollama, &gateway, version, phase)).await;
                late.push(closed_after(&ollama, &received, left).await);
                let record = gateway.event_number("request", late.len()).await;
                let outcome = field(&record, "outcome");
                // One who leaves in the body has sent half a request.
                assert!(outcome == "client_left" || field(&record, "code") == "body_incomplete", "{record}");
            }
            assert!(late.iter().any(|late| *late < LEAVE), "{version:?} {phase:?}: upstream lived on for {late:?}");
            tell(&format!("{version:?} {phase:?}"), late);
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

fn request(gateway: &Gateway, phase: Phase) -> Request {
    match phase {
        Phase::BeforeAWholeAnswer => {
            let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
            Request::post("/api/chat", &body).key(&gateway.user)
        }
        Phase::MidUpload => {
            let request = Request::new("POST", &format!("/api/blobs/sha256:{}", "0".repeat(64))).key(&gateway.admin);
            request.header("Content-Length", "1000000").body(vec![0; 2_000])
        }
        Phase::BeforeTheHead | Phase::AfterAHeartbeat | Phase::MidStream => ask("/api/chat", gateway),
    }
}

/// Asks, waits for the phase, leaves; an HTTP/2 connection itself is kept open.
async fn leave(
    ollama: &Ollama,
    gateway: &Gateway,
    version: Version,
    phase: Phase,
) -> (Received, Instant, Option<http2::Client>) {
    let (request, number) = (request(gateway, phase), ollama.count() + 1);
    let stalls = Reply::recording("chat_stream").cut_after(4).then_stall();
    ollama.on("/api/chat", if phase == Phase::MidStream { stalls } else { Reply::silence() });
    match phase {
        Phase::AfterAHeartbeat | Phase::MidStream => {
            let mut stream = Stream::open(gateway, version, &request).await;
            if phase == Phase::MidStream {
                stream.frames(3).await;
            } else {
                assert_eq!(stream.more().await, Ok(true));
            }
            let received = ollama.wait_for_whole(number).await;
            return (received, Instant::now(), stream.leave()); // from left to right
        }
        Phase::BeforeTheHead | Phase::BeforeAWholeAnswer | Phase::MidUpload => {}
    }
    let arrives = async || {
        if phase == Phase::MidUpload { ollama.wait_for(number).await } else { ollama.wait_for_whole(number).await }
    };
    match version {
        Version::One => {
            let mut wire = Wire::tls(gateway).await;
            wire.write(&request.bytes()).await;
            let received = arrives().await;
            let left = Instant::now();
            drop(wire);
            (received, left, None)
        }
        Version::Two => {
            let mut client = http2::Client::connect(gateway).await;
            let (response, mut send) = client.begin(&request, false).await;
            send.send_data(request.body.clone().into(), phase != Phase::MidUpload).unwrap();
            let received = arrives().await;
            let left = Instant::now();
            send.send_reset(h2::Reason::CANCEL);
            drop(response);
            (received, left, Some(client))
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
