//! An Ollama that breaks in every way, by a table: each row ends validly for the client, in its dialect, leaves a record,
//! costs bounded memory and gives back what it held.

use crate::harness::gateway::field;
use crate::harness::reply::chunk_of;
use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, Wire};
use crate::heartbeat::halves;
use crate::leaks::settled;
use crate::streaming::assert_says_error;
use serde_json::json;

/// Route, whether it is a stream, what Ollama answers when it is well.
const ROUTES: [(&str, bool, &str); 4] = [
    ("/api/chat", true, "chat_stream"),
    ("/v1/chat/completions", true, "v1_chat_stream"),
    ("/v1/messages", true, "v1_messages_stream"),
    ("/api/chat", false, "chat_nostream"),
];

/// The most that the gateway may ever have more than at first. A frame may have 8 MiB here.
const MEMORY: u64 = 96 << 20;

/// A good answer, cut in the middle of its second frame, or of its only value.
struct Good {
    kind: String,
    begun: String,
    rest: String,
}

impl Good {
    fn of(streams: bool, name: &str) -> Self {
        if streams {
            let (kind, begun, rest) = halves(name);
            return Self { kind, begun, rest };
        }
        let text = crate::harness::recording::Recording::load(name).answered().body();
        let (begun, rest) = text.split_at(text.len() / 2);
        Self { kind: "application/json; charset=utf-8".to_owned(), begun: begun.to_owned(), rest: rest.to_owned() }
    }

    fn begun(&self) -> Reply {
        Reply::chunked_head(&self.kind).then_chunk(&self.begun)
    }

    /// With this line in the head, and these bytes behind it.
    fn with(&self, line: &str, body: &[u8]) -> Reply {
        let head = format!("HTTP/1.1 200 OK\r\nContent-Type: {}\r\n{line}\r\n\r\n", self.kind);
        Reply::raw([head.as_bytes(), body].concat())
    }

    /// Frames that are whole, and then HTTP's end: the protocol's own end is missing.
    fn without_its_end(&self) -> Reply {
        let whole = self.begun.len() - 20;
        Reply::chunked_head(&self.kind).then_chunk(&self.begun[..whole]).then("0\r\n\r\n")
    }

    /// Every row.
    fn broken(&self) -> Vec<(&'static str, Reply)> {
        let megabyte = chunk_of(&vec![b'a'; 1 << 20]);
        let hint = "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n";
        let all = format!("{}{}", self.begun, self.rest);
        vec![
            ("a stall before the first byte", Reply::silence()),
            ("a stall in a line", self.begun().then_stall()),
            ("half a line", self.begun().then("0\r\n\r\n")),
            ("a reset", self.begun().then_reset()),
            ("a line of 100 MB", self.begun().then_repeat(megabyte, 100).then("0\r\n\r\n")),
            ("a length too long", self.with("Content-Length: 999999", self.begun.as_bytes()).then_fin()),
            ("a length too short", self.with("Content-Length: 25", all.as_bytes()).then_fin()),
            ("a flood of interim answers", Reply::raw("").then_repeat(hint, 100_000).then_stall()),
            ("gzip", self.with("Content-Encoding: gzip\r\nContent-Length: 10", b"\x1f\x8b\x08\0\0\0\0\0\0\x03")),
            (
                "a length and chunks",
                self.with("Content-Length: 25\r\nTransfer-Encoding: chunked", b"0\r\n\r\n").then_fin(),
            ),
            ("two lengths", self.with("Content-Length: 25\r\nContent-Length: 26", all.as_bytes()).then_fin()),
            ("a chunk without a size", self.begun().then("size\r\n\r\n").then_stall()),
            ("a chunk longer than its size", self.begun().then("2\r\n{\"a\"\r\n").then_stall()),
            ("another protocol", Reply::raw("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n").then_stall()),
            ("no HTTP", Reply::raw("SSH-2.0-OpenSSH_9.2\r\n").then_stall()),
            ("a crash before the head", Reply::hang_up()),
            ("a crash in the middle", self.begun().then_fin()),
            ("a silent end", self.without_its_end()),
        ]
    }
}

fn ask(path: &str, streams: bool, key: &str) -> Request {
    let said = json!([{"role": "user", "content": "hi"}]);
    let body = json!({"model": "tiny", "messages": said, "max_tokens": 99, "stream": streams});
    let native = json!({"model": "tiny", "messages": said, "stream": streams});
    Request::post(path, if path == "/api/chat" { &native } else { &body }).key(key)
}

