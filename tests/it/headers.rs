//! The headers of every answer, whoever gave it.

use crate::harness::client::Answer;
use crate::harness::stream::Version;
use crate::harness::{Gateway, Ollama, Request, Setup, Wire, routes};
use serde_json::json;
use std::collections::HashSet;

const EVERY_ANSWER: [(&str, &str); 6] = [
    ("strict-transport-security", "max-age=31536000; includeSubDomains"),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "SAMEORIGIN"),
    ("referrer-policy", "strict-origin-when-cross-origin"),
    ("cache-control", "no-store"),
    ("x-xss-protection", "1; mode=block"),
];

async fn ground() -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).with_http().start().await;
    (ollama, gateway)
}

fn requests(gateway: &Gateway) -> Vec<(u16, Request)> {
    let key = &gateway.user;
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    let openai = json!({"model": "tiny", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    vec![
        (200, Request::get("/")),
        (200, Request::get("/api/health")),
        (200, Request::get("/api/tags").key(key)),
        (200, Request::new("HEAD", "/api/tags").key(key)),
        (200, Request::post("/api/chat", &chat).key(key)),
        (200, Request::post("/v1/chat/completions", &openai).key(key)),
        (401, Request::get("/api/tags")),
        (403, Request::get("/api/status").key(key)),
        (404, Request::get("/nothing")),
        (405, Request::get("/api/chat").key(key)),
        (415, Request::new("POST", "/api/chat").key(key).body("x")),
    ]
}

#[track_caller]
fn assert_safe(answer: &Answer, what: &str) {
    for (name, value) in EVERY_ANSWER {
        let value = if name == "x-xss-protection" { answer.one(name).unwrap_or("") } else { value };
        assert_eq!(answer.one(name), Some(value), "{what}: {name}");
    }
    assert!(matches!(answer.one("x-xss-protection"), Some("0" | "1; mode=block")), "{what}");
    let policy = answer.one("content-security-policy").unwrap_or_default();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors"), "{what}: CSP {policy:?}");
    for name in ["server", "x-powered-by", "via", "set-cookie", "content-encoding"] {
        assert_eq!(answer.one(name), None, "{what}: {name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_has_them_and_an_id_of_its_own() {
    let (_ollama, gateway) = ground().await;
    let mut ids = HashSet::new();
    for version in Version::ALL {
        for (status, request) in requests(&gateway) {
            let what = format!("{} {} {version:?}", request.method, request.path);
            let answer = version.send(&gateway, request).await;
            assert_eq!(answer.status, status, "{what}");
            assert_safe(&answer, &what);
            assert!(ids.insert(answer.id().to_owned()), "{what}: the id was used before");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_of_the_client_is_not_taken_over() {
    let (ollama, gateway) = ground().await;
    let answer = gateway.send(Request::get("/api/tags").key(&gateway.user).header("X-Request-Id", "mine")).await;
    assert_ne!(answer.id(), "mine");
    assert!(ollama.received().iter().all(|received| received.head.one("x-request-id") != Some("mine")));
}

#[tokio::test(flavor = "multi_thread")]
async fn content_types_are_those_of_the_protocol() {
    let (_ollama, gateway) = ground().await;
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    let stream = json!({"model": "tiny", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    for (request, kind) in [
        (Request::get("/api/tags"), "application/json"),
        (Request::post("/api/chat", &chat), "application/x-ndjson"),
        (Request::post("/v1/chat/completions", &stream), "text/event-stream"),
        (Request::post("/v1/chat/completions", &chat), "application/json"),
    ] {
        let answer = gateway.send(request.clone().key(&gateway.user)).await.expect(200);
        assert!(answer.one("content-type").unwrap().starts_with(kind), "{}: {kind}", request.path);
    }
    let refusal = gateway.send(Request::get("/nothing")).await;
    assert!(refusal.one("content-type").unwrap().starts_with("application/json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_likes_compression_gets_none() {
    let (_ollama, gateway) = ground().await;
    let request = Request::get("/api/tags").key(&gateway.user).header("Accept-Encoding", "gzip, br, zstd");
    let answer = gateway.send(request).await.expect(200);
    assert_eq!(answer.one("content-encoding"), None);
    assert!(answer.json()["models"].is_array());
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_redirects_reading_and_refuses_the_rest() {
    let (ollama, gateway) = ground().await;
    let send = async |request: &Request| Wire::cleartext(gateway.http()).await.exchange(request).await;
    for path in ["/", "/api/health", "/docs?x=1"] {
        let answer = send(&Request::get(path)).await.expect(301);
        let location = answer.one("location").unwrap().to_owned();
        assert!(location.starts_with("https://localhost") && !location.contains("attacker"), "{location}");
    }
    let post = Request::post("/api/chat", &json!({"model": "tiny"}));
    let answer = send(&post).await;
    assert!(matches!(answer.status, 400 | 403 | 404 | 405 | 421 | 426), "{}", answer.status);
    assert!(answer.json()["error"].is_string());
    assert_eq!(answer.one("location"), None, "a body must not be sent again in clear");
    for leaked in [post.key(&gateway.user), Request::get("/api/tags").key(&gateway.user)] {
        let answer = send(&leaked).await;
        assert!((400..500).contains(&answer.status), "{}: a key in clear is refused, not redirected", answer.status);
    }
    gateway.event("credential_in_cleartext").await;
    assert!(!gateway.log_text().contains(&gateway.user), "reported, not repeated");
    let foreign = send(&Request::get("/").header("Host", "attacker.example")).await;
    assert!(foreign.one("location").is_none_or(|location| !location.contains("attacker")), "an open redirect");
    ollama.assert_nothing_received();
}
