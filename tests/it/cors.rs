//! Browsers: who may read an answer, and that it is said once, on every answer.

use crate::harness::client::Answer;
use crate::harness::stream::Version;
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, routes};
use serde_json::json;

const OURS: &str = "https://chat.example.org";

async fn ground() -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama)
        .set("cors", "origins", &format!("[\"{OURS}\", \"app://obsidian.md\"]"))
        .set("cors", "credentials", "true")
        .set("limits", "chat", "{ rate = \"1/day\", burst = 1 }")
        .set("validation", "max_message_chars", "1000000")
        .start()
        .await;
    (ollama, gateway)
}

fn chat(gateway: &Gateway) -> Request {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    Request::post("/api/chat", &body).key(&gateway.user)
}

#[track_caller]
fn assert_readable(answer: &Answer, origin: &str, what: &str) {
    assert_eq!(answer.one("access-control-allow-origin"), Some(origin), "{what} ({})", answer.status);
    assert_eq!(answer.one("access-control-allow-credentials"), Some("true"), "{what}");
    assert!(varies_by_origin(answer), "{what}: Vary is {:?}", answer.all("vary"));
    let exposed = answer.one("access-control-expose-headers").unwrap_or_default().to_ascii_lowercase();
    assert!(exposed.contains("x-request-id") && exposed.contains("retry-after"), "{what}: exposes {exposed:?}");
}

fn varies_by_origin(answer: &Answer) -> bool {
    answer.all("vary").iter().any(|vary| vary.to_ascii_lowercase().split(',').any(|name| name.trim() == "origin"))
}

