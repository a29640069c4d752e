//! How the gateway's cost grows with what is open: connections that say nothing, and streams.
//!
//! Guarantees: each count has a fresh process; a request is a chat on 32 kept connections of HTTP/1.1, while the others
//! are idle; streams come so fast that all of them together send 4,000 chunks a second, however many they are.

use super::load::{self, Ask, Dialer, Frames, Version};
use super::peers::{Peer, Site};
use super::upstream::Pace;
use super::usage;
use bytes::Bytes;
use http::StatusCode;
use std::time::Duration;

const CONNECTIONS: [usize; 4] = [10, 100, 1_000, 10_000];
const STREAMS: [u32; 5] = [1, 10, 100, 1_000, 5_000];
const REQUESTS: usize = 20_000;
const CHUNKS_A_SECOND: u32 = 4_000;
const CHUNKS: u32 = 20;

/// Measures and prints.
pub(crate) async fn measure(site: &Site<'_>, dialer: &Dialer) {
    println!("| connections | us a request | KiB a connection |\n|--|--|--|");
    for count in CONNECTIONS {
        let (time, memory) = connections(&site.start("ours").unwrap(), dialer, count).await;
        println!("| {count} | {time:.1} | {memory:.1} |");
    }
    println!("\n| streams | us a chunk | KiB a stream |\n|--|--|--|");
    for count in STREAMS {
        let (time, memory) = streams(&site.start("ours").unwrap(), dialer, count).await;
        println!("| {count} | {time:.1} | {memory:.1} |");
    }
}

fn chat(peer: &Peer, prompt: &str, shape: Shape) -> Ask {
    let message = serde_json::json!({ "role": "user", "content": prompt });
    let body = serde_json::json!({ "model": "tiny", "messages": [message], "stream": shape == Shape::Stream });
    let body = Bytes::from(serde_json::to_vec(&body).unwrap());
    Ask { path: "/api/chat", body, frames: Frames::Allowed, key: peer.key.clone() }
}

#[derive(PartialEq, Eq)]
enum Shape {
    Whole,
    Stream,
}

/// Microseconds a request, and KiB a connection.
async fn connections(peer: &Peer, dialer: &Dialer, count: usize) -> (f64, f64) {
    let ask = chat(peer, "Why is the sky blue?", Shape::Whole);
    let lines = load::users(dialer, peer.address, Version::One, 32).await;
    load::run(lines, &ask, 1_000, StatusCode::OK).await;
    let before = usage::memory(peer.pid());
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(dialer.tls(peer.address, Version::One).await);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    let memory = (usage::memory(peer.pid()) - before) / count as f64;
    let lines = load::users(dialer, peer.address, Version::One, 32).await;
    let before = usage::processor_time(peer.pid());
    load::run(lines, &ask, REQUESTS, StatusCode::OK).await;
    ((usage::processor_time(peer.pid()) - before) / REQUESTS as f64, memory)
}

/// Microseconds a chunk, and KiB a stream.
async fn streams(peer: &Peer, dialer: &Dialer, count: u32) -> (f64, f64) {
    let pace = Pace { every: Duration::from_secs(1) * count / CHUNKS_A_SECOND, chunks: CHUNKS };
    let ask = chat(peer, &pace.prompt(), Shape::Stream);
    // So many rounds that a few seconds are measured, however few streams there are.
    let total = (20_000 / CHUNKS).max(count);
    let lines = load::users(dialer, peer.address, Version::One, count as usize).await;
    let (before, idle) = (usage::processor_time(peer.pid()), usage::memory(peer.pid()));
    let pid = peer.pid();
    let looking = tokio::spawn(async move {
        tokio::time::sleep(pace.every * CHUNKS / 2 + Duration::from_millis(300)).await;
        usage::memory(pid)
    });
    load::run(lines, &ask, total as usize, StatusCode::OK).await;
    let time = (usage::processor_time(peer.pid()) - before) / f64::from(total * CHUNKS);
    (time, (looking.await.unwrap() - idle) / f64::from(count))
}
