//! Clients that take their time: each wait has its deadline, and none keeps another client waiting.

use crate::harness::frames::{DATA, Frame, Frames, HEADERS, Met, SETTINGS, WINDOW_UPDATE, block};
use crate::harness::wire::tls_stream;
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, Wire, routes, within_time};
use serde_json::json;
use std::time::{Duration, Instant};

/// The deadlines of these tests' gateways, and when a client must be gone.
const SHORT: &str = "\"400ms\"";
const SOON: Duration = Duration::from_secs(5);

async fn ground(keys: &[&str]) -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let setup = keys.iter().fold(Setup::before(&ollama), |setup, key| setup.set("server", key, SHORT));
    let gateway = setup.start().await;
    (ollama, gateway)
}

async fn assert_cut(wire: &mut Wire, what: &str) {
    let started = Instant::now();
    within_time(SOON, what, wire.read_to_end()).await;
    assert!(started.elapsed() > Duration::from_millis(50), "{what}: cut without any patience");
}

#[tokio::test(flavor = "multi_thread")]
async fn mute_clients_do_not_keep_others_waiting() {
    let (_ollama, gateway) = ground(&[]).await;
    let mut mute = Vec::new();
    for _ in 0..40 {
        mute.push(Wire::cleartext(gateway.https()).await);
    }
    let started = Instant::now();
    gateway.send(Request::get("/api/health")).await.expect(200);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_does_not_come_or_stops_is_cut() {
    let (_ollama, gateway) = ground(&["handshake_timeout"]).await;
    for (what, bytes) in [
        ("silence", &b""[..]),
        ("one byte", b"\x16"),
        ("half a hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
    ] {
        let mut wire = Wire::cleartext(gateway.https()).await;
        wire.write(bytes).await;
        assert_cut(&mut wire, what).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_does_not_come_or_drips_is_cut() {
    let (ollama, gateway) = ground(&["head_timeout"]).await;
    for (what, bytes) in
        [("no first byte", &b""[..]), ("a letter", b"P"), ("half a head", b"GET / HTTP/1.1\r\nHost: loc")]
    {
        let mut wire = Wire::tls(&gateway).await;
        wire.write(bytes).await;
        assert_cut(&mut wire, what).await;
    }
    let mut wire = Wire::tls(&gateway).await;
    wire.write(b"GET / HTTP/1.1\r\n").await;
    let dripping = async {
        loop {
            if !wire.try_write(b"X: a\r\n").await {
                return;
            }
            if let Ok(Err(_)) = tokio::time::timeout(Duration::from_millis(100), wire.fill()).await {
                return;
            }
        }
    };
    within_time(SOON, "a head that drips", dripping).await;
    for (what, count) in [("half a preface", 10), ("a preface and nothing more", 24)] {
        let stream = tls_stream(&gateway, "localhost", &["h2"]).await;
        let mut wire = Wire::over(stream);
        wire.write(&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..count]).await;
        assert_cut(&mut wire, what).await;
    }
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_with_nothing_to_do_is_closed() {
    let (_ollama, gateway) = ground(&["idle_timeout"]).await;
    let mut wire = Wire::tls(&gateway).await;
    wire.exchange(&Request::get("/api/health")).await.expect(200);
    assert_cut(&mut wire, "idle HTTP/1.1").await;
    let mut frames = Frames::connect(&gateway).await;
    frames.headers(1, 1, &head("GET", "/api/health", None)).await;
    assert!(matches!(frames.outcome(1).await, Met::Status(200, _)));
    let ended = async { while frames.read().await.is_some() {} };
    within_time(SOON, "idle HTTP/2", ended).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_connection_with_a_stream_on_it_is_not_idle() {
    let (ollama, gateway) = ground(&["idle_timeout", "head_timeout", "handshake_timeout"]).await;
    ollama.on("/api/chat", Reply::recording("chat_nostream").after(Duration::from_millis(1500)));
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    let request = Request::post("/api/chat", &body).key(&gateway.user);
    gateway.send(request.clone()).await.expect(200);
    gateway.send_h2(request).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stalls_or_trickles_is_cut_and_never_reaches_upstream() {
    let (ollama, gateway) = ground(&["body_grace"]).await;
    let head = Request::new("POST", "/api/chat").key(&gateway.user).header("Content-Type", "application/json");
    let stalled = head.clone().header("Content-Length", "1000").bytes();
    let mut wire = Wire::tls(&gateway).await;
    wire.write(&[&stalled[..], b"{\"model\""].concat()).await;
    let answer = within_time(SOON, "a refusal of a stalled body", wire.answer(false)).await.expect(408);
    assert!(answer.json()["error"].is_string());
    wire.read_to_end().await;
    let mut wire = Wire::tls(&gateway).await;
    wire.write(&head.header("Transfer-Encoding", "chunked").bytes()).await;
    let trickle = async {
        loop {
            if !wire.try_write(b"1\r\n \r\n").await {
                return;
            }
            if let Ok(Err(_)) = tokio::time::timeout(Duration::from_millis(100), wire.fill()).await {
                return;
            }
        }
    };
    within_time(SOON, "a body that trickles", trickle).await;
    let mut frames = Frames::connect(&gateway).await;
    let key = format!("Bearer {}", gateway.user);
    frames.headers(1, 0, &head_of_chat(&key)).await;
    frames.write(Frame { kind: DATA, flags: 0, stream: 1, payload: b"{\"model\"".to_vec() }).await;
    let met = within_time(SOON, "an HTTP/2 body that stalls", frames.outcome(1)).await;
    assert!(met.refused(), "{met:?}");
    ollama.assert_nothing_received();
}

/// It is too slow when its last byte comes, and was not before: that it is whole then makes it no faster.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_slow_is_refused_with_its_last_byte() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("server", "body_grace", "\"1200ms\"");
    let gateway = setup.set("server", "body_min_rate", "\"1 MiB\"").start().await;
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false}).to_string();
    let head = Request::new("POST", "/api/chat").key(&gateway.user).header("Content-Type", "application/json");
    let mut wire = Wire::tls(&gateway).await;
    wire.write(&head.header("Content-Length", &body.len().to_string()).bytes()).await;
    for piece in [&body[..1], &body[1..2], &body[2..]] {
        tokio::time::sleep(Duration::from_millis(780)).await; // less than the grace, and all of them a second more than it
        wire.write(piece.as_bytes()).await;
    }
    within_time(SOON, "a refusal of a slow body", wire.answer(false)).await.expect(408);
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_never_opens_is_a_stall() {
    let (ollama, gateway) = ground(&["write_stall_timeout"]).await;
    ollama.on("/api/chat", Reply::recording("chat_stream"));
    let mut frames = Frames::connect_with(&gateway, &[(4, 0)]).await;
    let key = format!("Bearer {}", gateway.user);
    frames.headers(1, 0, &head_of_chat(&key)).await;
    frames.data(1, 1, br#"{"model":"tiny","messages":[{"role":"user","content":"hi"}]}"#).await;
    let met = within_time(SOON, "a stream with no window", frames.outcome(1)).await;
    assert!(matches!(met, Met::Status(200, _) | Met::Reset(_) | Met::Gone(_)), "{met:?}");
    ollama.wait_answered(1).await;
    gateway.event("request").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_ask_for_nothing_do_not_keep_a_connection() {
    let (_ollama, gateway) = ground(&["idle_timeout", "head_timeout"]).await;
    let mut frames = Frames::connect(&gateway).await;
    let chatter = async {
        loop {
            let settings = frames.try_write(Frame { kind: SETTINGS, flags: 0, stream: 0, payload: Vec::new() }).await;
            let window = Frame { kind: WINDOW_UPDATE, flags: 0, stream: 0, payload: vec![0, 0, 0, 1] };
            if !settings || !frames.try_write(window).await {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within_time(SOON, "a connection that only chatters", chatter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_block_that_never_ends_is_cut() {
    let (ollama, gateway) = ground(&["head_timeout"]).await;
    let mut frames = Frames::connect(&gateway).await;
    let payload = block(&head("GET", "/api/tags", None));
    frames.write(Frame { kind: HEADERS, flags: 1, stream: 1, payload }).await;
    let met = within_time(SOON, "a header block without its end", frames.outcome(1)).await;
    assert!(met.refused(), "{met:?}");
    ollama.assert_nothing_received();
}

fn head<'a>(method: &'a str, path: &'a str, key: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let mut head = vec![(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)];
    head.extend(key.map(|key| ("authorization", key)));
    head
}

fn head_of_chat(key: &str) -> Vec<(&str, &str)> {
    let mut head = head("POST", "/api/chat", Some(key));
    head.push(("content-type", "application/json"));
    head
}
