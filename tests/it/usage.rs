//! What callers used: counted, written behind the requests, summed by the command, deleted after the retention.

use crate::harness::gateway::key_id;
use crate::harness::{Gateway, Ollama, Request, Setup, routes, within};
use ollama_gateway::config::types;
use ollama_gateway::store::{Store, UsageRow, Used};
use serde_json::{Value, json};
use std::time::Duration;

async fn used(gateway: &Gateway, arguments: &[&str]) -> Vec<Value> {
    let arguments = [&["usage", "--json"], arguments].concat();
    let (code, out, error) = gateway.setup.run(&arguments).await;
    assert_eq!(code, 0, "{error}");
    serde_json::from_str(&out).unwrap()
}

async fn chats(gateway: &Gateway, key: &str, count: usize) {
    for _ in 0..count {
        let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]});
        gateway.send(Request::post("/api/chat", &chat).key(key)).await.expect(200);
    }
}

async fn ground() -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).set("roles.user", "models", "[\"tiny:*\"]").start().await;
    (ollama, gateway)
}

/// Waits until the command shows so many requests of a caller.
async fn until(gateway: &Gateway, caller: &str, requests: i64) -> Value {
    within("usage to be written", async {
        loop {
            let rows = used(gateway, &[]).await;
            if let Some(row) = rows.iter().find(|row| row["of"] == caller && row["requests"] == requests) {
                return row.clone();
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_used_is_counted_by_caller_model_and_day_and_survives_a_restart() {
    let (_ollama, gateway) = ground().await;
    let (user, admin) = (key_id(&gateway.user).to_owned(), key_id(&gateway.admin).to_owned());
    chats(&gateway, &gateway.user, 3).await;
    chats(&gateway, &gateway.admin, 1).await;
    gateway.send(Request::get("/api/tags").key(&gateway.user)).await.expect(200);
    let missing = json!({"model": "none-such", "messages": [{"role": "user", "content": "hello"}]});
    gateway.send(Request::post("/api/chat", &missing).key(&gateway.user)).await.expect(404);
    gateway.send(Request::get("/api/tags").key("wrong")).await.expect(401);
    let row = until(&gateway, &user, 5).await;
    assert_eq!((&row["name"], &row["prompt_tokens"]), (&"user-of-a-test".into(), &75.into()), "{row}");
    assert!(row["output_tokens"].as_i64().unwrap() > 0, "{row}");
    let models = used(&gateway, &["--by", "model", "--of", &user]).await;
    let by_model: Vec<_> = models.iter().map(|row| (row["of"].as_str().unwrap(), row["requests"].as_i64())).collect();
    assert_eq!(by_model, [("tiny:latest", Some(3)), ("", Some(2))], "a client's own word is no model");
    let days = used(&gateway, &["--by", "day", "--days", "1"]).await;
    assert_eq!((days.len(), days[0]["of"].as_str().unwrap().len()), (1, 10), "{days:?}");
    let mut gateway = gateway;
    chats(&gateway, &gateway.admin, 1).await;
    assert_eq!(gateway.stop().await, 0);
    let rows = used(&gateway, &[]).await;
    assert!(rows.iter().any(|row| row["of"] == admin && row["requests"] == 2), "a stop writes the last: {rows:?}");
    let (code, table, _) = gateway.setup.run(&["usage"]).await;
    assert!(code == 0 && table.starts_with("CALLER") && table.contains("user-of-a-test"), "{table}");
    assert_eq!(gateway.setup.run(&["usage", "--days", "0"]).await.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_the_retention_is_deleted() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("usage", "retention", "\"30d\"");
    let store = Store::open(&types::Store::Sqlite("gateway.db".into()), &setup.state()).await.unwrap();
    let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let today = i64::try_from(seconds / 86_400).unwrap();
    let one = Used { requests: 1, prompt_tokens: 1, output_tokens: 1, model_ms: 1 };
    let row = |principal: &str, day| UsageRow { day, principal: principal.into(), model: "tiny".into(), used: one };
    store.add_usage(&[row("old", today - 31), row("young", today - 29)]).await.unwrap();
    store.close().await;
    let gateway = setup.start().await;
    within("old usage to be deleted", async {
        while used(&gateway, &["--days", "365"]).await.iter().any(|row| row["of"] == "old") {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    })
    .await;
    assert_eq!(used(&gateway, &["--days", "365"]).await.len(), 1);
}
