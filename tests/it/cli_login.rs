//! The stock `ollama` command at the door: by its own signature, and by an address with a key in it.
//!
//! Keys are made by OpenSSH's own tool; what is signed, and how it is sent, is Ollama's `auth/auth.go` and
//! `api/client.go`.

use crate::harness::gateway::field;
use crate::harness::{Gateway, Ollama, Request, Setup, Wire, routes, within};
use aws_lc_rs::signature::Ed25519KeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::io::AsyncWriteExt as _;

/// `~/.ollama/id_ed25519`, as the command makes and uses it.
struct Identity {
    pair: Ed25519KeyPair,
    /// The second word of the `.pub` file.
    public: String,
    file: PathBuf,
}

impl Identity {
    fn make(setup: &Setup, name: &str) -> Self {
        let file = setup.file(name);
        let made = std::process::Command::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-C", "ana@laptop", "-f"])
            .arg(&file)
            .status();
        assert!(made.expect("ssh-keygen, of Debian's openssh-client").success());
        let public = std::fs::read_to_string(file.with_extension("pub")).unwrap();
        let public = public.split(' ').nth(1).unwrap().to_owned();
        Self { pair: pair(&std::fs::read_to_string(&file).unwrap(), &public), public, file: file.with_extension("pub") }
    }

    fn sign(&self, method: &str, path: &str, ts: u64) -> Request {
        let signature = self.pair.sign(format!("{method},{path}?ts={ts}").as_bytes());
        let value = format!("{}:{}", self.public, STANDARD.encode(signature.as_ref()));
        Request::new(method, &format!("{path}?ts={ts}")).header("Authorization", &value)
    }
}

/// The seed stands before the public key, at the end of what OpenSSH writes.
fn pair(text: &str, public: &str) -> Ed25519KeyPair {
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    let (body, public) = (STANDARD.decode(body).unwrap(), STANDARD.decode(public).unwrap());
    let public = &public[public.len() - 32..];
    let at = body.windows(32).rposition(|window| window == public).unwrap();
    Ed25519KeyPair::from_seed_and_public_key(&body[at - 32..at], public).unwrap()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

async fn enrol(setup: &Setup, identity: &Identity, role: &str, more: &[&str]) -> String {
    let file = identity.file.to_str().unwrap();
    let (code, out, err) =
        setup.run(&[&["key", "add-ssh", "--role", role, "--name", "ana", file], more].concat()).await;
    assert_eq!(code, 0, "{err}");
    out.trim().to_owned()
}

async fn serving(more: &[&str]) -> (Ollama, Gateway, Identity, String) {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama);
    let identity = Identity::make(&setup, "id_ed25519");
    let id = enrol(&setup, &identity, "user", more).await;
    (ollama, setup.start().await, identity, id)
}

