//! Bans: by command, by misdeeds, by a honey key; each within a second, each lifted again, each in the log.

use crate::harness::gateway::{field, key_id};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, within};
use crate::sign_in::{PASSWORD, by_password, issuing, run as done, text, typed, with_ana};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

async fn ground(keys: &[(&str, &str)]) -> (Ollama, Gateway) {
    let ollama = Ollama::start().await;
    ollama.on("/api/tags", Reply::recording("accept_encoding_gzip"));
    let before = Setup::before(&ollama).set("bans", "exempt", "[]");
    let setup = keys.iter().fold(before, |setup, (key, value)| setup.set("bans", key, value));
    (ollama, Box::pin(setup.start()).await)
}

async fn status(gateway: &Gateway, key: &str) -> u16 {
    Box::pin(gateway.send(Request::get("/api/tags").key(key))).await.status
}

async fn run(gateway: &Gateway, arguments: &[&str]) -> (i32, String) {
    let (code, out, err) = gateway.setup.run(arguments).await;
    (code, out + &err)
}

/// Waits until the answer to this key has this status, and tells how long that took.
async fn until(gateway: &Gateway, key: &str, expected: u16) -> Duration {
    let began = Instant::now();
    within("the ban to change", async {
        while status(gateway, key).await != expected {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_bans_and_lifts_within_a_second() {
    let (ollama, gateway) = ground(&[]).await;
    let id = key_id(&gateway.user).to_owned();
    for who in ["127.0.0.1", "127.0.0.0/8", id.as_str()] {
        assert_eq!(status(&gateway, &gateway.user).await, 200, "{who}");
        let (code, said) = run(&gateway, &["ban", "add", who, "--for", "1h", "--why", "a test"]).await;
        assert_eq!(code, 0, "{said}");
        let took = until(&gateway, &gateway.user, 403).await;
        assert!(took < Duration::from_secs(1), "{who}: {took:?}");
        let others = if who == id { 200 } else { 403 };
        assert_eq!(status(&gateway, &gateway.admin).await, others, "{who}");
        let (_, listed) = run(&gateway, &["ban", "list", "--json"]).await;
        let listed: Value = serde_json::from_str(&listed).unwrap();
        assert_eq!((listed[0]["why"].as_str(), listed.as_array().unwrap().len()), (Some("a test"), 1), "{listed}");
        let who = listed[0]["who"].as_str().unwrap().to_owned();
        assert_eq!(run(&gateway, &["ban", "remove", &who]).await.0, 0);
        assert!(until(&gateway, &gateway.user, 200).await < Duration::from_secs(1), "{who}");
        assert_eq!(run(&gateway, &["ban", "remove", &who]).await.0, 1, "there is none any more");
    }
    let log = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap();
    for (action, outcome) in [("add", "completed"), ("remove", "completed"), ("remove", "failed")] {
        let found = log.lines().filter(|line| {
            line.contains(&format!("\"action\":\"ban {action}\",\"object\":\"key:{id}\"")) && line.contains(outcome)
        });
        assert_eq!(found.count(), 1, "ban {action} {outcome}");
    }
    drop(ollama);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_by_mistake_repeats_no_key_and_ends_by_itself() {
    let (_ollama, gateway) = ground(&[]).await;
    let key = gateway.user.clone();
    let (code, said) = run(&gateway, &["ban", "add", &key]).await;
    assert!(code == 2 && !said.contains(&key), "{said}");
    let log = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap();
    assert!(log.contains("\"ban add\"") && !log.contains(&key));
    assert_eq!(run(&gateway, &["ban", "add", "127.0.0.1", "--for", "0s"]).await.0, 2);
    assert_eq!(run(&gateway, &["ban", "add", "127.0.0.1", "--for", "2s"]).await.0, 0);
    until(&gateway, &key, 403).await;
    until(&gateway, &key, 200).await;
    assert_eq!(run(&gateway, &["ban", "add", "192.0.2.9", "--for", "30d"]).await.0, 0);
    let list = run(&gateway, &["ban", "list"]).await.1;
    let (code, said) = run(&gateway, &["ban", "add", "192.0.2.9", "--for", "1h"]).await;
    assert!(code == 0 && said.contains("at least that long already"), "{said}");
    assert_eq!(run(&gateway, &["ban", "list"]).await.1, list);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_refused_credentials_or_unknown_routes_are_a_ban() {
    for (key, request) in
        [("failures", Request::get("/api/tags").key("nonsense")), ("unknown_routes", Request::get("/.env"))]
    {
        let (_ollama, mut gateway) = ground(&[(key, "\"3/hour\"")]).await;
        for n in 0..4 {
            let answer = Box::pin(gateway.send(request.clone())).await;
            assert!(matches!(answer.status, 401 | 404), "{key}: {n}: {}", answer.status);
            if status(&gateway, &gateway.user).await == 403 {
                break;
            }
        }
        let event = gateway.event("address_banned").await;
        assert!(field(&event, "detail").starts_with("127.0.0.1 until 2"), "{event}");
        assert_eq!(status(&gateway, &gateway.user).await, 403, "{key}");
        within("the ban to be in the store", async { while run(&gateway, &["ban", "list"]).await.1.is_empty() {} })
            .await;
        assert_eq!(gateway.stop().await, 0);
        let gateway = Box::pin(gateway.setup.start()).await;
        assert_eq!(status(&gateway, &gateway.user).await, 403, "{key}: after a restart");
    }
}

/// A password is guessed as a key is.
#[tokio::test(flavor = "multi_thread")]
async fn guessing_passwords_is_a_ban_too() {
    let ollama = Ollama::start().await;
    ollama.on("/api/tags", Reply::recording("accept_encoding_gzip"));
    let setup = Setup::before(&ollama).environment("SECRET", crate::tokens::SECRET).set("auth.jwt", "issue", "true");
    let setup = setup.set("auth.jwt", "secret", "\"env:SECRET\"").set("bans", "exempt", "[]");
    let gateway = Box::pin(setup.set("bans", "failures", "\"3/hour\"").start()).await;
    let guess = json!({"grant_type": "password", "username": "root", "password": "a guess of mine"});
    let mut statuses = Vec::new();
    for _ in 0..5 {
        statuses.push(Box::pin(gateway.send(Request::post("/auth/token", &guess))).await.status);
    }
    gateway.event("address_banned").await;
    assert_eq!((statuses[0], statuses[4]), (400, 403), "{statuses:?}");
    assert_eq!(status(&gateway, &gateway.user).await, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_exempt_is_never_banned_automatically() {
    let (_ollama, gateway) =
        ground(&[("failures", "\"2/hour\""), ("unknown_routes", "\"2/hour\""), ("exempt", "[\"127.0.0.0/8\"]")]).await;
    for _ in 0..5 {
        Box::pin(gateway.send(Request::get("/.git/config").key("nonsense"))).await;
        Box::pin(gateway.send(Request::get("/api/tags").key("nonsense"))).await;
    }
    assert_eq!(status(&gateway, &gateway.user).await, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_honey_key_looks_like_any_wrong_key_and_bans_whoever_uses_it() {
    let (ollama, gateway) = ground(&[]).await;
    let (code, honey, _) = gateway.setup.run(&["key", "create", "--honey", "--name", "backup of the old key"]).await;
    assert_eq!(code, 0);
    let mut refused = Box::pin(gateway.send(Request::get("/api/tags").key(honey.trim()))).await;
    while gateway.events("honey_key_used").is_empty() {
        assert_eq!(refused.status, 401);
        refused = Box::pin(gateway.send(Request::get("/api/tags").key(honey.trim()))).await;
    }
    assert_eq!(refused.json()["code"], "credential_invalid");
    assert_eq!(status(&gateway, &gateway.user).await, 403);
    assert_eq!(ollama.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lists_of_the_configuration_hold_and_follow_a_reload() {
    let (_ollama, mut gateway) = ground(&[("deny", "[\"127.0.0.0/8\"]")]).await;
    assert_eq!(status(&gateway, &gateway.user).await, 403);
    for (key, value, expected) in
        [("deny", "[]", 200), ("allow", "[\"10.0.0.0/8\"]", 403), ("allow", "[\"10.0.0.0/8\", \"127.0.0.1/32\"]", 200)]
    {
        gateway.setup.put("bans", key, value);
        gateway.reload();
        let key = gateway.user.clone();
        until(&gateway, &key, expected).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_user_is_out_with_every_token_until_it_is_lifted() {
    let (ollama, gateway) = issuing().await;
    with_ana(&gateway).await;
    typed(&gateway, &["user", "add", "ben", "--role", "user", "--password-stdin"], &format!("{PASSWORD}\n")).await;
    let mut tokens = Vec::new();
    for name in ["ana", "ana", "ben"] {
        let answer = Box::pin(gateway.send(by_password(name, PASSWORD))).await.expect(200);
        tokens.push(text(&answer, "access_token"));
    }
    done(&gateway, &["ban", "add", "user:ana", "--for", "1h", "--why", "a test"]).await;
    assert!(until(&gateway, &tokens[0], 403).await < Duration::from_secs(1));
    let before = ollama.count();
    assert_eq!(status(&gateway, &tokens[1]).await, 403);
    assert_eq!(ollama.count(), before);
    assert_eq!(status(&gateway, &tokens[2]).await, 200, "of another user");
    done(&gateway, &["ban", "remove", "user:ana"]).await;
    assert!(until(&gateway, &tokens[1], 200).await < Duration::from_secs(1));
}
