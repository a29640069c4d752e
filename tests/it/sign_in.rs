//! Signing in at the running gateway: passwords, second factors, refresh tokens, keys; and what ends their tokens.

use crate::harness::client::Answer;
use crate::harness::gateway::{field, key_id};
use crate::harness::{Gateway, Ollama, Request, Setup, routes, within};
use crate::tokens::SECRET;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

pub(crate) const PASSWORD: &str = "correct horse battery staple";

pub(crate) async fn issuing() -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).environment("SECRET", SECRET);
    let setup = setup.set("auth.jwt", "issue", "true").set("auth.jwt", "secret", "\"env:SECRET\"");
    (ollama, setup.start().await)
}

/// Runs a command with this on its standard input; its standard output.
pub(crate) async fn typed(gateway: &Gateway, arguments: &[&str], input: &str) -> String {
    let mut child = gateway.setup.command(arguments).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = within("a command", child.wait_with_output()).await.unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) async fn run(gateway: &Gateway, arguments: &[&str]) {
    let (code, _, stderr) = gateway.setup.run(arguments).await;
    assert_eq!(code, 0, "{arguments:?}: {stderr}");
}

pub(crate) async fn with_ana(gateway: &Gateway) {
    typed(gateway, &["user", "add", "ana", "--role", "user", "--password-stdin"], &format!("{PASSWORD}\n")).await;
}

fn form(path: &str, pairs: &[(&str, &str)]) -> Request {
    let encoded = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
    let body: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    Request::new("POST", path).header("Content-Type", "application/x-www-form-urlencoded").body(body.join("&"))
}

pub(crate) fn by_password(name: &str, password: &str) -> Request {
    form("/auth/token", &[("grant_type", "password"), ("username", name), ("password", password)])
}

pub(crate) fn by_refresh(token: &str) -> Request {
    form("/auth/token", &[("grant_type", "refresh_token"), ("refresh_token", token)])
}