async fn refused(gateway: &Gateway, request: Request, why: &str) {
    let answer = gateway.send(request).await.expect(401);
    assert_eq!(answer.code(), "credential_invalid");
    assert_eq!(field(&gateway.record(answer.id()).await, "detail"), why);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enrolled_key_opens_by_its_signature() {
    let (ollama, gateway, identity, id) = serving(&[]).await;
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false}).to_string();
    let request = identity.sign("POST", "/api/chat", now()).header("Content-Type", "application/json").body(chat);
    let answer = gateway.send(request).await.expect(200);
    let record = gateway.record(answer.id()).await;
    assert_eq!((field(&record, "principal"), field(&record, "role")), (id.clone(), "user".to_owned()));
    assert!(!ollama.raw().concat().windows(11).any(|window| window == b"ssh-ed25519"), "no credential goes to Ollama");
    let delete = identity.sign("DELETE", "/api/delete", now()).header("Content-Type", "application/json");
    gateway.send(delete.body("{\"model\":\"tiny\"}")).await.expect(403);
    let blob = format!("/api/blobs/sha256:{}", "a".repeat(64));
    gateway.send(identity.sign("HEAD", &blob, now())).await.expect(403);
    let (_, out, _) = gateway.setup.run(&["key", "list", "--json"]).await;
    let listed: serde_json::Value = serde_json::from_str(&out).unwrap();
    let listed = listed.as_array().unwrap().iter().find(|key| key["id"] == id).unwrap();
    assert_eq!(listed["kind"], "ssh");
    gateway.setup.run(&["key", "revoke", &id]).await;
    within("the key to stop working", async {
        while gateway.send(identity.sign("GET", "/api/version", now())).await.status != 401 {
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
    })
    .await;
    enrol(&gateway.setup, &identity, "admin", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_holds_for_what_was_signed_and_for_a_minute() {
    let (ollama, gateway, identity, _) = serving(&[]).await;
    let before = ollama.count();
    let other = Identity::make(&gateway.setup, "other");
    refused(&gateway, other.sign("GET", "/api/tags", now()), "ssh_key_unknown").await;
    refused(&gateway, identity.sign("GET", "/api/tags", now() - 62), "signature_time").await;
    refused(&gateway, identity.sign("GET", "/api/tags", now() + 65), "signature_time").await;
    let moved = |path: &str| {
        let signed = identity.sign("GET", "/api/tags", now());
        Request { path: path.to_owned(), ..signed }
    };
    let ts = now();
    refused(&gateway, moved(&format!("/api/ps?ts={ts}")), "signature_wrong").await;
    refused(&gateway, moved(&format!("/api/tags?ts={}", ts + 1)), "signature_wrong").await;
    refused(&gateway, moved("/api/tags"), "signature_without_time").await;
    refused(&gateway, moved(&format!("/api/tags?ts={ts}&x=1")), "signature_without_time").await;
    let posted = Request { method: "POST".to_owned(), ..identity.sign("GET", "/api/show", now()) };
    let posted = posted.header("Content-Type", "application/json").body("{\"model\":\"tiny\"}");
    refused(&gateway, posted, "signature_wrong").await;
    let mut forged = identity.sign("GET", "/api/tags", now());
    forged.fields[0].1 = format!("{}:{}", identity.public, STANDARD.encode([0; 64]));
    refused(&gateway, forged, "signature_wrong").await;
    let mut cut = identity.sign("GET", "/api/tags", now());
    cut.fields[0].1.truncate(100);
    refused(&gateway, cut, "malformed").await;
    let both = identity.sign("GET", "/api/tags", now()).header("X-API-Key", &gateway.user);
    assert_eq!(gateway.send(both).await.expect(401).code(), "credential_ambiguous");
    assert_eq!(ollama.count(), before);
    gateway.send(identity.sign("GET", "/api/tags", now() - 55)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_that_was_seen_is_bound_to_its_connection() {
    let (_ollama, gateway, identity, _) = serving(&[]).await;
    let signed = identity.sign("GET", "/api/version", now());
    let mut wire = Wire::tls(&gateway).await;
    for _ in 0..2 {
        wire.exchange(&signed).await.expect(200);
    }
    refused(&gateway, signed.clone(), "signature_replayed").await;
    let by_h2 = gateway.send_h2(signed.clone()).await;
    assert_eq!(by_h2.status, 401);
    wire.exchange(&signed).await.expect(200);
    gateway.send(identity.sign("GET", "/api/version", now() - 1)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_ed25519_key_is_enrolled_at_a_time() {
    let (_ollama, gateway, identity, id) = serving(&["--address", "127.0.0.0/8", "--expires", "30d"]).await;
    let setup = &gateway.setup;
    let add = ["key", "add-ssh", "--role", "user", "--name", "x"];
    let (code, _, err) = setup.run(&[&add[..], &[identity.file.to_str().unwrap()]].concat()).await;
    assert!(code == 1 && err.contains(&id), "{err}");
    let (code, _, err) = setup.run(&["key", "rotate", &id]).await;
    assert!(code == 1 && err.contains("add-ssh"), "{err}");
    let rsa = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQ== x\n";
    for (text, wanted) in [(rsa.to_owned(), 2), (String::new(), 2), (format!("{rsa}{rsa}"), 2)] {
        let mut child = setup.command(&[&add[..], &["-"]].concat()).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).await.unwrap();
        assert_eq!(child.wait().await.unwrap().code(), Some(wanted));
    }
    gateway.send(identity.sign("GET", "/api/version", now())).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_may_stand_in_the_path_where_the_policy_says_so() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).set("auth", "path_keys", "true").with_http().start().await;
    let under = |key: &str, path: &str| format!("/k/{key}{path}");
    let user = gateway.user.clone();
    for path in ["", "/"] {
        gateway.send(Request::new("HEAD", &under(&user, path))).await.expect(200);
    }
    let answer = gateway.send(Request::get(&under(&user, "/api/tags"))).await.expect(200);
    let record = gateway.record(answer.id()).await;
    assert_eq!((field(&record, "path").as_str(), field(&record, "endpoint").as_str()), ("/k/[key]/api/tags", "tags"));
    let body = json!({"model": "tiny", "prompt": "hi", "stream": false});
    gateway.send(Request::post(&under(&user, "/api/generate"), &body)).await.expect(200);
    gateway
        .send(
            Request::new("DELETE", &under(&user, "/api/delete"))
                .header("Content-Type", "application/json")
                .body("{\"model\":\"tiny\"}"),
        )
        .await
        .expect(403);
    gateway.send(Request::get(&under(&user, "/api/nothing"))).await.expect(404);
    gateway.send(Request::get(&under(&user, "//api/tags"))).await.expect(404);
    gateway.send(Request::get(&under(&user, &under(&user, "/api/tags")))).await.expect(404);
    let dialect = gateway.send(Request::get(&under("ogw_wrong", "/v1/models"))).await.expect(401);
    assert!(dialect.json()["error"]["message"].is_string(), "the error is in the dialect of the route");
    let both = Request::get(&under(&user, "/api/tags")).key(&user);
    assert_eq!(gateway.send(both).await.expect(401).code(), "credential_ambiguous");
    let mistyped = user.replace("ogw_", "0gw_");
    gateway.send(Request::get(&under(&mistyped, "/api/tags"))).await.expect(401);
    let mut plain = Wire::cleartext(gateway.http()).await;
    let in_clear = plain.exchange(&Request::get(&under(&user, "/api/tags"))).await;
    assert!(in_clear.status != 308 && in_clear.all("location").is_empty(), "{in_clear:?}");
    gateway.event("credential_in_cleartext").await;
    let audit = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap();
    for secret in [&user[18..], &mistyped[20..]] {
        let log = gateway.log_text();
        let line = log.lines().chain(audit.lines()).find(|line| line.contains(secret));
        assert_eq!(line, None, "a key is in a log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_in_the_path_is_refused_where_it_says_nothing() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    let answer = gateway.send(Request::get(&format!("/k/{}/api/tags", gateway.user))).await.expect(400);
    assert_eq!(answer.code(), "credential_in_url");
    gateway.event("credential_in_url").await;
    gateway.send(Request::get("/k/anything/api/tags")).await.expect(404);
    assert!(!gateway.log_text().contains(&gateway.user[18..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_bound_to_its_addresses_and_models() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).environment("SECRET", crate::tokens::SECRET);
    let setup = setup.set("auth.jwt", "issue", "true").set("auth.jwt", "secret", "\"env:SECRET\"");
    let far = setup.key_with("user", &["--address", "192.0.2.0/24", "--address", "2001:db8::1"]).await;
    let near = setup.key_with("user", &["--address", "127.0.0.1", "--model", "other:*"]).await;
    for (flag, value) in [("--address", "10.0.0.0/33"), ("--address", "here"), ("--model", "a,b"), ("--model", "")] {
        let (code, _, _) = setup.run(&["key", "create", "--role", "user", "--name", "x", flag, value]).await;
        assert_eq!(code, 2, "{flag} {value}");
    }
    let gateway = setup.start().await;
    let refused = gateway.send(Request::get("/api/tags").key(&far)).await.expect(403);
    assert_eq!(refused.code(), "address_forbidden");
    let show = |key: &str| Request::post("/api/show", &json!({"model": "tiny"})).key(key);
    gateway.send(show(&gateway.user)).await.expect(200);
    assert_eq!(gateway.send(show(&near)).await.expect(404).code(), "model_not_found");
    let listed = gateway.send(Request::get("/api/tags").key(&near)).await.expect(200);
    assert_eq!(listed.json()["models"], json!([]));
    // What is given out on a key's word is bound as the key is.
    let form = |key: &str| {
        let body = format!("grant_type=client_credentials&client_secret={key}");
        Request::new("POST", "/auth/token").header("Content-Type", "application/x-www-form-urlencoded").body(body)
    };
    let token = |answer: crate::harness::client::Answer| answer.json()["access_token"].as_str().unwrap().to_owned();
    let (far, near) = (gateway.send(form(&far)).await.expect(200), gateway.send(form(&near)).await.expect(200));
    gateway.send(Request::get("/api/tags").key(&token(far))).await.expect(403);
    assert_eq!(gateway.send(show(&token(near))).await.expect(404).code(), "model_not_found");
}
