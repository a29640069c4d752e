//! Traces: a stand-in collector decodes what it gets by the published definitions of OTLP.

use crate::harness::message::Head;
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, routes, within};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// Keeps what it is sent.
#[derive(Clone)]
struct Collector {
    url: String,
    got: Arc<Mutex<Vec<(Head, ExportTraceServiceRequest)>>>,
    more: Arc<Notify>,
}

impl Collector {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        let collector = Self { url, got: Arc::default(), more: Arc::default() };
        let this = collector.clone();
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                let mut bytes = Vec::new();
                let (head, length) = loop {
                    let mut piece = [0; 4096];
                    let count = socket.read(&mut piece).await.unwrap();
                    bytes.extend_from_slice(&piece[..count]);
                    let Some(end) = Head::end(&bytes) else { continue };
                    let head = Head::parse(&bytes.drain(..end).collect::<Vec<_>>());
                    let length: usize = head.one("content-length").unwrap().parse().unwrap();
                    break (head, length);
                };
                while bytes.len() < length {
                    socket.read_buf(&mut bytes).await.unwrap();
                }
                let message = ExportTraceServiceRequest::decode(bytes.as_slice()).expect("OTLP");
                this.got.lock().unwrap().push((head, message));
                this.more.notify_waiters();
                drop(socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await);
            }
        });
        collector
    }

    fn spans(&self) -> Vec<Span> {
        let got = self.got.lock().unwrap();
        let scopes = got.iter().flat_map(|(_, message)| &message.resource_spans).flat_map(|r| &r.scope_spans);
        scopes.flat_map(|scope| scope.spans.clone()).collect()
    }

    /// The span of a request.
    async fn span(&self, id: &str) -> Span {
        within("a span", async {
            loop {
                let more = self.more.notified();
                if let Some(span) = self.spans().into_iter().find(|span| text(span, "ollama_gateway.request_id") == id)
                {
                    return span;
                }
                more.await;
            }
        })
        .await
    }
}

fn attributes(span: &Span) -> BTreeMap<String, Value> {
    let pair =
        |a: &opentelemetry_proto::tonic::common::v1::KeyValue| (a.key.clone(), a.value.clone().unwrap().value.unwrap());
    span.attributes.iter().map(pair).collect()
}