/// One of everything, so that what is not given back is missed by the next request.
async fn ground() -> (Ollama, Gateway) {
    let ollama = Ollama::start().await;
    let setup = Setup::before(&ollama)
        .set("upstream", "idle_timeout", "\"1500ms\"")
        .set("upstream", "first_byte_timeout", "\"2s\"")
        .set("upstream", "max_answer", "\"8 MiB\"")
        .set("queue", "slots", "1")
        .set("roles.user", "concurrent", "1")
        .set("roles.user", "tokens", "\"1000000/day\"");
    let gateway = Box::pin(setup.start()).await;
    (ollama, gateway)
}

/// An answer that ends validly: by its HTTP, and by an error that the route's clients read.
async fn ends_validly(gateway: &Gateway, (path, streams): (&str, bool), version: Version, what: &str) -> String {
    let mut stream = Box::pin(Stream::open(gateway, version, &ask(path, streams, &gateway.user))).await;
    let (id, status) = (stream.answer.id().to_owned(), stream.answer.status);
    let frames = stream.read_to_end().await;
    if status == 200 && streams {
        assert_says_error(path, &frames, &id, what);
        return id;
    }
    assert!(matches!(status, 502..=504), "{what}: {status} {}", stream.text);
    let error: serde_json::Value = serde_json::from_str(&stream.text).unwrap_or_else(|e| panic!("{what}: {e}"));
    let words = if path == "/api/chat" { &error["error"] } else { &error["error"]["message"] };
    assert!(words.is_string() && stream.text.contains(&id), "{what}: {error}");
    id
}

async fn all_rows(path: &'static str, streams: bool, name: &'static str) {
    let (ollama, gateway) = ground().await;
    let at_first = gateway.resident();
    for (row, reply) in Good::of(streams, name).broken() {
        for version in Version::ALL {
            let what = format!("{row}, {path}, {version:?}");
            ollama.on(path, reply.clone());
            let id = ends_validly(&gateway, (path, streams), version, &what).await;
            let record = gateway.record(&id).await;
            let outcome = field(&record, "outcome");
            assert!(outcome == "upstream_failed" || outcome == "refused", "{what}: {record}");
            assert!(field(&record, "code").starts_with("upstream_"), "{what}: {record}");
            settled(&gateway).await;
            ollama.on(path, Reply::recording(name));
            let well = Box::pin(version.send(&gateway, ask(path, streams, &gateway.user))).await.expect(200);
            assert!(!well.text().contains("\"error\""), "after {what}: {}", well.text());
            let grown = gateway.most_resident().saturating_sub(at_first);
            assert!(grown < MEMORY, "{what}: {} MiB", grown >> 20);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_break_ends_validly_is_recorded_is_bounded_and_gives_back_what_it_held() {
    let rows = ROUTES.map(|(path, streams, name)| Box::pin(all_rows(path, streams, name)));
    futures_util::future::join_all(rows).await;
}

/// An answer that is whole, and what a connection does after it: none of that is the answer to anybody's next request.
#[tokio::test(flavor = "multi_thread")]
async fn a_connection_is_used_again_only_where_nothing_follows_its_answer() {
    let ollama = Ollama::start().await;
    let gateway = Box::pin(Setup::before(&ollama).start()).await;
    let smuggled = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 15\r\n\r\n{\"smuggled\": 1}";
    for (path, streams, name) in ROUTES {
        let (good, well) = (Good::of(streams, name), Reply::recording(name));
        let all = [&*good.begun, &*good.rest].concat();
        let whole = |line: &str| good.with(line, all.as_bytes());
        let length = format!("Content-Length: {}", all.len());
        let rows = [
            ("the end", whole(&length).then_fin(), Again::No),
            ("the end, as announced", whole(&format!("{length}\r\nConnection: close")).then_fin(), Again::No),
            ("the end, which is the framing", whole("X: y").then_fin(), Again::No),
            ("another answer", whole(&length).then(smuggled), Again::No),
            ("another answer at once", good.with(&length, [&*all, smuggled].concat().as_bytes()), Again::No),
            ("nothing", whole(&length), Again::Yes),
            ("nothing, after chunks", well.clone(), Again::Yes),
        ];
        for (row, reply, again) in rows {
            let what = format!("{row}, {path}, stream: {streams}");
            let before = ollama.count();
            let mut client = Box::pin(Wire::tls(&gateway)).await; // one connection, and so one thread of the gateway's
            for (count, reply) in [reply, well.clone()].into_iter().enumerate() {
                ollama.on(path, reply);
                let answer = client.exchange(&ask(path, streams, &gateway.user)).await;
                assert_eq!(answer.status, 200, "{what}: {}", answer.text());
                assert!(!answer.text().contains("smuggled"), "{what}: {}", answer.text());
                ollama.wait_answered(before + count + 1).await;
            }
            let used: Vec<usize> = ollama.received()[before..].iter().map(|received| received.connection).collect();
            assert_eq!(used[0] == used[1], again == Again::Yes, "{what}: {used:?}");
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Again {
    Yes,
    No,
}
