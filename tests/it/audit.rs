//! What the running binary writes: one record a request, security events by their fixed names, and never a secret.

use crate::harness::calls::Call;
use crate::harness::gateway::field;
use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, Wire, routes};
use ollama_gateway::ollama::endpoint::{Class, Endpoint};
use serde_json::{Value, json};

const PROMPT: &str = "a very private prompt";
const ANSWER: &str = "a very private answer";

fn chat(key: &str, model: &str) -> Request {
    let body = json!({"model": model, "messages": [{"role": "user", "content": PROMPT}], "stream": false});
    Request::post("/api/chat", &body).key(key)
}

fn said() -> Reply {
    let message = json!({"role": "assistant", "content": ANSWER});
    let counts = json!({"model": "tiny", "message": message, "done": true, "prompt_eval_count": 7, "eval_count": 9});
    Reply::json(200, &counts.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn one_record_a_request_with_what_an_operator_needs() {
    let ollama = routes::recorded().await;
    ollama.on("/api/chat", said());
    let gateway = Setup::before(&ollama).start().await;
    for version in Version::ALL {
        let answer = version.send(&gateway, chat(&gateway.user, "tiny")).await.expect(200);
        let record = gateway.record(answer.id()).await;
        for (name, value) in [
            ("endpoint", "chat"),
            ("status", "200"),
            ("model", "tiny:latest"),
            ("method", "POST"),
            ("path", "/api/chat"),
            ("client", "127.0.0.1"),
            ("outcome", "completed"),
            ("role", "user"),
            ("prompt_tokens", "7"),
            ("output_tokens", "9"),
        ] {
            assert_eq!(field(&record, name), value, "{name} in {record}");
        }
        assert!(gateway.user.contains(&field(&record, "principal")), "the public id of the key: {record}");
        for name in ["duration_ms", "bytes_in", "bytes_out"] {
            assert!(field(&record, name).parse::<f64>().unwrap() > 0.0, "{name} in {record}");
        }
        for name in ["timestamp", "level", "target"] {
            assert!(record.get(name).is_some(), "{name} in {record}");
        }
        let same = gateway.events("request").iter().filter(|r| field(r, "request_id") == answer.id()).count();
        assert_eq!(same, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_json_with_its_place_in_the_source() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    gateway.send(Request::get("/api/tags").key("wrong")).await.expect(401);
    gateway.event("request").await;
    for line in gateway.log_text().lines() {
        let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        let found = |names: [&str; 2]| names.iter().any(|name| event.get(*name).is_some());
        assert!(found(["file", "filename"]) && found(["line", "line_number"]), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn security_events_have_their_names() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama)
        .set("limits", "chat", "{ rate = \"1/day\", burst = 1 }")
        .set("cors", "origins", "[]")
        .start()
        .await;
    let key = &gateway.user;
    let in_url = format!("/api/tags?api_key={key}");
    let requests = [
        ("authentication_failure", Request::get("/api/tags").key("wrong")),
        ("authentication_failure", Request::get("/api/tags")),
        ("authorization_denied", Request::get("/api/status").key(key)),
        ("invalid_input", Request::post("/api/show", &json!([])).key(key)),
        ("host_refused", Request::get("/api/tags").key(key).header("Host", "attacker.example")),
        ("credential_in_url", Request::get(&in_url)),
        ("rate_limit_exceeded", chat(key, "tiny")),
    ];
    gateway.send(chat(key, "tiny")).await.expect(200);
    for (name, request) in requests {
        let answer = gateway.send(request).await;
        let event = gateway.event_where(name, |event| field(event, "request_id") == answer.id()).await;
        assert!(matches!(field(&event, "level").as_str(), "WARN" | "ERROR"), "{event}");
        assert_eq!(field(&event, "client"), "127.0.0.1");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_prompt_no_answer_and_no_key_is_ever_written() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).set("log", "level", "\"debug\"").start().await;
    let key = gateway.user.clone();
    ollama.on("/api/chat", said());
    gateway.send(chat(&key, "tiny")).await.expect(200);
    gateway.send_h2(chat(&key, "tiny")).await.expect(200);
    gateway.send(chat(&key, "nope model")).await;
    gateway.send(Request::post("/api/chat", &json!({"model": "tiny", "messages": PROMPT})).key(&key)).await;
    gateway.send(Request::get(&format!("/api/tags?key={key}"))).await;
    gateway.send(Request::get(&format!("/{key}"))).await;
    gateway.send(Request::get("/api/tags").header("Authorization", &key)).await;
    gateway.send(Request::get("/api/tags").header("X-Api-Key", &format!("{key}x"))).await;
    ollama.on("/api/chat", Reply::json(500, &json!({"error": format!("cannot do {PROMPT}")}).to_string()));
    let failed = gateway.send(chat(&key, "tiny")).await;
    gateway.record(failed.id()).await;
    let log = gateway.log_text();
    let secret = key.rsplit('_').next().unwrap();
    for line in log.lines() {
        assert!(!line.contains(&key) && !line.contains(secret), "a key is in the log: {line}");
    }
    assert!(!log.contains(ANSWER), "an answer is in the log");
    let quoted: Vec<&str> = log.lines().filter(|line| line.contains(PROMPT) && !line.contains("cannot do")).collect();
    assert!(quoted.is_empty(), "a prompt is in the log: {quoted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_client_writes_cannot_make_a_line_or_a_colour() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    let before = gateway.log_text().lines().count();
    let evil = "/x%0a{\"event\":\"ready\"}";
    let answer = gateway.send(Request::get(evil).header("User-Agent", "a\u{202e}b")).await;
    gateway.record(answer.id()).await;
    let mut wire = Wire::tls(&gateway).await;
    wire.write(b"GET /api/tags HTTP/1.1\r\nHost: localhost\r\nUser-Agent: \x1b[31mred\xc2\x9b\r\n\r\n").await;
    let answer = wire.answer(false).await;
    if !answer.all("x-request-id").is_empty() {
        gateway.record(answer.id()).await;
    }
    let log = gateway.log_text();
    assert_eq!(gateway.events("ready").len(), 1, "a forged event");
    assert!(!log.contains('\u{1b}') && !log.contains('\u{202e}') && !log.contains('\u{9b}'));
    assert!(log.lines().skip(before).all(|line| serde_json::from_str::<Value>(line).is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_ends_badly_has_its_record_too() {
    let ollama = Ollama::start().await;
    let gateway: Gateway = Setup::before(&ollama).start().await;
    ollama.on("/api/chat", Reply::recording("chat_stream").cut_after(3).then_stall());
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": PROMPT}]});
    let request = Request::post("/api/chat", &body).key(&gateway.user);
    let mut stream = Stream::open(&gateway, Version::One, &request).await;
    stream.frames(1).await;
    let id = stream.answer.id().to_owned();
    drop(stream);
    assert_eq!(field(&gateway.record(&id).await, "outcome"), "client_left");
    ollama.on("/api/chat", Reply::recording("chat_stream").cut_after(3).then_reset());
    let mut stream = Stream::open(&gateway, Version::One, &request).await;
    stream.read_to_end().await;
    let id = stream.answer.id().to_owned();
    assert_eq!(field(&gateway.record(&id).await, "outcome"), "upstream_failed");
}

/// Every route that runs a model, with an answer in which Ollama counts nothing; a client that leaves; a call that Ollama
/// does not take.
#[tokio::test(flavor = "multi_thread")]
async fn where_ollama_counts_nothing_the_record_has_an_estimate_and_says_so() {
    let ollama = routes::recorded().await;
    let gateway =
        Setup::before(&ollama).set("roles.user", "endpoints", "[\"inference\", \"v1-transcriptions\"]").start().await;
    let runs = Endpoint::ALL.into_iter().filter(|endpoint| endpoint.facts().class == Class::Inference);
    for call in runs.map(Call::of) {
        let answer = gateway.send(call.request(Some(&gateway.user))).await.expect(200);
        let record = gateway.record(answer.id()).await;
        assert!(["ollama", "estimate"].contains(&&*field(&record, "tokens_by")), "{:?}: {record}", call.endpoint);
        assert!(field(&record, "prompt_tokens").parse::<u64>().unwrap() > 0, "{:?}: {record}", call.endpoint);
    }
    let of = |record: &Value| ["prompt_tokens", "output_tokens", "tokens_by"].map(|name| field(record, name));
    let uncounted = json!({"model": "tiny", "message": {"role": "assistant", "content": ANSWER}, "done": true, "done_reason": "stop"});
    ollama.on("/api/chat", Reply::json(200, &uncounted.to_string()));
    let answer = gateway.send(chat(&gateway.user, "tiny")).await.expect(200);
    let [prompt, output, by] = of(&gateway.record(answer.id()).await);
    // A quarter of the characters of either.
    assert_eq!((&*prompt, &*by), ("6", "estimate"));
    assert!((5..60).contains(&output.parse::<u64>().unwrap()), "{output}");
    ollama.on("/api/chat", Reply::recording("chat_stream").cut_after(3).then_stall());
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": PROMPT}]});
    let mut stream = Stream::open(&gateway, Version::One, &Request::post("/api/chat", &body).key(&gateway.user)).await;
    stream.frames(2).await;
    let id = stream.answer.id().to_owned();
    drop(stream);
    let [prompt, output, by] = of(&gateway.record(&id).await);
    assert_eq!((&*prompt, &*by), ("6", "estimate"));
    assert!(["2", "3"].contains(&&*output), "{output}");
    ollama.on("/api/chat", Reply::json(404, "{\"error\":\"model 'tiny' not found\"}"));
    let answer = gateway.send(chat(&gateway.user, "tiny")).await.expect(404);
    let record = gateway.record(answer.id()).await;
    assert!(record["fields"].get("tokens_by").is_none(), "{record}");
}
