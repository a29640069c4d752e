//! A new policy while requests run: none is cut, and a bad file changes nothing.

use crate::harness::gateway::key_id;
use crate::harness::stream::{Stream, Version};
use crate::harness::{DEADLINE, Gateway, Ollama, Reply, Request, Setup, routes, within};
use serde_json::json;
use std::time::{Duration, Instant};

fn chat(gateway: &Gateway) -> Request {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    Request::post("/api/chat", &body).key(&gateway.user)
}

/// Asks for a reload, and waits until it is done, well or not.
async fn reload(gateway: &Gateway, outcome: &str) {
    let before = gateway.events(outcome).len();
    gateway.reload();
    until_more(gateway, outcome, before).await;
}

/// Waits for one more event than there were.
async fn until_more(gateway: &Gateway, name: &str, before: usize) {
    let wait = async {
        while gateway.events(name).len() == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(DEADLINE, wait).await.is_err() {
        panic!("no further {name} in\n{}", gateway.log_text());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_do_not_cut_streams_and_apply_to_the_next_request() {
    let ollama = routes::recorded().await;
    let mut gateway = Setup::before(&ollama).start().await;
    let (reply, gate) = Reply::recording("chat_stream").gated();
    ollama.on("/api/chat", reply);
    let mut streams = Vec::new();
    for version in Version::ALL {
        let mut stream = Stream::open(&gateway, version, &chat(&gateway)).await;
        stream.frames(1).await;
        streams.push(stream);
    }
    gateway.setup.put("roles.user", "models", "[\"other\"]");
    for _ in 0..3 {
        reload(&gateway, "policy_reloaded").await;
    }
    assert_eq!(gateway.send(chat(&gateway)).await.status, 404, "the new policy");
    gate.open_all();
    for mut stream in streams {
        assert_eq!(stream.read_to_end().await.len(), 17, "the old policy, to the end");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_file_keeps_the_old_policy_and_says_why() {
    let ollama = routes::recorded().await;
    let mut gateway = Setup::before(&ollama).start().await;
    gateway.setup.put("roles.user", "endpoints", "[\"inferense\"]");
    reload(&gateway, "policy_reload_failed").await;
    let event = gateway.event("policy_reload_failed").await;
    assert!(event.to_string().contains("inferense") || gateway.log_text().contains("inferense"), "{event}");
    gateway.send(chat(&gateway)).await.expect(200);
    std::fs::write(gateway.setup.config(), "[server\nnames=").unwrap();
    let before = gateway.events("policy_reload_failed").len();
    gateway.signal("HUP");
    until_more(&gateway, "policy_reload_failed", before).await;
    gateway.send(chat(&gateway)).await.expect(200);
    std::fs::remove_file(gateway.setup.config()).unwrap();
    gateway.signal("HUP");
    gateway.send(chat(&gateway)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_key_stops_within_a_second_and_a_new_one_works_within_one() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    gateway.send(Request::get("/api/tags").key(&gateway.user)).await.expect(200);
    gateway.revoke(&gateway.user).await;
    let took = until_status(&gateway, &gateway.user, 401).await;
    assert!(took < Duration::from_millis(1500), "revoked, and open for {took:?}");
    let fresh = gateway.setup.key("user").await;
    let took = until_status(&gateway, &fresh, 200).await;
    assert!(took < Duration::from_millis(1500), "created, and closed for {took:?}");
    let log = gateway.log_text();
    assert!(!log.contains(&fresh) && !log.contains(&gateway.user));
}

async fn until_status(gateway: &Gateway, key: &str, status: u16) -> Duration {
    let started = Instant::now();
    within("the keys to be read again", async {
        while gateway.send(Request::get("/api/tags").key(key)).await.status != status {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    started.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotated_key_works_for_its_overlap_beside_the_new_one() {
    let ollama = Ollama::start().await;
    ollama.on("/api/tags", Reply::json(200, "{\"models\":[]}"));
    let gateway = Setup::before(&ollama).start().await;
    let id = key_id(&gateway.user).to_owned();
    let (code, fresh, stderr) = gateway.setup.run(&["key", "rotate", &id, "--overlap", "2s"]).await;
    assert_eq!(code, 0, "{stderr}");
    until_status(&gateway, fresh.trim(), 200).await;
    gateway.send(Request::get("/api/tags").key(&gateway.user)).await.expect(200);
    until_status(&gateway, &gateway.user, 401).await;
    let answer = gateway.send(Request::get("/api/tags").key(fresh.trim())).await.expect(200);
    let record = gateway.record(answer.id()).await;
    assert!(record.to_string().contains(key_id(fresh.trim())), "two keys, told apart in the log: {record}");
}
