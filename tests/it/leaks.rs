//! Clients that leave, in every phase and both versions of HTTP: nothing of theirs is left behind.
//!
//! A round is 132 of them. `LEAK_ABORTS=100000 cargo test --test it leaks -- --nocapture` makes as many as it says, and
//! prints what is left: three minutes; the ordinary run makes four thousand.

use crate::harness::stream::{Stream, Version};
use crate::harness::wire::Wire;
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, http2, within, within_time};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Requests that run at the same time; the others wait.
const SLOTS: usize = 8;
/// Streams of one HTTP/2 connection: below its bound of 64.
const STREAMS: usize = 48;
/// Clients of one round.
const ROUND: usize = 2 * STREAMS + 2 * SLOTS + 2 * (SLOTS + 2);
const ORDINARY: usize = 4_000;

fn chat(model: &str, key: &str) -> Request {
    let said = json!([{"role": "user", "content": "hi"}]);
    Request::post("/api/chat", &json!({"model": model, "messages": said})).key(key)
}

/// One that wants its answer whole.
fn whole(key: &str) -> Request {
    let said = json!([{"role": "user", "content": "hi"}]);
    Request::post("/api/chat", &json!({"model": "silent", "stream": false, "messages": said})).key(key)
}

/// A megabyte, of which a part will come.
fn upload(key: &str) -> Request {
    Request::new("POST", &format!("/api/blobs/sha256:{}", "0".repeat(64)))
        .key(key)
        .header("Content-Type", "application/octet-stream")
        .header("Content-Length", "1000000")
        .body(vec![0; 2_000])
}

/// What the gateway says of itself.
async fn gauges(gateway: &Gateway) -> BTreeMap<String, f64> {
    let mut socket = TcpStream::connect(gateway.admin_listener()).await.unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    within("a page", socket.read_to_string(&mut page)).await.unwrap();
    let lines = page.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    let name = |series: &str| series.trim_start_matches("ollama_gateway_").to_owned();
    lines.filter_map(|(series, value)| Some((name(series), value.parse().ok()?))).collect()
}

/// What must be nothing once everybody has left.
const NOTHING: [&str; 7] = [
    "requests_in_flight",
    "callers_in_flight",
    "queue_running",
    "queue_waiting",
    "budget_reservations",
    "upstream_connections",
    "connections_open",
];

