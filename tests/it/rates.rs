//! Limits as a caller meets them: what counts together, what is said, and what a refused one costs upstream.

use crate::harness::client::Answer;
use crate::harness::gateway::field;
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, Wire, routes};
use serde_json::json;

fn chat(key: &str) -> Request {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    Request::post("/api/chat", &body).key(key)
}

fn number(answer: &Answer, name: &str) -> u64 {
    answer.one(name).unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chat_rate_is_per_key_and_a_refused_request_says_when_to_come_back() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("limits", "chat", "{ rate = \"10/hour\", burst = 3 }");
    let other = setup.key("user").await;
    let gateway = setup.start().await;
    for _ in 0..3 {
        gateway.send(chat(&gateway.user)).await.expect(200);
    }
    let refused = gateway.send(chat(&gateway.user)).await.expect(429);
    let wait = number(&refused, "retry-after");
    assert!((1..=3600).contains(&wait), "{wait}");
    assert!(refused.fields.iter().any(|(name, _)| name.to_ascii_lowercase().starts_with("ratelimit")));
    assert_eq!(ollama.count(), 3, "a refused request costs Ollama nothing");
    gateway.send(chat(&other)).await.expect(200);
    gateway.send(Request::get("/api/tags").key(&gateway.user)).await.expect(200);
    let event = gateway.event("rate_limit_exceeded").await;
    assert_eq!(field(&event, "request_id"), refused.id());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_used_before_a_byte_of_the_body_is_read() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).set("limits", "chat", "{ rate = \"1/hour\", burst = 1 }").start().await;
    gateway.send(chat(&gateway.user)).await.expect(200);
    let head = Request::new("POST", "/api/chat").key(&gateway.user).header("Content-Type", "application/json");
    let mut wire = Wire::tls(&gateway).await;
    wire.write(&head.header("Content-Length", "1000000").bytes()).await;
    wire.answer(false).await.expect(429);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_general_rate_counts_every_route_of_a_key_and_every_dialect_says_429() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama)
        .set("limits", "general", "{ rate = \"10/hour\", burst = 4 }")
        .set("limits", "chat", "{ rate = \"10/hour\", burst = 4 }")
        .start()
        .await;
    for path in ["/api/tags", "/api/ps", "/v1/models", "/api/version"] {
        gateway.send(Request::get(path).key(&gateway.user)).await.expect(200);
    }
    let openai = gateway.send(Request::get("/v1/models").key(&gateway.user)).await.expect(429).json();
    assert_eq!(openai["error"]["type"], "rate_limit_error");
    let messages = json!({"model": "tiny", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
    let anthropic = gateway.send(Request::post("/v1/messages", &messages).key(&gateway.user)).await.expect(429).json();
    assert_eq!(anthropic["error"]["type"], "rate_limit_error");
    gateway.send(Request::get("/api/health")).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn anonymous_callers_count_by_address() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama)
        .set("auth", "anonymous", "true")
        .set("roles.anonymous", "endpoints", "[\"catalogue\"]")
        .set("roles.anonymous", "models", "[\"*\"]")
        .set("limits", "general", "{ rate = \"10/hour\", burst = 2 }")
        .set("limits", "chat", "{ rate = \"10/hour\", burst = 2 }")
        .start()
        .await;
    gateway.send(Request::get("/api/tags")).await.expect(200);
    gateway.send(Request::get("/api/tags").header("X-Forwarded-For", "10.1.1.1")).await.expect(200);
    gateway.send(Request::get("/api/tags").header("X-Forwarded-For", "10.1.1.2")).await.expect(429);
    gateway.send(Request::get("/api/tags").key(&gateway.user)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn health_has_a_rate_of_its_own() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).set("limits", "health", "{ rate = \"5/hour\", burst = 5 }").start().await;
    for _ in 0..5 {
        gateway.send(Request::get("/api/health")).await.expect(200);
    }
    gateway.send(Request::get("/api/health")).await.expect(429);
    gateway.send(Request::get("/api/tags").key(&gateway.user)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_overrides_the_rates_of_the_file() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).environment("RATE_LIMIT_CHAT", "2/hour").start().await;
    let mut statuses = Vec::new();
    for _ in 0..3 {
        statuses.push(gateway.send(chat(&gateway.user)).await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
}

#[tokio::test(flavor = "multi_thread")]
async fn guessing_keys_is_throttled_by_address_and_a_good_key_still_works() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama)
        .set("limits", "authentication_failures", "{ rate = \"5/hour\", burst = 5 }")
        .start()
        .await;
    let mut statuses = Vec::new();
    for number in 0..8 {
        statuses.push(gateway.send(Request::get("/api/tags").key(&format!("ogw_guess{number}"))).await.status);
    }
    assert_eq!(statuses, [401, 401, 401, 401, 401, 429, 429, 429]);
    let throttled = gateway.send(Request::get("/api/tags").key("ogw_again")).await.expect(429);
    assert!(number(&throttled, "retry-after") > 0);
    gateway.event("address_throttled").await;
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_address_are_bounded() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).set("limits", "connections_per_address", "4").start().await;
    let mut held = Vec::new();
    for _ in 0..4 {
        let mut wire = Wire::tls(&gateway).await;
        wire.exchange(&Request::get("/api/health")).await.expect(200);
        held.push(wire);
    }
    let mut fifth = Wire::cleartext(gateway.https()).await;
    fifth.read_to_end().await;
    gateway.event("connection_refused").await;
    held.pop();
    crate::harness::within("a slot to become free", async {
        loop {
            let stream = tokio::net::TcpStream::connect(gateway.https()).await.unwrap();
            let mut byte = [0];
            let closed = tokio::time::timeout(std::time::Duration::from_millis(200), stream.peek(&mut byte)).await;
            if closed.is_err() {
                break;
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_no_more_requests_in_flight_than_its_role_says() {
    let ollama = Ollama::start().await;
    let gateway: Gateway = Setup::before(&ollama).set("roles.user", "concurrent", "1").start().await;
    ollama.on("/api/chat", Reply::silence());
    let mut first = Wire::tls(&gateway).await;
    first.write(&chat(&gateway.user).bytes()).await;
    ollama.wait_for_whole(1).await;
    let refused = gateway.send(chat(&gateway.user)).await.expect(429);
    assert!(refused.one("retry-after").is_some());
    drop(first);
    ollama.wait_closed(ollama.received()[0].connection).await;
    ollama.on("/api/chat", Reply::recording("chat_nostream"));
    crate::harness::within("the slot to come back", async {
        while gateway.send(chat(&gateway.user)).await.status != 200 {}
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_without_a_credential_count_by_address_and_keep_no_connection_that_must_end() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("limits", "general", "{ rate = \"10/hour\", burst = 4 }");
    let gateway = setup.set("limits", "chat", "{ rate = \"10/hour\", burst = 4 }").start().await;
    for path in ["/api/tags", "/no-such-route", "/api/tags", "/.env"] {
        let status = gateway.send(Request::get(path)).await.status;
        assert!(matches!(status, 401 | 404), "{path}: {status}");
    }
    let refused = gateway.send(Request::get("/api/tags")).await.expect(429);
    assert!(number(&refused, "retry-after") >= 1);
    gateway.send(Request::get("/no-such-route")).await.expect(429);
    gateway.send(Request::get("/api/tags").key(&gateway.user)).await.expect(200);
    let mut wire = Wire::tls(&gateway).await;
    let two = b"POST /api/chat HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n";
    wire.write(&[&two[..], b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat()).await;
    let (bytes, _) = wire.read_to_end().await;
    let text = String::from_utf8_lossy(&bytes);
    assert_eq!((text.matches("HTTP/1.1 ").count(), text.contains("HTTP/1.1 400")), (1, true), "{text}");
}