pub(crate) fn text(answer: &Answer, name: &str) -> String {
    answer.json()[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", answer.text())).to_owned()
}

pub(crate) fn claims(token: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

pub(crate) async fn opens(gateway: &Gateway, token: &str) -> bool {
    match gateway.send(Request::get("/api/version").key(token)).await.status {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

pub(crate) async fn stops(gateway: &Gateway, token: &str) {
    within("a token to stop working", async {
        while opens(gateway, token).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_gets_a_token_with_the_claims_of_its_user() {
    let (_ollama, gateway) = issuing().await;
    with_ana(&gateway).await;
    let answer = gateway.send(by_password("ana", PASSWORD)).await.expect(200);
    assert_eq!(answer.json()["token_type"], "Bearer");
    assert_eq!(answer.json()["expires_in"], 86_400);
    assert_eq!(answer.one("cache-control"), Some("no-store"));
    let access = text(&answer, "access_token");
    let said = claims(&access);
    let mut names: Vec<_> = said.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["aud", "exp", "iat", "iss", "jti", "nbf", "role", "sub"]);
    assert_eq!(
        (&said["sub"], &said["role"], &said["iss"]),
        (&json!("ana"), &json!("user"), &json!("https://localhost"))
    );
    let call = gateway.send(Request::get("/api/version").key(&access)).await.expect(200);
    assert_eq!(field(&gateway.record(call.id()).await, "principal"), "user:ana");
    gateway.send(Request::get("/api/version").header("X-API-Key", &access)).await.expect(200);
    let json = json!({"grant_type": "password", "username": "ana", "password": PASSWORD});
    gateway.send(Request::post("/auth/token", &json)).await.expect(200);
    let log = gateway.log_text();
    for secret in [PASSWORD, &access, &text(&answer, "refresh_token")] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_not_told() {
    let (_ollama, gateway) = issuing().await;
    with_ana(&gateway).await;
    typed(&gateway, &["user", "add", "eve", "--role", "user", "--password-stdin"], &format!("{PASSWORD}\n")).await;
    run(&gateway, &["user", "lock", "eve"]).await;
    let mut bodies = Vec::new();
    for (name, password, why) in [
        ("ana", "a wrong password", "password_wrong"),
        ("nobody", PASSWORD, "user_unknown"),
        ("no such NAME", PASSWORD, "user_unknown"),
        ("eve", PASSWORD, "user_locked"),
    ] {
        let answer = gateway.send(by_password(name, password)).await.expect(400);
        assert_eq!((text(&answer, "error").as_str(), answer.code().as_str()), ("invalid_grant", "grant_invalid"));
        assert_eq!(field(&gateway.record(answer.id()).await, "detail"), why);
        bodies.push(changed(&answer));
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
    for (request, error) in [
        (form("/auth/token", &[("grant_type", "implicit")]), "unsupported_grant_type"),
        (form("/auth/token", &[("username", "ana")]), "invalid_request"),
        (form("/auth/token", &[("grant_type", "password"), ("username", "ana")]), "invalid_request"),
        (Request::new("POST", "/auth/token").header("Content-Type", "application/json").body("[1]"), "invalid_request"),
        (by_password("ana", "x").body("grant_type=password&username=a&username=b&password=c"), "invalid_request"),
    ] {
        assert_eq!(text(&gateway.send(request).await.expect(400), "error"), error);
    }
    gateway.send(Request::get("/auth/token")).await.expect(405);
    gateway.send(Request::new("POST", "/auth/token").body("x")).await.expect(415);
    gateway.send(Request::new("POST", "/auth/Token").body("x")).await.expect(404);
    gateway.send(by_password("ana", &"x".repeat(20_000))).await.expect(413);
}

/// A body without the id of its request.
fn changed(answer: &Answer) -> Value {
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("request_id");
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_works_once_and_its_second_use_ends_the_family() {
    let (_ollama, gateway) = issuing().await;
    with_ana(&gateway).await;
    let first = gateway.send(by_password("ana", PASSWORD)).await.expect(200);
    let other = gateway.send(by_password("ana", PASSWORD)).await.expect(200);
    let second = gateway.send(by_refresh(&text(&first, "refresh_token"))).await.expect(200);
    let third = gateway.send(by_refresh(&text(&second, "refresh_token"))).await.expect(200);
    let (access, last) = (text(&third, "access_token"), text(&third, "refresh_token"));
    assert!(opens(&gateway, &access).await && opens(&gateway, &text(&first, "access_token")).await);
    let stolen = gateway.send(by_refresh(&text(&first, "refresh_token"))).await.expect(400);
    assert_eq!(field(&gateway.record(stolen.id()).await, "detail"), "refresh_token_reused");
    gateway.send(by_refresh(&last)).await.expect(400);
    assert!(!opens(&gateway, &access).await, "at once, in this process");
    assert!(!opens(&gateway, &text(&first, "access_token")).await);
    assert!(opens(&gateway, &text(&other, "access_token")).await, "another sign-in goes on");
    gateway.send(by_refresh(&text(&other, "refresh_token"))).await.expect(200);
    gateway.send(by_refresh("ogr_made-up")).await.expect(400);
    let key_as_refresh = gateway.user.replacen("ogw_", "ogr_", 1);
    gateway.send(by_refresh(&key_as_refresh)).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refresh_token_that_is_raced_for_has_one_winner_at_most() {
    let (_ollama, gateway) = issuing().await;
    with_ana(&gateway).await;
    let first = gateway.send(by_password("ana", PASSWORD)).await.expect(200);
    let token = text(&first, "refresh_token");
    let tries = (0..6).map(|_| gateway.send(by_refresh(&token)));
    let answers = futures_util::future::join_all(tries).await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(won, 1);
    assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 400)));
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_are_taken_back_by_their_holder() {
    let (_ollama, gateway) = issuing().await;
    with_ana(&gateway).await;
    let first = gateway.send(by_password("ana", PASSWORD)).await.expect(200);
    let second = gateway.send(by_refresh(&text(&first, "refresh_token"))).await.expect(200);
    let access = text(&first, "access_token");
    gateway.send(form("/auth/revoke", &[("token", &access)])).await.expect(200);
    assert!(!opens(&gateway, &access).await);
    assert!(opens(&gateway, &text(&second, "access_token")).await);
    gateway.send(form("/auth/revoke", &[("token", &text(&second, "refresh_token"))])).await.expect(200);
    assert!(!opens(&gateway, &text(&second, "access_token")).await);
    gateway.send(by_refresh(&text(&second, "refresh_token"))).await.expect(400);
    for nothing in ["x", "a.b.c", "ogr_x", &gateway.user] {
        gateway.send(form("/auth/revoke", &[("token", nothing)])).await.expect(200);
    }
    assert!(opens(&gateway, &gateway.user).await, "a key is taken back by `key revoke` alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_a_user_ends_its_tokens() {
    let (_ollama, gateway) = issuing().await;
    with_ana(&gateway).await;
    for change in [&["user", "role", "ana", "admin"][..], &["user", "lock", "ana"], &["user", "passwd", "ana"]] {
        let answer = gateway.send(by_password("ana", PASSWORD)).await.expect(200);
        let (access, refresh) = (text(&answer, "access_token"), text(&answer, "refresh_token"));
        assert!(opens(&gateway, &access).await, "before {change:?}");
        run(&gateway, change).await;
        stops(&gateway, &access).await;
        gateway.send(by_refresh(&refresh)).await.expect(400);
        run(&gateway, &["user", "unlock", "ana"]).await;
        assert!(!opens(&gateway, &access).await, "after {change:?}");
    }
    let new = typed(&gateway, &["user", "passwd", "ana"], "").await;
    let answer = gateway.send(by_password("ana", new.trim())).await.expect(200);
    assert_eq!(claims(&text(&answer, "access_token"))["role"], "admin");
    run(&gateway, &["user", "remove", "ana"]).await;
    stops(&gateway, &text(&answer, "access_token")).await;
    gateway.send(by_password("ana", new.trim())).await.expect(400);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_a_token_for_its_key_and_loses_both_together() {
    let (_ollama, gateway) = issuing().await;
    let key = gateway.user.clone();
    let in_form = form("/auth/token", &[("grant_type", "client_credentials"), ("client_secret", &key)]);
    let basic = format!("Basic {}", STANDARD.encode(format!("{}:{key}", key_id(&key))));
    let in_header = form("/auth/token", &[("grant_type", "client_credentials")]).header("Authorization", &basic);
    let answer = gateway.send(in_form).await.expect(200);
    assert!(answer.json().get("refresh_token").is_none());
    let access = text(&gateway.send(in_header).await.expect(200), "access_token");
    assert_eq!(claims(&access)["sub"], format!("key:{}", key_id(&key)));
    assert!(opens(&gateway, &access).await);
    gateway.revoke(&key).await;
    stops(&gateway, &access).await;
    let again = form("/auth/token", &[("grant_type", "client_credentials"), ("client_secret", &key)]);
    let refused = gateway.send(again).await.expect(401);
    assert_eq!(text(&refused, "error"), "invalid_client");
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_sign_ins_make_the_user_and_the_address_wait() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).environment("SECRET", SECRET);
    let setup = setup.set("auth.jwt", "issue", "true").set("auth.jwt", "secret", "\"env:SECRET\"");
    let failures = "{ rate = \"1/hour\", burst = 9 }";
    let gateway = setup.set("limits", "authentication_failures", failures).start().await;
    with_ana(&gateway).await;
    for _ in 0..5 {
        gateway.send(by_password("ana", "a wrong password")).await.expect(400);
    }
    let answer = gateway.send(by_password("ana", PASSWORD)).await.expect(400);
    assert_eq!(field(&gateway.record(answer.id()).await, "detail"), "user_backed_off");
    run(&gateway, &["user", "unlock", "ana"]).await;
    gateway.send(by_password("ana", PASSWORD)).await.expect(200);
    for _ in 0..3 {
        gateway.send(by_password("nobody", PASSWORD)).await.expect(400);
    }
    let answer = gateway.send(by_password("ana", PASSWORD)).await.expect(429);
    assert!(answer.one("retry-after").is_some());
}

/// What the phone makes of what `user totp` shows.
fn totp_of(shown: &str) -> totp_rs::Totp {
    let url = shown.lines().find(|line| line.starts_with("otpauth://")).unwrap();
    let secret = url.split("secret=").nth(1).unwrap().split('&').next().unwrap();
    let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
    totp_rs::Builder::new().with_secret(secret).with_account_name("ana").build().unwrap()
}

/// Runs `user totp ana` and types, once all is shown, what is made of that. Its exit code, and what was shown.
async fn enrolled(gateway: &Gateway, typed: impl FnOnce(&str) -> String) -> (i32, String) {
    let mut child = gateway.setup.command(&["user", "totp", "ana"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (mut shown, mut codes) = (Vec::new(), 0);
    while codes < 10 {
        let line = within("all to be shown", lines.next_line()).await.unwrap().unwrap();
        codes += usize::from(line.starts_with("  ") && line.matches('-').count() == 2);
        shown.push(line);
    }
    let shown = shown.join("\n");
    child.stdin.take().unwrap().write_all(typed(&shown).as_bytes()).await.unwrap();
    let status = within("a command", child.wait()).await.unwrap();
    (status.code().unwrap(), shown)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_factor_is_asked_for_and_no_code_works_twice() {
    let (_ollama, gateway) = issuing().await;
    with_ana(&gateway).await;
    let (exit, _) = enrolled(&gateway, |_| "000000\nabc\n\n".to_owned()).await;
    assert_eq!(exit, 1, "three wrong codes");
    assert_eq!(enrolled(&gateway, |_| String::new()).await.0, 1, "no code");
    gateway.send(by_password("ana", PASSWORD)).await.expect(200);
    let first = |shown: &str| totp_of(shown).generate_current().to_string();
    let mut used = String::new();
    let (exit, shown) = enrolled(&gateway, |shown| {
        used = first(shown);
        format!("abc\n{used}\n")
    })
    .await;
    assert_eq!(exit, 0);
    assert!(shown.contains('█') || shown.contains('▀'), "a QR code");
    let with = |code: &str| {
        let pairs = [("grant_type", "password"), ("username", "ana"), ("password", PASSWORD), ("otp", code)];
        form("/auth/token", &pairs)
    };
    gateway.send(by_password("ana", PASSWORD)).await.expect(400);
    gateway.send(with("abcdef")).await.expect(400);
    gateway.send(with(&used)).await.expect(400); // it has confirmed the phone
    let soon = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() + 30;
    let code = totp_of(&shown).generate(soon).to_string();
    gateway.send(with(&code)).await.expect(200);
    gateway.send(with(&code)).await.expect(400);
    let recovery = shown.lines().last().unwrap().trim();
    gateway.send(with(&recovery.to_lowercase())).await.expect(200);
    gateway.send(with(recovery)).await.expect(400);
    run(&gateway, &["user", "totp", "ana", "--remove"]).await;
    gateway.send(by_password("ana", PASSWORD)).await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hash_of_elsewhere_is_taken_over_and_made_anew() {
    let (_ollama, gateway) = issuing().await;
    let hash = bcrypt::hash("a password of elsewhere", 4).unwrap();
    typed(&gateway, &["user", "add", "bob", "--role", "user", "--hash-stdin"], &hash).await;
    gateway.send(by_password("bob", "a wrong password")).await.expect(400);
    for _ in 0..2 {
        gateway.send(by_password("bob", "a password of elsewhere")).await.expect(200);
    }
    let database = std::fs::read(gateway.setup.state().join("gateway.db-wal")).unwrap();
    assert!(database.windows(10).any(|window| window == b"$argon2id$"));
    let (code, out, _) = gateway.setup.run(&["user", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &listed[0]["name"], &listed[0]["second_factor"]), (0, &json!("bob"), &json!(false)));
    assert!(!out.contains('$'));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_tokens_rotate_without_an_interruption() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("auth.jwt", "issue", "true");
    let pem = |name: &str| {
        let path = setup.file(name);
        std::fs::write(&path, rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        format!("\"file:{}\"", path.display())
    };
    let (old, new) = (pem("old.pem"), pem("new.pem"));
    let mut gateway = setup.set("auth.jwt", "keys", &format!("[{old}]")).start().await;
    with_ana(&gateway).await;
    let before = text(&gateway.send(by_password("ana", PASSWORD)).await.expect(200), "access_token");
    gateway.setup.put("auth.jwt", "keys", &format!("[{new}, {old}]"));
    gateway.reload();
    gateway.event("policy_reloaded").await;
    let after = text(&gateway.send(by_password("ana", PASSWORD)).await.expect(200), "access_token");
    let kid = |token: &str| {
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
        serde_json::from_slice::<Value>(&header).unwrap()["kid"].clone()
    };
    assert_ne!(kid(&before), kid(&after));
    assert!(opens(&gateway, &before).await && opens(&gateway, &after).await);
    let jwks = gateway.send(Request::get("/.well-known/jwks.json")).await.expect(200).json();
    let kids: Vec<_> = jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].clone()).collect();
    assert_eq!(kids, [kid(&after), kid(&before)]);
    assert!(!jwks.to_string().contains("\"d\""));
    gateway.setup.put("auth.jwt", "keys", &format!("[{new}]"));
    gateway.reload();
    stops(&gateway, &before).await;
    assert!(opens(&gateway, &after).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_of_a_user_holds_for_the_tokens_that_are_out_and_gives_no_new_ones() {
    let (_ollama, gateway) = issuing().await;
    with_ana(&gateway).await;
    let first = gateway.send(by_password("ana", PASSWORD)).await.expect(200);
    let (access, refresh) = (text(&first, "access_token"), text(&first, "refresh_token"));
    let tags = || Request::get("/api/tags").key(&access);
    gateway.send(tags()).await.expect(200);
    run(&gateway, &["ban", "add", "user:ana", "--for", "1h", "--why", "a test"]).await;
    within("the ban", async { while gateway.send(tags()).await.status != 403 {} }).await;
    assert_eq!(gateway.send(tags()).await.json()["code"], "banned");
    assert_eq!(gateway.send(by_password("ana", PASSWORD)).await.status, 403);
    assert_eq!(gateway.send(by_refresh(&refresh)).await.status, 403);
    gateway.send(Request::get("/api/tags").key(&gateway.user)).await.expect(200);
    let (_, listed, _) = gateway.setup.run(&["ban", "list"]).await;
    assert!(listed.starts_with("user:ana "), "{listed}");
    run(&gateway, &["ban", "remove", "user:ana"]).await;
    within("the end of the ban", async { while gateway.send(tags()).await.status != 200 {} }).await;
    assert_eq!(gateway.setup.run(&["ban", "add", "user:ANA"]).await.0, 2, "no name of a user");
}