/// Waits until everything was given back, and returns what is left.
pub(crate) async fn settled(gateway: &Gateway) -> BTreeMap<String, f64> {
    let mut last = BTreeMap::new();
    let look = async {
        loop {
            last = gauges(gateway).await;
            if NOTHING.iter().all(|name| last[*name] == 0.0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let looked = tokio::time::timeout(Duration::from_secs(30), look).await;
    let left: Vec<_> = NOTHING.iter().map(|name| (name, last[*name])).filter(|(_, value)| *value != 0.0).collect();
    assert!(looked.is_ok(), "not given back: {left:?}");
    last
}

/// Streams of one connection that all leave at once, by resets or with the connection.
async fn streams(gateway: &Gateway, requests: &[Request], part: usize) {
    let mut client = Box::pin(http2::Client::connect(gateway)).await;
    let mut streams = Vec::new();
    for request in requests {
        let (response, mut send) = Box::pin(client.begin(request, false)).await;
        let ended = part == 1 && !request.path.contains("blobs");
        send.send_data(request.body[..request.body.len() / part].to_vec().into(), ended).unwrap();
        streams.push((response, send));
    }
    tokio::time::sleep(Duration::from_millis(15)).await;
    if requests[0].path.contains("blobs") {
        streams.iter_mut().for_each(|(_, send)| send.send_reset(h2::Reason::CANCEL));
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// One round: queued, before the first byte, non-streamed, mid-stream, in the body, by either version.
async fn round(gateway: &Gateway, ollama: &Ollama) {
    let (user, admin) = (&gateway.user, &gateway.admin);
    // HTTP/2: some of these run and have no first byte; the others wait for a slot.
    let mut requests = vec![chat("silent", user); STREAMS - SLOTS];
    requests.extend(vec![whole(user); SLOTS]);
    streams(gateway, &requests, 1).await;
    streams(gateway, &vec![upload(admin); STREAMS / 2], 1).await;
    streams(gateway, &vec![chat("silent", user); STREAMS / 2], 2).await;
    // Mid-stream: the frames that were read say so.
    for version in Version::ALL {
        let open = (0..SLOTS).map(|_| async move {
            let mut stream = Box::pin(Stream::open(gateway, version, &chat("stalls", user))).await;
            stream.frames(2).await;
            stream
        });
        let open = futures_util::future::join_all(open).await;
        drop(open.into_iter().map(Stream::leave).collect::<Vec<_>>());
    }
    // HTTP/1.1: one connection each.
    let before = ollama.whole();
    let silent = futures_util::future::join_all((0..SLOTS + 2).map(|number| async move {
        let mut wire = Box::pin(Wire::tls(gateway)).await;
        let request = if number % 2 == 0 { chat("silent", user) } else { whole(user) };
        wire.write(&request.bytes()).await;
        wire
    }))
    .await;
    ollama.wait_whole(before + SLOTS).await;
    drop(silent);
    let bodies = (0..SLOTS + 2).map(|number| async move {
        let mut wire = Box::pin(Wire::tls(gateway)).await;
        let request = if number % 2 == 0 { upload(admin).bytes() } else { chat("silent", user).bytes() };
        wire.write(&request[..request.len() - 5]).await;
    });
    futures_util::future::join_all(bodies).await;
}

fn wanted() -> usize {
    std::env::var("LEAK_ABORTS").map_or(ORDINARY, |text| text.parse().expect("LEAK_ABORTS is a number"))
}

fn shown(name: &str, of: &BTreeMap<String, f64>) -> String {
    format!("{name} {}", of[name])
}

#[expect(clippy::print_stderr, reason = "the figures of the long run are read by people")]
fn tell(text: &str) {
    eprintln!("{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_that_leave_leave_nothing() {
    let ollama = Ollama::start_counting().await;
    ollama.on("/api/chat", Reply::recording("chat_stream"));
    ollama.on("/api/blobs/", Reply::recording("blob_post_ok"));
    ollama.on_model("/api/chat", "silent:latest", Reply::silence());
    ollama.on_model("/api/chat", "stalls:latest", Reply::recording("chat_stream").cut_after(4).then_stall());
    let setup = Setup::before(&ollama)
        .set("queue", "slots", &SLOTS.to_string())
        .set("roles.user", "concurrent", "200")
        .set("roles.user", "tokens", "\"1000000000/day\"")
        .set("limits", "connections_per_address", "4000")
        .set("log", "level", "\"error,ollama_gateway::server=info,security=info\"");
    let gateway = Box::pin(setup.start()).await;
    let rounds = wanted().div_ceil(ROUND);
    let (began, mut warm) = (Instant::now(), BTreeMap::new());
    for number in 0..rounds {
        if number == rounds.div_ceil(10) {
            warm = settled(&gateway).await;
        }
        Box::pin(round(&gateway, &ollama)).await;
    }
    let took = began.elapsed();
    let last = settled(&gateway).await;
    within_time(Duration::from_secs(30), "upstream connections to end", ollama.wait_open(64)).await;
    let figures = ["process_resident_memory_bytes", "process_open_fds", "runtime_tasks"];
    for (when, of) in [("after a tenth", &warm), ("at the end", &last)] {
        tell(&format!("{when}: {}", figures.map(|name| shown(name, of)).join(", ")));
    }
    let left = NOTHING.map(|name| shown(name, &last)).join(", ");
    tell(&format!("{} clients left in {took:.1?}; {left}", rounds * ROUND));
    let more = |name: &str| last[name] - warm[name];
    assert!(more("process_open_fds") <= 16.0, "{} more descriptors", more("process_open_fds"));
    assert!(more("runtime_tasks") <= 16.0, "{} more tasks", more("runtime_tasks"));
    let grown = more("process_resident_memory_bytes") / f64::from(1 << 20);
    assert!(grown < 48.0, "{grown} MiB more memory");
    // All slots, and all places of this key, are free.
    let all = (0..SLOTS).map(|_| Box::pin(gateway.send(chat("tiny", &gateway.user))));
    for answer in within("all slots to be free", futures_util::future::join_all(all)).await {
        answer.expect(200);
    }
    assert_eq!(gateway.events("internal_error").len(), 0);
}
