//! An Ollama that must not be trusted: what it may say about itself, and what it may do to the gateway.

use crate::harness::{Gateway, Ollama, Reply, Request, Setup, clean};
use serde_json::{Value, json};

fn chat(gateway: &Gateway, streams: bool) -> Request {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": streams});
    Request::post("/api/chat", &body).key(&gateway.user)
}

async fn ground() -> (Ollama, Gateway) {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).start().await;
    (ollama, gateway)
}

fn good_body() -> String {
    json!({"model": "tiny:latest", "message": {"role": "assistant", "content": "ok"}, "done": true}).to_string()
}

fn with_head(status: &str, fields: &str) -> Reply {
    let body = good_body();
    Reply::raw(format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json; charset=utf-8\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_headers_of_the_allow_list_pass() {
    let (ollama, gateway) = ground().await;
    let fields = "Set-Cookie: a=b\r\nServer: Ollama\r\nLocation: http://evil.example/\r\nX-Powered-By: Go\r\n\
                  Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Credentials: true\r\nVia: 1.1 x\r\n\
                  Content-Security-Policy: none\r\nX-Request-Id: theirs\r\nAlt-Svc: h3=\":443\"\r\nLink: <x>\r\n\
                  Strict-Transport-Security: max-age=0\r\nTrailer: X-Evil\r\nRefresh: 0\r\n";
    ollama.on("/api/chat", with_head("200 OK", fields));
    let answer = gateway.send(chat(&gateway, false)).await.expect(200);
    let never = [
        "set-cookie",
        "server",
        "location",
        "x-powered-by",
        "access-control-allow-origin",
        "via",
        "alt-svc",
        "link",
        "access-control-allow-credentials",
        "trailer",
        "refresh",
    ];
    for name in never {
        assert_eq!(answer.one(name), None, "{name}");
    }
    assert_ne!(answer.one("x-request-id"), Some("theirs"));
    assert_eq!(answer.one("strict-transport-security"), Some("max-age=31536000; includeSubDomains"));
    assert_eq!(answer.json()["message"]["content"], "ok");
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_upgrades_and_challenges_are_not_passed_on_nor_followed() {
    let (ollama, gateway) = ground().await;
    for status in ["301 Moved Permanently", "307 Temporary Redirect", "101 Switching Protocols", "401 Unauthorized"] {
        let fields = format!("Location: http://{}/other\r\nUpgrade: x\r\nConnection: Upgrade\r\n", ollama.address);
        ollama.on("/api/chat", with_head(status, &fields));
        let answer = gateway.send(chat(&gateway, false)).await;
        assert!(matches!(answer.status, 502 | 503), "{status} became {}", answer.status);
        assert_eq!(answer.one("location"), None, "{status}");
        assert!(answer.json()["error"].is_string(), "{status}");
    }
    assert!(ollama.received().iter().all(|received| received.path() == "/api/chat"), "a redirect was followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_what_its_head_says_is_an_error() {
    let (ollama, gateway) = ground().await;
    let typed = |kind: &str, body: &str| Reply::typed(200, kind, body);
    let compressed = "Content-Encoding: gzip\r\n";
    let cases = [
        ("HTML", typed("text/html", "<html>nginx</html>")),
        ("no JSON", typed("application/json", "nginx: bad gateway")),
        ("half a JSON", typed("application/json", "{\"model\":\"ti")),
        ("compressed", with_head("200 OK", compressed)),
        (
            "too short",
            Reply::raw("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n{}").then_fin(),
        ),
        ("no HTTP", Reply::raw("SSH-2.0-OpenSSH\r\n\r\n").then_fin()),
        ("nothing", Reply::hang_up()),
        ("two lengths", Reply::raw("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}").then_fin()),
    ];
    for (what, reply) in cases {
        ollama.on("/api/chat", reply);
        let answer = gateway.send(chat(&gateway, false)).await;
        assert!(matches!(answer.status, 502 | 503), "{what}: {} {:?}", answer.status, answer.text());
        assert!(answer.json()["error"].is_string(), "{what}");
        assert!(!answer.text().contains("nginx"), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_interim_answers_and_of_fields_is_bounded() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).set("upstream", "first_byte_timeout", "\"3s\"").start().await;
    let before = gateway.resident();
    let flood = Reply::raw("").then_repeat("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n", 200_000).then_stall();
    ollama.on("/api/chat", flood);
    let answer = gateway.send(chat(&gateway, false)).await;
    assert!(answer.status >= 500, "{}", answer.status);
    ollama.on("/api/chat", Reply::raw("HTTP/1.1 200 OK\r\n").then_repeat("X-A: a\r\n", 2_000_000).then_stall());
    let answer = gateway.send(chat(&gateway, false)).await;
    assert!(answer.status >= 500, "{}", answer.status);
    assert!(gateway.resident().saturating_sub(before) < 64 << 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_after_an_answer_is_no_answer_to_the_next_request() {
    let (ollama, gateway) = ground().await;
    let body = good_body();
    let extra = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"evil\":\"true\"}";
    let both = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}{extra}",
        body.len()
    );
    ollama.on("/api/chat", Reply::raw(both));
    for _ in 0..5 {
        let answer = gateway.send(chat(&gateway, false)).await;
        assert!(!answer.text().contains("evil"), "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_before_the_body_was_sent_is_an_answer() {
    let (ollama, gateway) = ground().await;
    let error = Reply::json(503, "{\"error\":\"server busy, please try again.  maximum pending requests exceeded\"}");
    ollama.on("/api/chat", error.before_body());
    let answer = gateway.send(chat(&gateway, false)).await.expect(503);
    assert!(answer.one("retry-after").is_some(), "waiting helps");
    assert!(!answer.text().contains("maximum pending"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_upstream_holds_nothing_of_the_clients_head() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).set("cors", "origins", "[\"https://page.example\"]").start().await;
    ollama.on("/api/chat", Reply::json(200, &good_body()));
    let request = chat(&gateway, false)
        .header("Origin", "https://page.example")
        .header("Cookie", "session=secret")
        .header("X-Forwarded-For", "6.6.6.6")
        .header("X_Odd_Header", "1")
        .header("User-Agent", "evil/1.0")
        .header("Accept-Language", "*")
        .header("Accept-Encoding", "gzip, zstd");
    gateway.send(request.clone()).await;
    gateway.send_h2(request).await;
    assert_eq!(ollama.count(), 2);
    for received in ollama.received() {
        clean::assert_clean(&ollama, &received, "a header of the client's");
        let head = String::from_utf8_lossy(&received.raw_head).into_owned();
        let bytes = [head.as_bytes(), &received.body].concat();
        let all = String::from_utf8_lossy(&bytes);
        assert!(
            !all.contains(&gateway.user)
                && !all.contains("evil")
                && !all.contains("page.example")
                && !all.contains("secret"),
            "{all}"
        );
        assert_eq!(received.head.one("x-forwarded-for"), Some("127.0.0.1"));
        assert_eq!(received.head.one("x-real-ip"), Some("127.0.0.1"));
        assert_eq!(received.head.one("x-forwarded-proto"), Some("https"));
        assert_eq!(received.json()["model"], Value::from("tiny:latest"), "the canonical name");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_of_the_configuration_turns_the_forwarding_fields_off() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).set("upstream", "forwarded_headers", "false").start().await;
    ollama.on("/api/chat", Reply::json(200, &good_body()));
    gateway.send(chat(&gateway, false)).await.expect(200);
    let head = ollama.received()[0].head.clone();
    for name in ["x-forwarded-for", "x-real-ip", "x-forwarded-proto"] {
        assert_eq!(head.one(name), None, "{name}");
    }
}
