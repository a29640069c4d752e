//! The audit log: what is in it, what is not, and that it shows what was done to it.

use crate::harness::stream::Version;
use crate::harness::{Gateway, Ollama, Request, Setup, Wire, routes, sha256, within};
use serde_json::{Value, json};
use std::path::PathBuf;

const PROMPT: &str = "a very private prompt";

fn file(setup: &Setup) -> PathBuf {
    setup.state().join("audit.jsonl")
}

fn records(setup: &Setup) -> Vec<Value> {
    let text = std::fs::read_to_string(file(setup)).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

async fn verified(setup: &Setup) -> (i32, String) {
    let (code, out, err) = setup.run(&["audit", "verify"]).await;
    (code, out + &err)
}

fn chat(key: &str) -> Request {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": PROMPT}], "stream": false});
    Request::post("/api/chat", &body).key(key)
}

async fn started(setup: impl FnOnce(Setup) -> Setup) -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let gateway = setup(Setup::before(&ollama)).start().await;
    (ollama, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_who_did_what_and_not_what_was_said() {
    let (_ollama, mut gateway) = started(|setup| setup).await;
    let answer = gateway.send(chat(&gateway.user)).await.expect(200);
    let refused = gateway.send(Request::get("/api/ps")).await.expect(401);
    gateway.send(Request::get("/api/health")).await.expect(200);
    gateway.revoke(&gateway.user).await;
    gateway.record(answer.id()).await;
    gateway.record(refused.id()).await;
    assert_eq!(gateway.stop().await, 0);
    let records = records(&gateway.setup);
    let of = |id: &str| records.iter().find(|record| record["request_id"] == id).unwrap();
    let (id, chat) = (crate::harness::gateway::key_id(&gateway.user), of(answer.id()));
    let expected = json!([id, "user", "127.0.0.1", "chat", "tiny:latest", 200, "completed"]);
    let found = ["principal", "role", "client", "action", "object", "status", "outcome"].map(|name| chat[name].clone());
    assert_eq!(json!(found), expected);
    assert_eq!((&of(refused.id())["code"], &of(refused.id())["status"]), (&json!("credential_missing"), &json!(401)));
    let acts: Vec<_> = records.iter().filter(|record| record["event"] != "request").collect();
    let acts: Vec<_> = acts.iter().map(|r| r["action"].as_str().unwrap_or(r["event"].as_str().unwrap())).collect();
    assert_eq!(acts, ["key create", "key create", "started", "key revoke", "stopped"]);
    assert_eq!(records[0]["object"], json!(id), "which key was made");
    assert!(records[0]["principal"].as_str().unwrap().starts_with("uid:"));
    let text = std::fs::read_to_string(file(&gateway.setup)).unwrap();
    for secret in [PROMPT, &gateway.user[20..], &gateway.admin[20..], "\"action\":\"health\"", "prompt_hash"] {
        assert!(!text.contains(secret), "{secret}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(file(&gateway.setup)).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let (code, told) = verified(&gateway.setup).await;
    assert!(code == 0 && told.contains(&format!("{} records, the chain is whole", records.len())), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_is_hashed_with_a_key_where_that_is_wanted() {
    let (_ollama, gateway) = started(|setup| setup.set("audit", "prompt_hash", "true")).await;
    for _ in 0..2 {
        let answer = gateway.send(chat(&gateway.user)).await.expect(200);
        gateway.record(answer.id()).await;
    }
    let hashes: Vec<_> = records(&gateway.setup).iter().filter_map(|r| r.get("prompt_hash").cloned()).collect();
    assert_eq!((hashes.len(), &hashes[0]), (2, &hashes[1]));
    assert_ne!(hashes[0], json!(sha256(&chat("x").body)), "without the key nobody can test a guess");
    let (_ollama, gateway) = started(|setup| setup.set("audit", "enabled", "false")).await;
    gateway.send(chat(&gateway.user)).await.expect(200);
    assert!(!file(&gateway.setup).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_names_the_line_and_export_selects() {
    let (_ollama, gateway) = started(|setup| setup).await;
    for _ in 0..3 {
        let answer = gateway.send(chat(&gateway.user)).await.expect(200);
        gateway.record(answer.id()).await;
    }
    let good = std::fs::read_to_string(file(&gateway.setup)).unwrap();
    let lines: Vec<&str> = good.lines().collect();
    let (code, told) = verified(&gateway.setup).await;
    let last = told.split("hash ").nth(1).unwrap().trim();
    assert_eq!(code, 0);
    let principal = crate::harness::gateway::key_id(&gateway.user);
    let (_, out, _) = gateway.setup.run(&["audit", "export", "--principal", principal]).await;
    assert_eq!(out.lines().collect::<Vec<_>>(), lines[3..]);
    let (_, out, _) = gateway.setup.run(&["audit", "export", "--until", "2020-01-01T00:00:00Z"]).await;
    assert_eq!(out, "");
    assert_eq!(gateway.setup.run(&["audit", "export", "--since", "soon"]).await.0, 2);
    let copy = gateway.setup.file("copy.jsonl");
    let verify = async |lines: &[&str], more: &[&str]| {
        std::fs::write(&copy, lines.join("\n") + "\n").unwrap();
        let arguments = [&["audit", "verify", copy.to_str().unwrap()], more].concat();
        gateway.setup.run(&arguments).await
    };
    let changed = lines[3].replace("200", "201");
    let (code, _, told) = verify(&[&lines[..3], &[&changed], &lines[4..]].concat(), &[]).await;
    assert!(code == 1 && told.contains("line 4 was changed"), "{told}");
    let (code, _, told) = verify(&[&lines[..2], &lines[3..]].concat(), &[]).await;
    assert!(code == 1 && told.contains("before line 3, record 3 is missing"), "{told}");
    let cut = &lines[..lines.len() - 1];
    assert_eq!(verify(cut, &[]).await.0, 0, "a cut end is seen by a hash that was kept elsewhere");
    assert_eq!(verify(cut, &["--expect", last]).await.0, 1);
    assert_eq!(verify(&lines, &["--expect", last]).await.0, 0);
}

/// Whatever was answered is in the file; the process is killed without a word while it serves.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing_that_it_answered() {
    let (_ollama, mut gateway) = started(|setup| setup).await;
    let (user, mut answered) = (gateway.user.clone(), Vec::new());
    let calls = async {
        loop {
            let answer = gateway.send(Request::get("/api/version").key(&user)).await;
            gateway.record(answer.id()).await;
            answered.push(answer.id().to_owned());
        }
    };
    let busy = tokio::time::timeout(std::time::Duration::from_millis(700), calls).await;
    assert!(busy.is_err());
    gateway.signal("KILL");
    within("its end", gateway.ended()).await;
    let text = std::fs::read_to_string(file(&gateway.setup)).unwrap();
    assert!(answered.len() > 5 && answered.iter().all(|id| text.contains(id)), "{}", answered.len());
    // What a kill in the middle of a write leaves.
    std::fs::write(file(&gateway.setup), text + "{\"hash\":\"0123").unwrap();
    let (code, told) = verified(&gateway.setup).await;
    assert!(code == 0 && told.contains("was torn"), "{told}");
    gateway.setup.key("user").await;
    let records = records(&gateway.setup);
    assert_eq!(records[records.len() - 2]["event"], "torn");
    assert_eq!(records[records.len() - 1]["action"], "key create");
    assert_eq!(verified(&gateway.setup).await.0, 0);
}

/// Whoever has all of an answer finds its record in the file, however many were answered at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_ends_when_its_record_is_in_the_file() {
    let (_ollama, gateway) = started(|setup| setup).await;
    let path = file(&gateway.setup);
    let messages = json!([{"role": "user", "content": PROMPT}]);
    let streamed = Request::post("/api/chat", &json!({"model": "tiny", "messages": messages})).key(&gateway.user);
    let kinds = [chat(&gateway.user), streamed, Request::get("/api/ps"), Request::get("/api/tags").key(&gateway.user)];
    for version in Version::ALL {
        for request in &kinds {
            let one = || async {
                let answer = version.send(&gateway, request.clone()).await;
                let recorded = std::fs::read_to_string(&path).unwrap();
                assert!(recorded.contains(answer.id()), "{version:?}: {}", request.path);
            };
            futures_util::future::join_all((0..30).map(|_| one())).await;
        }
    }
    let (code, told) = verified(&gateway.setup).await;
    assert_eq!(code, 0, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_and_commands_go_on_with_one_chain() {
    let (_ollama, gateway) = started(|setup| setup).await;
    let calls = async {
        for _ in 0..30 {
            let answer = gateway.send(Request::get("/api/version").key(&gateway.user)).await.expect(200);
            gateway.record(answer.id()).await;
        }
    };
    let commands = async {
        for _ in 0..4 {
            gateway.setup.key("user").await;
        }
    };
    tokio::join!(calls, commands);
    let (code, told) = verified(&gateway.setup).await;
    assert!(code == 0 && told.contains("37 records"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_recorded_nothing_is_served() {
    let (ollama, gateway) = started(|setup| setup).await;
    let good = std::fs::read(file(&gateway.setup)).unwrap();
    std::fs::write(file(&gateway.setup), [good.as_slice(), b"no record\n"].concat()).unwrap();
    gateway.send(Request::get("/api/version")).await.expect(401);
    gateway.event("audit_failed").await;
    let metrics = Wire::cleartext(gateway.admin_listener()).await.exchange(&Request::get("/metrics")).await.text();
    assert!(metrics.contains("\nollama_gateway_audit_records_lost_total 1\n"), "{metrics}");
    let before = ollama.count();
    gateway.send(chat(&gateway.user)).await.expect(503);
    gateway.send(Request::get("/api/health")).await.expect(200);
    assert_eq!(ollama.count(), before);
    std::fs::write(file(&gateway.setup), good).unwrap();
    gateway.send(chat(&gateway.user)).await.expect(200);
    assert!(records(&gateway.setup).iter().any(|record| record["event"] == "resumed"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_commands_do_to_the_state_is_recorded_whether_it_went_well_or_not() {
    let (_ollama, mut gateway) = started(|setup| setup).await;
    let file = gateway.setup.file("backup.tar").display().to_string();
    let (code, _, said) = gateway.setup.run(&["backup", &file]).await;
    assert_eq!(code, 0, "{said}");
    let (code, _, said) = gateway.setup.run(&["cert", "renew"]).await;
    assert_ne!(code, 0, "nothing to renew a self-signed one by: {said}");
    gateway.setup.run(&["cert", "status"]).await;
    let acts = |setup: &Setup| -> Vec<(String, String, String)> {
        let text = |record: &Value, name: &str| record[name].as_str().unwrap_or("").to_owned();
        let records = records(setup).into_iter().filter(|record| record["event"] == "administration");
        let wanted = records.filter(|record| !text(record, "action").starts_with("key "));
        wanted.map(|r| (text(&r, "action"), text(&r, "object"), text(&r, "outcome"))).collect()
    };
    let act = |action: &str, object: &str, outcome: &str| (action.to_owned(), object.to_owned(), outcome.to_owned());
    let before = vec![act("backup", &file, "completed"), act("cert renew", "", "failed")];
    assert_eq!(acts(&gateway.setup), before);
    gateway.stop().await;
    std::fs::remove_dir_all(gateway.setup.state()).unwrap();
    let (code, _, said) = gateway.setup.run(&["restore", &file]).await;
    assert_eq!(code, 0, "{said}");
    assert_eq!(acts(&gateway.setup), [act("restore", &file, "completed")]);
    assert_eq!(verified(&gateway.setup).await.0, 0);
}
