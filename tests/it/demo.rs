//! The stand-in of `try` against recordings of a real Ollama: the same status, headers, framing and keys, at the same
//! places of a stream; and every text that it makes says what it is.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use ollama_gateway::demo;
use serde_json::{Map, Value, json};
use std::error::Error;
use std::time::{Duration, Instant};

type Fallible<T> = Result<T, Box<dyn Error>>;

/// A recorded or real answer.
struct Exchange {
    status: u64,
    headers: Vec<(String, String)>,
    frames: Vec<(Duration, String)>,
}

impl Exchange {
    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    fn text(&self) -> String {
        self.frames.iter().map(|(_, text)| text.as_str()).collect()
    }

    /// The values of the body, each with the name of its event; equal shapes in a row are one.
    fn shapes(&self) -> Vec<(String, Value)> {
        let (text, mut name) = (self.text(), String::new());
        let mut shapes = Vec::new();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(event) = line.strip_prefix("event: ") {
                event.clone_into(&mut name);
                continue;
            }
            let data = line.strip_prefix("data: ").unwrap_or(line);
            let shape = serde_json::from_str(data).map_or_else(|_| data.into(), |value: Value| shape(&value));
            shapes.push((name.clone(), shape));
        }
        shapes.dedup();
        shapes
    }
}

/// Keys and types; of a list, those of its first item.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(value) => json!(value),
        Value::Number(_) => json!("number"),
        Value::String(_) => json!("text"),
        Value::Array(items) => items.first().map_or_else(|| json!([]), |item| json!([shape(item)])),
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            sorted.into_iter().map(|(name, value)| (name.clone(), shape(value))).collect::<Map<_, _>>().into()
        }
    }
}

/// A recorded request, its body, and what Ollama answered.
fn recorded(text: &str) -> Fallible<(String, String, Value, Exchange)> {
    let case: Value = serde_json::from_str(text)?;
    let field = |path: &str| case.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |path: &str| case.pointer(path).and_then(Value::as_array).into_iter().flatten();
    let text = |value: Option<&Value>| Some(value?.as_str()?.to_owned());
    let body = serde_json::from_str(&field("/request/body_text")).unwrap_or_default();
    let headers = list("/response/headers").filter_map(|pair| Some((text(pair.get(0))?, text(pair.get(1))?))).collect();
    let frames =
        list("/response/chunks").filter_map(|chunk| Some((Duration::ZERO, text(chunk.get("text"))?))).collect();
    let status = case.pointer("/response/status").and_then(Value::as_u64).unwrap_or_default();
    Ok((field("/request/method"), field("/request/target"), body, Exchange { status, headers, frames }))
}

/// What the stand-in answers.
async fn asked(demo: &demo::Demo, method: &str, target: &str, body: &Value) -> Fallible<Exchange> {
    let stream = tokio::net::TcpStream::connect(demo.address).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let sent = if body.is_null() { String::new() } else { body.to_string() };
    let request = Request::builder().method(method).uri(target).header("Host", "127.0.0.1");
    let (head, mut body) = sender.send_request(request.body(Full::new(Bytes::from(sent)))?).await?.into_parts();
    let (started, mut frames) = (Instant::now(), Vec::new());
    while let Some(frame) = body.frame().await {
        if let Ok(bytes) = frame?.into_data() {
            frames.push((started.elapsed(), String::from_utf8(bytes.to_vec())?));
        }
    }
    connection.abort();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    Ok(Exchange { status: head.status.as_u16().into(), headers, frames })
}

