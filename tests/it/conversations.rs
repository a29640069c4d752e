//! `X-Conversation-Id`: the first who names a conversation owns it, here and after a restart.

use crate::harness::client::Answer;
use crate::harness::{Gateway, Request, Setup, routes};
use serde_json::json;

fn chat(key: &str, id: Option<&str>) -> Request {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    let request = Request::post("/api/chat", &body).key(key);
    id.map_or(request.clone(), |id| request.header("X-Conversation-Id", id))
}

async fn said(gateway: &Gateway, key: &str, id: &str) -> Answer {
    gateway.send(chat(key, Some(id))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_owns_it_and_others_find_none() {
    let ollama = routes::recorded().await;
    let mut gateway = Setup::before(&ollama).start().await;
    let (user, admin) = (gateway.user.clone(), gateway.admin.clone());
    for _ in 0..2 {
        said(&gateway, &user, "talk-1").await.expect(200);
    }
    let before = ollama.count();
    let refused = said(&gateway, &admin, "talk-1").await.expect(404);
    assert_eq!(refused.code(), "conversation_not_found");
    assert_eq!(ollama.count(), before);
    gateway.send(chat(&admin, None)).await.expect(200);
    for id in ["", "a b", "a/b", "'; DROP", &"x".repeat(65)] {
        assert_eq!(said(&gateway, &user, id).await.expect(400).code(), "conversation_invalid", "{id}");
    }
    let twice = chat(&user, Some("talk-1")).header("X-Conversation-Id", "talk-1");
    gateway.send(twice).await.expect(400);
    gateway.send(Request::get("/api/tags").key(&admin).header("X-Conversation-Id", "talk-1")).await.expect(200);
    let sent = String::from_utf8_lossy(&ollama.raw().concat()).to_lowercase();
    assert!(!sent.contains("talk-1") && !sent.contains("x-conversation-id"), "Ollama is not told");
    let audit = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap();
    assert!(audit.contains("\"conversation\":\"talk-1\""));
    // A rotated key is the same principal, and the store outlives the process.
    let id = crate::harness::gateway::key_id(&user);
    let (code, rotated, _) = gateway.setup.run(&["key", "rotate", id]).await;
    assert_eq!((code, gateway.stop().await), (0, 0));
    let Gateway { setup, .. } = gateway;
    let gateway = setup.start().await;
    said(&gateway, rotated.trim(), "talk-1").await.expect(200);
    said(&gateway, &gateway.user, "talk-1").await.expect(404);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_those_who_race_for_one_one_gets_it() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    for round in 0..5 {
        let id = format!("race-{round}");
        let tries = [&gateway.user, &gateway.admin, &gateway.user, &gateway.admin].map(|key| said(&gateway, key, &id));
        let statuses = futures_util::future::join_all(tries).await.iter().map(|a| a.status).collect::<Vec<_>>();
        assert!(statuses == [200, 404, 200, 404] || statuses == [404, 200, 404, 200], "{statuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_may_be_required() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).set("auth", "conversation_ids", "\"required\"").start().await;
    gateway.send(chat(&gateway.user, None)).await.expect(400);
    said(&gateway, &gateway.user, "talk").await.expect(200);
    gateway.send(Request::get("/api/tags").key(&gateway.user)).await.expect(200);
}
