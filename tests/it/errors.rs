//! Errors: none of Ollama's own words reaches a client, and what does is JSON in the caller's dialect with the id that
//! is in the header and in the log.

use crate::harness::calls::Call;
use crate::harness::client::Answer;
use crate::harness::gateway::field;
use crate::harness::ollama::servable;
use crate::harness::recording::Recording;
use crate::harness::{Gateway, Ollama, Reply, Request, Setup};
use ollama_gateway::ollama::endpoint::{Dialect, Endpoint};
use serde_json::{Value, json};

/// What no answer may hold, besides the recorded errors themselves.
const TELLING: [&str; 9] =
    ["/usr/", "/var/", ".ollama", "dial tcp", "llama", "panic", "goroutine", "connection refused", "EOF"];

/// A key for every endpoint.
async fn ground() -> (Ollama, Gateway, String) {
    let ollama = Ollama::start().await;
    let every = "[\"inference\", \"catalogue\", \"management\", \"egress\", \"v1-transcriptions\"]";
    let setup = Setup::before(&ollama).set("roles.all", "endpoints", every).set("roles.all", "models", "[\"*\"]");
    let key = setup.key("all").await;
    let gateway = setup.start().await;
    (ollama, gateway, key)
}

/// The recorded answers that are errors, or streams with an error in them, each with the endpoint it was of.
fn recorded_errors() -> Vec<(String, Endpoint, Recording)> {
    let mut errors = Vec::new();
    for name in Recording::names() {
        let recording = Recording::load(&name);
        let (Some(method), Some(target)) = (&recording.request.method, &recording.request.target) else { continue };
        let path = target.split('?').next().unwrap();
        let Ok((endpoint, _)) = Endpoint::find(method, path) else { continue };
        if !servable(&recording) || method == "HEAD" {
            continue;
        }
        let answered = recording.answered();
        if answered.status >= Some(400) || !own_words(&answered.body()).is_empty() {
            errors.push((name, endpoint, recording));
        }
    }
    errors
}

/// The same call as a stream, where the recorded answer was one.
fn call_for(endpoint: Endpoint, recording: &Recording) -> Call {
    let mut call = Call::of(endpoint);
    let kind = recording.answered().headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("content-type"));
    let streams = kind.is_some_and(|(_, kind)| kind.contains("ndjson") || kind.contains("event-stream"));
    if call.body.get("stream").is_some() {
        call.body["stream"] = json!(streams);
    }
    call
}

/// Every text under `error` or `message` in a recorded body.
fn own_words(body: &str) -> Vec<String> {
    let mut words = Vec::new();
    for line in body.lines() {
        let json = line.strip_prefix("data: ").unwrap_or(line);
        if let Ok(value) = serde_json::from_str::<Value>(json) {
            collect(&value, &mut words);
        }
    }
    words
}

