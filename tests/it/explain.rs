//! `explain` says what happens: the bytes it prints are the bytes that Ollama then gets.

use crate::harness::gateway::key_id;
use crate::harness::{Gateway, Request, Setup, routes, within};
use serde_json::json;
use std::process::Stdio;
use tokio::io::AsyncWriteExt as _;

async fn explain(gateway: &Gateway, arguments: &[&str], body: &str) -> (i32, Vec<u8>, String) {
    let mut child = gateway.setup.command(&[&["explain"], arguments].concat()).stdin(Stdio::piped()).spawn().unwrap();
    drop(child.stdin.take().unwrap().write_all(body.as_bytes()).await);
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
        let (code, out, told) = explain(&gateway, &["--key", id, "POST", path], &body.to_string()).await;
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
