//! The console in a real Chromium, used by the keyboard; its pictures are left in `target/console`.

use crate::browser::trust;
use crate::console::until;
use crate::console_pages::enrolled;
use crate::harness::setup::clients;
use crate::harness::{Request, package_file, within_time};
use crate::sign_in::PASSWORD;
use crate::sign_on::Ground;
use serde_json::{Value, json};
use std::time::Duration;
use tempfile::TempDir;

/// The script drives the browser as a person would, and fails on any complaint of the browser about a page.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_real_browser_it_shows_what_happens_and_does_what_it_says() {
    let ground = Ground::start().await;
    let gateway = &ground.gateway;
    let totp = enrolled(gateway, "root", "admin").await;
    enrolled(gateway, "ana", "user").await;
    let (code, _, error) = gateway.setup.run(&["ban", "add", "192.0.2.7", "--for", "3h", "--why", "a test"]).await;
    assert_eq!(code, 0, "{error}");
    for _ in 0..3 {
        gateway.send(Request::get("/api/tags").key("wrong")).await;
        gateway.send(Request::get("/api/tags").key(&gateway.user)).await;
        let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]});
        gateway.send(Request::post("/api/chat", &chat).key(&gateway.user)).await;
    }
    let (home, folder) = (TempDir::new().unwrap(), package_file("target/console"));
    trust(&home, &ground.root).await;
    std::fs::create_dir_all(&folder).unwrap();
    let mut command = tokio::process::Command::new("python3");
    command.arg(clients("console.py")).arg(format!("http://{}/console", gateway.admin_listener()));
    command.args(["root", PASSWORD, &totp.generate_current().to_string()]).arg(&folder).kill_on_drop(true);
    let output = within_time(Duration::from_secs(180), "the browser", command.env("HOME", home.path()).output());
    let output = output.await.unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{wrong}");
    let seen: Value = serde_json::from_str(said.lines().last().unwrap()).unwrap();
    assert_eq!(seen["complaints"], json!([]), "{seen}");
    assert_eq!((&seen["state"], &seen["refusals"]), (&"live".into(), &"credential_invalid".into()), "{seen}");
    assert!(seen["events"].as_str().unwrap().contains("authentication_failure"), "{seen}");
    assert!(seen["certificate"].as_str().unwrap().parse::<u32>().is_ok_and(|days| days > 300), "{seen}");
    assert_eq!((&seen["role"], &seen["wide"]), (&"user".into(), &json!([])), "{seen}");
    assert_eq!(seen["focused"], "name", "the keyboard begins in the field of the user: {seen}");
    assert_eq!(seen["cookie"], json!([true, true, "Strict"]), "HttpOnly, Secure, SameSite: {seen}");
    assert_eq!(seen["strange"], json!([]), "every form has its token and every field its name: {seen}");
    assert!(seen["answer"].as_str().unwrap().len() > 2, "a chat is answered: {seen}");
    assert!(seen["figures"].as_str().unwrap().contains("tokens in"), "{seen}");
    assert!(seen["locked"].as_str().unwrap().contains("locked"), "{seen}");
    assert_eq!(seen["lifted"], "Nobody is banned.", "{seen}");
    assert_eq!(seen["outsider"], format!("oidc:localhost:{}:boss", ground.port), "{seen}");
    until(gateway, seen["key"].as_str().unwrap(), 200).await;
}
