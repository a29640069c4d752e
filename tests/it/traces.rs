//! Traces: a stand-in collector decodes what it gets by the published definitions of OTLP.

use crate::harness::gateway::field;
use crate::harness::message::Head;
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, hex, routes, within};
use crate::oidc::certificate;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_rustls::TlsAcceptor;

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
        let collector = Self::at("http", &listener);
        let this = collector.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                this.take(socket).await;
            }
        });
        collector
    }

    /// Behind a certificate for `localhost`, with the authority that signed it; a client that does not trust it goes away.
    async fn start_tls() -> (Self, String) {
        let (authority, leaf, key) = certificate();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialized_der().to_vec()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![leaf.der().clone()], key).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut collector = Self::at("https", &listener);
        collector.url = collector.url.replace("127.0.0.1", "localhost");
        let (this, acceptor) = (collector.clone(), TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                if let Ok(stream) = acceptor.accept(socket).await {
                    this.take(stream).await;
                }
            }
        });
        (collector, authority)
    }

    fn at(scheme: &str, listener: &TcpListener) -> Self {
        let url = format!("{scheme}://{}/v1/traces", listener.local_addr().unwrap());
        Self { url, got: Arc::default(), more: Arc::default() }
    }

    /// Reads a message, keeps it, and says so.
    async fn take(&self, mut socket: impl AsyncRead + AsyncWrite + Unpin) {
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
        self.got.lock().unwrap().push((head, message));
        self.more.notify_waiters();
        drop(socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await);
        drop(socket.shutdown().await);
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

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_a_collector_is_who_the_named_authority_says_and_nobody_else() {
    let ((collector, authority), ollama) = (Collector::start_tls().await, routes::recorded().await);
    let setup = Setup::before(&ollama).set("traces", "otlp", &format!("{:?}", collector.url));
    let gateway = setup.start().await;
    gateway.send(chat(&gateway.user, "x")).await.expect(200);
    let event = gateway.event("traces_not_taken").await;
    assert!(field(&event, "error").contains("UnknownIssuer"), "by the public roots it is nobody: {event}");
    let mut gateway = gateway;
    std::fs::write(gateway.setup.file("collector.pem"), authority).unwrap();
    let root = format!("{:?}", gateway.setup.file("collector.pem"));
    gateway.setup.put("traces", "root", &root);
    // In the folder of the configuration, which the process may still read.
    gateway.reload();
    gateway.event("policy_reloaded").await;
    let answer = gateway.send(chat(&gateway.user, "x")).await.expect(200);
    assert_eq!(text(&collector.span(answer.id()).await, "ollama_gateway.outcome"), "completed");
    assert_eq!(collector.spans().len(), 1, "what was not taken before is not sent again");
    // Another collector with that name, and another authority's certificate.
    let (impostor, _) = Collector::start_tls().await;
    gateway.setup.put("traces", "otlp", &format!("{:?}", impostor.url));
    gateway.reload();
    gateway.event_number("policy_reloaded", 2).await;
    gateway.send(chat(&gateway.user, "x")).await.expect(200);
    gateway.event_number("traces_not_taken", 2).await;
    assert!(impostor.spans().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_that_begin_here_are_kept_in_their_ratio_and_others_as_whoever_began_them_says() {
    let parents = |setup: Setup| setup.set("traces", "trusted", "[\"127.0.0.1\"]").set("traces", "to_upstream", "true");
    let (ollama, collector, gateway) = traced(|setup| parents(setup).set("traces", "ratio", "0.0")).await;
    let own = gateway.send(chat(&gateway.user, "x")).await.expect(200);
    let told = ollama.received().pop().unwrap();
    assert!(told.head.one("traceparent").unwrap().ends_with("-00"), "the next one is told that it is not kept");
    let theirs = gateway.send(chat(&gateway.user, "x").header("traceparent", PARENT)).await.expect(200);
    collector.span(theirs.id()).await;
    assert!(collector.spans().iter().all(|span| text(span, "ollama_gateway.request_id") != own.id()));
    let (_ollama, collector, gateway) = traced(|setup| setup.set("traces", "ratio", "0.5")).await;
    let (mut kept, mut dropped) = (0, 0);
    for _ in 0..40 {
        let answer = gateway.send(Request::get("/api/version").key(&gateway.user)).await.expect(200);
        let id = field(&gateway.record(answer.id()).await, "trace_id");
        // By the first of the seven random bytes.
        if u8::from_str_radix(&id[18..20], 16).unwrap() < 0x80 {
            collector.span(answer.id()).await;
            kept += 1;
        } else {
            dropped += 1;
        }
    }
    assert_eq!(collector.spans().len(), kept);
    assert!(kept > 0 && dropped > 0, "{kept} {dropped}");
}