/// Asks the stand-in for what was asked of Ollama, of its own model, and compares.
async fn compare(demo: &demo::Demo, name: &str, text: &str) -> Fallible<()> {
    let (method, target, mut body, theirs) = recorded(text)?;
    if let Some(fields) = body.as_object_mut() {
        for field in ["model", "name"] {
            if let Some(model) = fields.get_mut(field).filter(|model| *model != "nope") {
                *model = json!("stand-in");
            }
        }
        fields.extend([("max_tokens".into(), json!(3)), ("options".into(), json!({"num_predict": 3}))]);
    }
    let target = target.replace("TINY", "STAND-IN").replace("%74", "t");
    let ours = asked(demo, &method, &target, &body).await?;
    assert_eq!(ours.status, theirs.status, "{name}: {}", ours.text());
    for header in ["Content-Type", "Cache-Control", "Allow"] {
        assert_eq!(ours.header(header), theirs.header(header), "{name}: {header}");
    }
    let streamed = theirs.frames.len() > 1;
    assert_eq!(ours.header("Transfer-Encoding") == Some("chunked"), streamed, "{name}: framing");
    if name == "show_legacy_name_field" {
        let keys = |exchange: &Exchange| -> Fallible<Vec<String>> {
            let value: Map<String, Value> = serde_json::from_str(&exchange.text())?;
            Ok(value.keys().cloned().collect())
        };
        assert_eq!(keys(&ours)?, keys(&theirs)?, "{name}");
    } else {
        assert_eq!(ours.shapes(), theirs.shapes(), "{name}");
    }
    Ok(())
}

macro_rules! like_ollama {
    ($($name:ident)*) => {
        #[tokio::test]
        async fn answers_have_the_recorded_shapes() -> Fallible<()> {
            let demo = demo::start().await?;
            $(compare(&demo, stringify!($name), include_str!(concat!("../cases/ollama/", stringify!($name), ".json"))).await?;)*
            Ok(())
        }
    };
}

like_ollama! {
    version_get ps_get path_tags_pct show_legacy_name_field show_missing show_empty_model notfound m_get_ps_post status_get
    chat_stream chat_nostream chat_no_model chat_empty_messages_load
    generate_nostream generate_stream_absent_default_true generate_missing generate_unload
    embed_string embed_array embed_none embed_number embed_missing embeddings_legacy_empty
    v1_models v1_model_upper v1_model_missing v1_chat_nostream v1_chat_stream v1_chat_stream_usage v1_chat_missing
    v1_chat_nomessages v1_completions v1_completions_stream v1_embeddings v1_embeddings_array_b64 v1_embeddings_noinput
    v1_messages v1_messages_stream v1_messages_missing v1_messages_no_messages v1_responses v1_responses_stream
    v1_responses_missing
}

#[tokio::test]
async fn every_text_says_what_it_is_and_comes_word_by_word() -> Fallible<()> {
    let demo = demo::start().await?;
    let hello = json!([{"role": "user", "content": "hello"}]);
    for (target, body) in [
        ("/api/chat", json!({"model": "stand-in", "messages": hello, "stream": false})),
        ("/api/generate", json!({"model": "stand-in", "prompt": "hello", "stream": false})),
        ("/v1/chat/completions", json!({"model": "stand-in", "messages": hello})),
        ("/v1/completions", json!({"model": "stand-in", "prompt": "hello"})),
        ("/v1/responses", json!({"model": "stand-in", "input": "hello"})),
        ("/v1/messages", json!({"model": "stand-in", "messages": hello, "max_tokens": 1000})),
    ] {
        let answer = asked(&demo, "POST", target, &body).await?;
        let says = "This is ollama-gateway's built-in stand-in: no Ollama answered on 127.0.0.1:11434.";
        assert!(answer.text().contains(says), "{target}: {}", answer.text());
    }
    let body = json!({"model": "stand-in", "messages": hello, "options": {"num_predict": 5}});
    let frames = asked(&demo, "POST", "/api/chat", &body).await?.frames;
    let (first, last) = (frames.first().ok_or("no frame")?, frames.last().ok_or("no frame")?);
    assert!(frames.len() == 6 && last.0 - first.0 >= Duration::from_millis(5 * 40 - 20), "{frames:?}");
    Ok(())
}

#[tokio::test]
async fn it_manages_nothing_and_ends_when_it_is_dropped() -> Fallible<()> {
    let demo = demo::start().await?;
    for target in ["/api/pull", "/api/push", "/api/create", "/api/copy", "/api/me", "/api/experimental/web_fetch"] {
        let answer = asked(&demo, "POST", target, &json!({"model": "stand-in"})).await?;
        let error: Value = serde_json::from_str(&answer.text())?;
        assert!(
            answer.status == 501 && error["error"].as_str().is_some_and(|text| text.contains("stand-in")),
            "{target}"
        );
    }
    let address = demo.address;
    assert!(address.ip().is_loopback());
    drop(demo);
    let deadline = Instant::now() + Duration::from_secs(5);
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        assert!(Instant::now() < deadline, "it still listens");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