#[tokio::test(flavor = "multi_thread")]
async fn our_origin_may_read_every_answer_refusals_included() {
    let (ollama, gateway) = ground().await;
    ollama.on("/api/embed", Reply::json(500, "{\"error\":\"x\"}"));
    let key = gateway.user.clone();
    let part = json!({"role": "user", "content": "a".repeat(900_000)});
    let large = json!({"model": "tiny", "messages": [part, part, part]});
    let large = Request::post("/api/chat", &large);
    let cases = [
        (200, Request::get("/api/tags").key(&key)),
        (200, chat(&gateway)),
        (429, chat(&gateway)),
        (401, Request::get("/api/tags")),
        (401, Request::get("/api/tags").key("wrong")),
        (403, Request::new("DELETE", "/api/delete").key(&key).body("{}").header("Content-Type", "application/json")),
        (404, Request::get("/nothing").key(&key)),
        (405, Request::get("/api/chat").key(&key)),
        (413, large.key(&gateway.admin)),
        (415, Request::new("POST", "/api/show").key(&key).header("Content-Type", "text/plain").body("{}")),
        (400, Request::post("/api/show", &json!([])).key(&key)),
        (502, Request::post("/api/embed", &json!({"model": "tiny", "input": "hi"})).key(&key)),
        (200, Request::get("/api/health")),
    ];
    for (status, request) in cases {
        for version in Version::ALL {
            if (status == 200 || status == 413) && request.path == "/api/chat" && version == Version::Two {
                continue;
            }
            let what = format!("{} {} {version:?}", request.method, request.path);
            let answer = version.send(&gateway, request.clone().header("Origin", OURS)).await;
            assert_eq!(answer.status, status, "{what}: {}", String::from_utf8_lossy(&answer.body));
            assert_readable(&answer, OURS, &what);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_other_origin_may_read_anything() {
    let (ollama, gateway) = ground().await;
    for origin in [
        "https://attacker.example",
        "null",
        "http://chat.example.org",
        "https://chat.example.org:8443",
        "https://chat.example.org.attacker.example",
        "https://evilchat.example.org",
        "https://sub.chat.example.org",
        "https://CHAT.example.org.",
        "https://chat.example.org/",
        "http://localhost:3000",
        "file://",
        "*",
    ] {
        for request in [Request::get("/api/tags").key(&gateway.user), Request::preflight("/api/tags", origin, "GET")] {
            let what = format!("{} from {origin}", request.method);
            let request = if request.method == "GET" { request.header("Origin", origin) } else { request };
            let answer = gateway.send(request).await;
            assert_eq!(answer.one("access-control-allow-origin"), None, "{what}");
            assert_eq!(answer.one("access-control-allow-credentials"), None, "{what}");
            assert!(varies_by_origin(&answer), "{what}: a cache must not mix answers up");
        }
    }
    for received in ollama.received() {
        assert_eq!(received.head.one("origin"), None);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_needs_no_key_and_allows_what_the_official_clients_send() {
    let (ollama, gateway) = ground().await;
    for (path, method) in
        [("/api/chat", "POST"), ("/api/delete", "DELETE"), ("/v1/messages", "POST"), ("/api/tags", "GET")]
    {
        for version in Version::ALL {
            let request = Request::preflight(path, OURS, method)
                .header("Access-Control-Request-Headers", "authorization,content-type,x-stainless-os");
            let answer = version.send(&gateway, request).await.expect(204);
            assert_readable_preflight(&answer, method);
        }
    }
    ollama.assert_nothing_received();
}

#[track_caller]
fn assert_readable_preflight(answer: &Answer, method: &str) {
    assert_eq!(answer.one("access-control-allow-origin"), Some(OURS));
    let list = |name| -> Vec<String> {
        let value = answer.one(name).unwrap_or_else(|| panic!("no {name}"));
        value.split(',').map(|word| word.trim().to_ascii_lowercase()).collect()
    };
    assert!(list("access-control-allow-methods").contains(&method.to_ascii_lowercase()));
    let headers = list("access-control-allow-headers");
    for name in [
        "authorization",
        "content-type",
        "x-api-key",
        "anthropic-version",
        "anthropic-beta",
        "anthropic-dangerous-direct-browser-access",
        "x-stainless-lang",
        "x-stainless-package-version",
        "x-stainless-os",
        "x-stainless-arch",
        "x-stainless-runtime",
        "x-stainless-runtime-version",
        "x-stainless-retry-count",
        "x-stainless-timeout",
        "x-stainless-helper-method",
    ] {
        assert!(headers.iter().any(|header| header == name), "{name} is not among {headers:?}");
    }
    assert!(!headers.contains(&"*".to_owned()), "a star is not for requests with credentials");
    assert_eq!(answer.one("access-control-allow-private-network"), None);
    assert!(answer.body.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_environment_overrides_the_file() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama)
        .set("cors", "origins", "[\"https://file.example\"]")
        .environment("CORS_ORIGINS", "https://one.example,https://two.example")
        .environment("CORS_ALLOW_CREDENTIALS", "true")
        .environment("CORS_ALLOW_METHODS", "GET,POST")
        .environment("CORS_ALLOW_HEADERS", "X-Mine")
        .start()
        .await;
    for (origin, allowed) in
        [("https://one.example", true), ("https://two.example", true), ("https://file.example", false)]
    {
        let answer = gateway.send(Request::preflight("/api/chat", origin, "POST")).await;
        assert_eq!(answer.one("access-control-allow-origin").is_some(), allowed, "{origin}");
        if allowed {
            assert_eq!(answer.one("access-control-allow-credentials"), Some("true"));
            assert!(answer.one("access-control-allow-headers").unwrap().to_ascii_lowercase().contains("x-mine"));
            assert!(!answer.one("access-control-allow-methods").unwrap().contains("DELETE"));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_origin_with_credentials_does_not_start() {
    let ollama = Ollama::start().await;
    let setup = Setup::before(&ollama).set("cors", "origins", "[\"*\"]").set("cors", "credentials", "true");
    let (code, _, stderr) = setup.run(&["check"]).await;
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("credentials") && stderr.contains("gateway.toml:"), "{stderr}");
    assert_eq!(setup.run(&["serve"]).await.0, 2);
}
