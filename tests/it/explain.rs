//! `explain` says what happens: the bytes it prints are the bytes that Ollama then gets.

use crate::harness::gateway::key_id;
use crate::harness::{Gateway, Request, Setup, routes, within};
use serde_json::json;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;

async fn explain(gateway: &Gateway, arguments: &[&str], body: impl AsRef<[u8]>) -> (i32, Vec<u8>, String) {
    let mut child = gateway.setup.command(&[&["explain"], arguments].concat()).stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdin.take().unwrap().write_all(body.as_ref()).await);
    let output = within("explain", child.wait_with_output()).await.unwrap();
    (output.status.code().unwrap(), output.stdout, String::from_utf8(output.stderr).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_prints_is_what_ollama_gets() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    let id = key_id(&gateway.user);
    let said = json!([{"role": "user", "content": "hé \u{1f600}"}]);
    let chat =
        json!({"model": "tiny", "messages": said, "options": {"num_ctx": 99999, "num_gpu": 1}, "keep_alive": -1});
    let v1 = json!({"model": "tiny", "messages": said, "stream": false, "max_tokens": 99999, "extra": 1});
    for (path, body) in [("/api/chat", chat), ("/v1/chat/completions", v1), ("/api/show", json!({"model": "tiny"}))] {
        let (code, out, told) = explain(&gateway, &["--key", id, "POST", path], body.to_string()).await;
        assert_eq!(code, 0, "{told}");
        let before = ollama.count();
        gateway.send(Request::post(path, &body).key(&gateway.user)).await.expect(200);
        let sent = ollama.wait_for_whole(before + 1).await;
        assert_eq!(String::from_utf8(out).unwrap(), String::from_utf8(sent.body.clone()).unwrap(), "{path}");
        for stage in ["route", "authenticate", "authorize", "limit", "admit", "queue", "forward", "tiny:latest"] {
            assert!(told.contains(stage), "{stage} in {told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_refuses_is_refused_so() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("roles.user", "models", "[\"tiny\"]");
    let setup = setup.set("roles.near", "addresses", "[\"10.0.0.0/8\"]").set("roles.near", "models", "[\"*\"]");
    let gateway = setup.set("roles.near", "endpoints", "[\"catalogue\"]").start().await;
    let id = key_id(&gateway.user);
    let other = json!({"model": "other", "prompt": "x"}).to_string();
    let (status, code) = (404, "model_not_found");
    let (exit, out, told) = explain(&gateway, &["--key", id, "POST", "/api/generate"], &other).await;
    assert!(exit == 1 && out.is_empty() && told.contains(&format!("{status} {code}")), "{told}");
    let answer = gateway
        .send(
            Request::new("POST", "/api/generate")
                .header("Content-Type", "application/json")
                .body(other)
                .key(&gateway.user),
        )
        .await
        .expect(404);
    assert!(told.contains(answer.json()["error"].as_str().unwrap()), "{told}");
    for (arguments, wanted) in [
        (&["--key", id, "DELETE", "/api/delete"][..], "403 endpoint_forbidden"),
        (&["--key", id, "POST", "/api/nothing"], "404 unknown_route"),
        (&["--key", id, "PUT", "/api/chat"], "405 method_not_allowed"),
        (&["--key", "abcDEF012345", "GET", "/api/tags"], "401 credential_invalid"),
        (&["GET", "/api/tags"], "401 credential_missing"),
        (&["--role", "near", "GET", "/api/tags"], "403 address_forbidden"),
        (&["--role", "near", "--from", "192.0.2.1", "GET", "/api/tags"], "403 address_forbidden"),
    ] {
        let (exit, _, told) = explain(&gateway, arguments, "").await;
        assert!(exit == 1 && told.contains(wanted), "{arguments:?}: {told}");
    }
    for arguments in [&["--role", "near", "--from", "10.1.2.3", "GET", "/api/tags"][..], &["GET", "/api/health"]] {
        assert_eq!(explain(&gateway, arguments, "").await.0, 0);
    }
    let before = ollama.count();
    let (exit, _, told) = explain(&gateway, &["--key", &gateway.user, "GET", "/api/tags"], "").await;
    assert!(exit == 2 && !told.contains(&gateway.user[20..]), "{told}");
    assert_eq!(ollama.count(), before, "nothing is sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keys_own_bounds_hold() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("roles.user", "models", "[\"*\"]");
    let key = setup.key_with("user", &["--address", "10.0.0.0/8", "--model", "tiny"]).await;
    let gateway = setup.start().await;
    let ask = |model: &str| json!({"model": model, "prompt": "x"}).to_string();
    let generate = async |from: &[&str], model: &str| {
        let arguments = [&["--key", key_id(&key), "POST", "/api/generate"], from].concat();
        explain(&gateway, &arguments, ask(model)).await
    };
    for (from, model, wanted) in [
        (&[][..], "tiny", "403 address_forbidden"),
        (&["--from", "127.0.0.1"], "tiny", "403 address_forbidden"),
        (&["--from", "10.1.2.3"], "other", "404 model_not_found"),
    ] {
        let (exit, out, told) = generate(from, model).await;
        assert!(exit == 1 && out.is_empty() && told.contains(wanted), "{from:?} {model}: {told}");
    }
    let (exit, _, told) = generate(&["--from", "10.1.2.3"], "tiny").await;
    assert!(exit == 0 && told.contains("only from 10.0.0.0/8") && told.contains("the key has tiny"), "{told}");
    let (exit, _, told) =
        explain(&gateway, &["--key", key_id(&key), "--from", "10.1.2.3", "GET", "/v1/models/other"], "").await;
    assert!(exit == 1 && told.contains("404 model_not_found"), "{told}");
    let (code, _, err) = gateway.setup.run(&["ban", "add", key_id(&key)]).await;
    assert_eq!(code, 0, "{err}");
    let (exit, _, told) = generate(&["--from", "10.1.2.3"], "tiny").await;
    assert!(exit == 1 && told.contains("403 banned"), "{told}");
}

/// Who is exempt is spared by what the gateway finds out itself, not by a list and not by a word of an administrator's.
#[tokio::test(flavor = "multi_thread")]
async fn bans_hold_as_they_do_when_serving() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("bans", "deny", "[\"203.0.113.0/24\"]");
    let gateway = setup.set("bans", "exempt", "[\"198.51.100.0/24\"]").start().await;
    let (code, _, err) = gateway.setup.run(&["ban", "add", "198.51.100.7"]).await;
    assert_eq!(code, 0, "{err}");
    let (code, _, err) = gateway.setup.run(&["ban", "add", "2001:db8::1"]).await;
    assert_eq!(code, 0, "{err}");
    for (from, banned) in [
        ("203.0.113.9", true),
        ("198.51.100.7", true),
        ("::ffff:198.51.100.7", true),
        ("2001:db8::2", true),
        ("198.51.100.8", false),
    ] {
        let arguments = ["--key", key_id(&gateway.user), "--from", from, "GET", "/api/tags"];
        let (exit, _, told) = explain(&gateway, &arguments, "").await;
        assert_eq!((exit == 1 && told.contains("403 banned"), exit == 0), (banned, !banned), "{from}: {told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_say_what_they_would_say() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("roles.user", "requests", "\"2/day\"");
    let gateway = setup.set("roles.user", "tokens", "\"100000/day\"").start().await;
    let body = json!({"model": "tiny", "prompt": "Hello?", "stream": false});
    let (id, call) = (key_id(&gateway.user), &["POST", "/api/generate"][..]);
    let ask = async || explain(&gateway, &[&["--key", id], call].concat(), body.to_string()).await;
    for left in [2, 1, 0] {
        let wanted = format!("{left} of 2 requests per day are left of this caller");
        let (exit, told) = within("what was spent to be in the store", async {
            loop {
                let (exit, _, told) = ask().await;
                if told.contains(&wanted) {
                    break (exit, told);
                }
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        })
        .await;
        assert!(told.contains("of 100000 tokens per day"), "{told}");
        assert_eq!(exit, i32::from(left == 0), "{told}");
        assert_eq!(told.contains("429 budget_used_up"), left == 0, "{told}");
        let status = gateway.send(Request::post("/api/generate", &body).key(&gateway.user)).await.status;
        assert_eq!(status, if left == 0 { 429 } else { 200 });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn forms_and_uploads_are_explained_too() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("roles.user", "endpoints", "[\"v1-transcriptions\"]");
    let gateway = setup.set("roles.user", "models", "[\"*\"]").start().await;
    let form = crate::transcription::form(5_000);
    let call = ["--key", key_id(&gateway.user), "POST", "/v1/audio/transcriptions"];
    let (exit, out, told) = explain(&gateway, &call, &form).await;
    assert!(exit == 0 && told.contains("tiny:latest") && told.contains("multipart/form-data"), "{told}");
    let kind = "multipart/form-data; boundary=----WebKitFormBoundaryX";
    let request = Request::new("POST", call[3]).header("Content-Type", kind).body(form.clone());
    gateway.send(request.key(&gateway.user)).await;
    assert!(out == ollama.wait_for_whole(1).await.body, "{}", String::from_utf8_lossy(&out));
    let (exit, out, told) = explain(&gateway, &call, &form[20..]).await;
    assert!(exit == 1 && out.is_empty() && told.contains("415"), "{told}");
    let blob = [&b"\0\xff"[..], &form].concat();
    let path = format!("/api/blobs/sha256:{}", "0".repeat(64));
    let (exit, out, told) = explain(&gateway, &["--key", key_id(&gateway.admin), "POST", &path], &blob).await;
    assert!(exit == 0 && out == blob && told.contains(&path), "{told}");
}