fn text(span: &Span, name: &str) -> String {
    match attributes(span).get(name) {
        Some(Value::StringValue(text)) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn whole(span: &Span, name: &str) -> i64 {
    match attributes(span).get(name) {
        Some(Value::IntValue(number)) => *number,
        other => panic!("{name}: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn chat(key: &str, content: &str) -> Request {
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": content}]});
    Request::post("/api/chat", &chat).key(key)
}

async fn traced(more: impl FnOnce(Setup) -> Setup) -> (Ollama, Collector, Gateway) {
    let (ollama, collector) = (routes::recorded().await, Collector::start().await);
    let setup = Setup::before(&ollama).set("traces", "otlp", &format!("{:?}", collector.url));
    let gateway = more(setup).start().await;
    (ollama, collector, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_span_has_the_conventions_names_and_no_word_of_what_was_said() {
    let (ollama, collector, gateway) =
        traced(|setup| setup.environment("OTLP", "Bearer of-a-test").set("traces", "authorization", "\"env:OTLP\""))
            .await;
    let answer = gateway.send(chat(&gateway.user, "a secret word").header("traceparent", PARENT)).await.expect(200);
    let span = collector.span(answer.id()).await;
    assert_eq!((span.name.as_str(), span.kind), ("chat tiny:latest", 2));
    for (name, value) in [
        ("gen_ai.operation.name", "chat"),
        ("gen_ai.provider.name", "ollama"),
        ("gen_ai.request.model", "tiny:latest"),
        ("http.request.method", "POST"),
        ("http.route", "/api/chat"),
        ("ollama_gateway.outcome", "completed"),
    ] {
        assert_eq!(text(&span, name), value, "{name}");
    }
    assert_eq!(whole(&span, "http.response.status_code"), 200);
    assert_eq!((whole(&span, "gen_ai.usage.input_tokens"), whole(&span, "gen_ai.usage.output_tokens")), (25, 16));
    assert!(span.end_time_unix_nano > span.start_time_unix_nano, "{span:?}");
    assert!(span.parent_span_id.is_empty() && hex(&span.trace_id) != PARENT[3..35], "not from anybody: {span:?}");
    let record = gateway.record(answer.id()).await;
    assert_eq!(crate::harness::gateway::field(&record, "trace_id"), hex(&span.trace_id), "the log leads to it");
    ollama.on("/api/chat", Reply::json(500, "{\"error\":\"a path /root/x\"}"));
    let failed = gateway.send(chat(&gateway.user, "a secret word")).await.expect(502);
    let span = collector.span(failed.id()).await;
    assert_eq!((span.status.as_ref().unwrap().code, text(&span, "error.type")), (2, failed.code()), "{span:?}");
    gateway.send(Request::get("/wp-login.php")).await.expect(404);
    let last = gateway.send(Request::get("/api/version").key(&gateway.user)).await.expect(200);
    assert_eq!(collector.span(last.id()).await.name, "GET /api/version");
    assert_eq!(collector.spans().len(), 3, "what is for no endpoint has none");
    let (head, message) = collector.got.lock().unwrap()[0].clone();
    assert_eq!(head.one("content-type"), Some("application/x-protobuf"));
    assert_eq!(head.one("authorization"), Some("Bearer of-a-test"));
    let resource = message.resource_spans[0].resource.clone().unwrap();
    assert!(resource.attributes.iter().any(|attribute| attribute.key == "service.name"));
    let all = format!("{:?}", collector.spans());
    for secret in ["secret word", "127.0.0.1", "/root/x", gateway.user.as_str()] {
        assert!(!all.contains(secret), "{secret}: {all}");
    }
    for received in ollama.received() {
        assert_eq!(received.head.one("traceparent"), None, "Ollama is told nothing");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trusted_parent_is_followed_and_ollama_told_where_the_configuration_says_so() {
    let (ollama, collector, gateway) =
        traced(|setup| setup.set("traces", "trusted", "[\"127.0.0.0/8\"]").set("traces", "to_upstream", "true")).await;
    let answer = gateway.send(chat(&gateway.user, "x").header("traceparent", PARENT)).await.expect(200);
    let span = collector.span(answer.id()).await;
    assert_eq!((hex(&span.trace_id), hex(&span.parent_span_id)), (PARENT[3..35].into(), PARENT[36..52].into()));
    let told = ollama.received().pop().unwrap();
    let expected = format!("00-{}-{}-01", &PARENT[3..35], hex(&span.span_id));
    assert_eq!(told.head.one("traceparent"), Some(expected.as_str()));
    let unsampled = PARENT.replace("-01", "-00");
    let silent = gateway.send(chat(&gateway.user, "x").header("traceparent", &unsampled)).await.expect(200);
    for wrong in ["nonsense", &PARENT.to_uppercase(), "00-00000000000000000000000000000000-b7ad6b7169203331-01"] {
        let answer = gateway.send(chat(&gateway.user, "x").header("traceparent", wrong)).await.expect(200);
        let span = collector.span(answer.id()).await;
        assert!(span.parent_span_id.is_empty() && hex(&span.trace_id) != PARENT[3..35], "{wrong}: {span:?}");
    }
    let spans = collector.spans();
    assert!(!spans.iter().any(|span| text(span, "ollama_gateway.request_id") == silent.id()), "nobody wants it");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_collector_there_is_none_and_one_that_is_gone_holds_up_nobody() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    let answer = gateway.send(chat(&gateway.user, "x").header("traceparent", PARENT)).await.expect(200);
    let record = gateway.record(answer.id()).await;
    assert_eq!(crate::harness::gateway::field(&record, "trace_id"), "");
    crate::harness::clean::assert_all_clean(&ollama, "no traces");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let gone = format!("\"http://{closed}/v1/traces\"");
    let gateway = Setup::before(&ollama).set("traces", "otlp", &gone).start().await;
    gateway.send(chat(&gateway.user, "x")).await.expect(200);
    gateway.event("traces_not_taken").await;
    let metrics = crate::harness::Wire::cleartext(gateway.admin_listener()).await;
    let metrics = { metrics }.exchange(&Request::get("/metrics")).await.text();
    assert!(metrics.contains("ollama_gateway_spans_lost_total{reason=\"not_taken\"} 1"), "{metrics}");
}