fn collect(value: &Value, words: &mut Vec<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        match inner.as_str() {
            Some(text) if matches!(name.as_str(), "error" | "message") => words.push(text.to_owned()),
            Some(_) | None => collect(inner, words),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_recorded_error_reaches_a_client() {
    let (ollama, gateway, key) = ground().await;
    let (mut tried, mut faults) = (0, Vec::new());
    for (name, endpoint, recording) in recorded_errors() {
        let call = call_for(endpoint, &recording);
        ollama.on(&call.path, Reply::recording(&name));
        let before = ollama.count();
        let answer = gateway.send(call.request(Some(&key))).await;
        if ollama.count() == before {
            continue; // answered here, so nothing of the recording can be in it
        }
        tried += 1;
        faults.extend(fault(&answer, endpoint, &recording).map(|fault| format!("{name}: {fault}")));
    }
    assert!(faults.is_empty(), "{} of {tried}\n{}", faults.len(), faults.join("\n"));
    assert!(tried > 100, "only {tried} recorded errors were served");
}

fn fault(answer: &Answer, endpoint: Endpoint, recording: &Recording) -> Option<String> {
    let (recorded, text) = (recording.answered(), String::from_utf8_lossy(&answer.body).into_owned());
    for words in own_words(&recorded.body()) {
        if words.len() > 8 && text.contains(words.as_str()) {
            return Some(format!("{words:?} in {text}"));
        }
    }
    if let Some(words) = TELLING.iter().find(|words| text.contains(**words)) {
        return Some(format!("{words:?} in {text}"));
    }
    if recorded.status >= Some(400) && answer.status < 400 {
        return Some(format!("{:?} became {}", recorded.status, answer.status));
    }
    let last = text.lines().last().unwrap_or_default();
    let Ok(body) = serde_json::from_str::<Value>(last.strip_prefix("data: ").unwrap_or(last)) else {
        return Some(format!("no JSON: {text}"));
    };
    let said = match endpoint.facts().dialect {
        Dialect::Ollama => body["error"].is_string(),
        Dialect::OpenAi | Dialect::Anthropic => body["error"]["message"].is_string(),
    };
    let complete = said && text.contains(answer.id());
    (!complete).then(|| format!("{}: not an error of the dialect with the id: {text}", answer.status))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_is_in_the_log_under_the_id_that_the_client_was_told() {
    let (ollama, gateway, key) = ground().await;
    ollama.on("/api/chat", Reply::recording("crash_runner_nostream_native_chat"));
    let answer = gateway.send(Call::of(Endpoint::Chat).request(Some(&key))).await;
    assert!(answer.status >= 500);
    let (id, body) = (answer.id().to_owned(), answer.json());
    assert_eq!(body["request_id"], json!(id));
    gateway.record(&id).await;
    let original = "an error was encountered while running the model";
    let log = gateway.log_text();
    let line = log.lines().find(|line| line.contains(original)).expect("the original in the log");
    assert!(line.contains(&id), "{line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_that_is_not_there_is_said_without_its_address() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gateway = Setup::before_address(nobody).start().await;
    for endpoint in [Endpoint::Chat, Endpoint::ChatCompletions, Endpoint::Messages, Endpoint::Tags] {
        let answer = gateway.send(Call::of(endpoint).request(Some(&gateway.user))).await;
        assert!(matches!(answer.status, 502 | 503), "{endpoint:?}: {}", answer.status);
        let text = answer.text();
        assert!(text.contains("Connection error - service unavailable"), "{endpoint:?}: {text}");
        assert!(!text.contains(&nobody.port().to_string()) && !text.to_lowercase().contains("refused"), "{text}");
        gateway.record(answer.id()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_json_is_refused_here_in_plain_words() {
    let (ollama, gateway, key) = ground().await;
    for bad in ["{", "[]", "null", "{\"model\":\"tiny\",}", "{\"model\":\"tiny\"} {}", "\u{feff}{\"model\":\"tiny\"}"] {
        let request = Request::new("POST", "/api/chat").header("Content-Type", "application/json").key(&key);
        let answer = gateway.send(request.body(bad)).await.expect(400);
        assert!(answer.text().contains("Invalid request format"), "{bad:?}: {}", answer.text());
        assert_eq!(answer.json()["request_id"], json!(answer.id()));
    }
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_model_and_a_model_that_is_not_allowed_look_the_same() {
    let ollama = crate::harness::routes::recorded().await;
    let setup = Setup::before(&ollama).set("roles.user", "models", "[\"nope\"]");
    let gateway = setup.start().await;
    let ask = async |model: &str| {
        let body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": false});
        let answer = gateway.send(Request::post("/api/chat", &body).key(&gateway.user)).await.expect(404);
        answer.text().replace(answer.id(), "ID").replace(model, "MODEL")
    };
    assert_eq!(ask("nope").await, ask("tiny").await);
    assert_eq!(ollama.count(), 1, "the model that is not allowed must not be asked for");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_code_in_its_record() {
    let (_ollama, gateway, key) = ground().await;
    let answer = gateway.send(Request::get("/nothing").key(&key)).await.expect(404);
    let record = gateway.record(answer.id()).await;
    assert_eq!(field(&record, "status"), "404");
    assert!(record.to_string().contains(&answer.code()), "{record}");
}
