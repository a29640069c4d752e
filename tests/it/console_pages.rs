//! The console's pages: both factors of a user, what an admin does with users and bans, what is recorded, usage, a chat.

use crate::console::{Visitor, form_of, text, until};
use crate::harness::{Gateway, Ollama, Request, Setup, Wire, routes, within};
use crate::sign_in::{PASSWORD, typed};
use serde_json::Value;
use std::time::Duration;

/// A user, its password and second factor.
pub(crate) async fn enrolled(gateway: &Gateway, name: &str, role: &str) -> totp_rs::Totp {
    let add = ["user", "add", name, "--role", role, "--password-stdin"];
    typed(gateway, &add, &format!("{PASSWORD}\n")).await;
    let shown = typed(gateway, &["user", "totp", name, "--unconfirmed"], "").await;
    let url = shown.lines().find(|line| line.starts_with("otpauth://")).unwrap();
    let secret = url.split("secret=").nth(1).unwrap().split('&').next().unwrap();
    let secret = totp_rs::Secret::try_from_base32(secret).unwrap();
    totp_rs::Builder::new().with_secret(secret).with_account_name(name).build().unwrap()
}

fn factors(name: &str, password: &str, code: &str) -> String {
    format!("name={name}&password={}&code={code}", password.replace(' ', "+"))
}

async fn ground() -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    (ollama, gateway)
}

/// The records of acts in the audit log: action, object, principal, outcome.
fn acts(gateway: &Gateway) -> Vec<[String; 4]> {
    let log = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap();
    let records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let acts = records.filter(|record| record["event"] == "administration");
    acts.map(|record| {
        ["action", "object", "principal", "outcome"].map(|name| record[name].as_str().unwrap_or("").to_owned())
    })
    .collect()
}

fn has_act(gateway: &Gateway, wanted: [&str; 4]) -> bool {
    acts(gateway).iter().any(|act| act.each_ref().map(String::as_str) == wanted)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_both_factors_and_the_role_and_what_is_wrong_is_not_told() {
    let (_ollama, gateway) = ground().await;
    let totp = enrolled(&gateway, "root", "admin").await;
    let of_ana = enrolled(&gateway, "ana", "user").await;
    let add = ["user", "add", "half", "--role", "admin", "--password-stdin"];
    typed(&gateway, &add, &format!("{PASSWORD}\n")).await;
    let mut visitor = Visitor::new(&gateway);
    let code = totp.generate_current().to_string();
    let mut pages = Vec::new();
    for (form, why) in [
        (factors("root", "a wrong password", &code), "password_wrong"),
        (factors("root", PASSWORD, "000000"), "second_factor_wrong"),
        (factors("root", PASSWORD, ""), "second_factor_missing"),
        (factors("half", PASSWORD, "123456"), "second_factor_not_enrolled"),
        (factors("nobody", PASSWORD, &code), "user_unknown"),
        (factors("ana", PASSWORD, &of_ana.generate_current().to_string()), "not_an_admin"),
    ] {
        let answer = visitor.sign_in_by(&form).await;
        assert_eq!((answer.status, answer.one("set-cookie")), (401, None), "{why}");
        gateway.event_where("authentication_failure", |event| event.to_string().contains(why)).await;
        assert!(has_act(&gateway, ["console sign-in", why, "unknown", "refused"]), "{why}: {:?}", acts(&gateway));
        pages.push(text(&answer));
    }
    assert!(pages.iter().all(|page| *page == pages[0]), "one answer for all");
    let answer = visitor.sign_in_by(&factors("root", PASSWORD, &code)).await;
    assert_eq!((answer.status, answer.one("location")), (303, Some("/console")), "{}", text(&answer));
    let page = text(&visitor.get("/console").await);
    assert!(page.contains("user:root"), "{page}");
    assert!(has_act(&gateway, ["console sign-in", "", "user:root", "completed"]));
    let again = Visitor::new(&gateway).post("/console/sign-in", &factors("root", PASSWORD, &code)).await;
    assert_eq!(again.status, 401, "no code works twice");
    typed(&gateway, &["user", "lock", "root"], "").await;
    within("the session of a locked user to end", async {
        while !text(&visitor.get("/console").await).contains("Sign in") {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    assert!(!gateway.log_text().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_locked_and_given_roles_and_each_act_is_recorded() {
    let (_ollama, gateway) = ground().await;
    let totp = enrolled(&gateway, "root", "admin").await;
    enrolled(&gateway, "ana", "user").await;
    let mut visitor = Visitor::new(&gateway);
    visitor.sign_in_by(&factors("root", PASSWORD, &totp.generate_current().to_string())).await;
    let token = visitor.token().await;
    let act = async |path: &str, form: &str| visitor.post(path, &format!("token={token}&{form}")).await;
    for (path, form, status, said) in [
        ("/console/users/lock", "id=ana", 303, ""),
        ("/console/users/lock", "id=ana", 400, "is so already"),
        ("/console/users/role", "id=ana&role=admin", 303, ""),
        ("/console/users/role", "id=ana&role=emperor", 400, "no such role"),
        ("/console/users/role", "id=root&role=user", 400, "yourself"),
        ("/console/users/lock", "id=root", 400, "yourself"),
        ("/console/users/lock", "id=No%20one", 400, "no such user"),
        ("/console/users/unlock", "id=ana", 303, ""),
        ("/console/users/elevate", "id=ana", 400, "no such action"),
    ] {
        let answer = act(path, form).await;
        assert!(answer.status == status && text(&answer).contains(said), "{path} {form}: {}", text(&answer));
    }
    let (_, listed, _) = gateway.setup.run(&["user", "list", "--json"]).await;
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let ana = listed.as_array().unwrap().iter().find(|user| user["name"] == "ana").unwrap();
    assert_eq!((&ana["role"], &ana["state"]), (&"admin".into(), &"active".into()), "{ana}");
    for wanted in [
        ["user lock", "ana", "user:root", "completed"],
        ["user lock", "root", "user:root", "refused"],
        ["user role", "ana", "user:root", "completed"],
        ["user unlock", "ana", "user:root", "completed"],
    ] {
        assert!(has_act(&gateway, wanted), "{wanted:?} is not in {:?}", acts(&gateway));
    }
    let page = text(&visitor.get("/console/users").await);
    assert!(page.contains("ana") && page.contains("Second factor") && !page.contains('$'), "{page}");
    let audit = text(&visitor.get("/console/audit").await);
    assert!(audit.contains("user lock") && audit.contains("user:root"), "{audit}");
    let (code, out, error) = gateway.setup.run(&["audit", "verify"]).await;
    assert_eq!(code, 0, "{out}{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_of_the_console_holds_and_is_lifted() {
    let (_ollama, gateway) = ground().await;
    let mut visitor = Visitor::new(&gateway);
    visitor.sign_in(&gateway.admin).await;
    let token = visitor.token().await;
    let id = crate::harness::gateway::key_id(&gateway.user);
    for (form, status) in
        [("id=nowhere&time=1h", 400), ("id=192.0.2.1&time=soon", 400), ("id=192.0.2.0/24&time=1h&why=%1b", 400)]
    {
        assert_eq!(visitor.post("/console/bans", &format!("token={token}&{form}")).await.status, status, "{form}");
    }
    let form = format!("token={token}&id={id}&time=1h&why=a+leak%3Cb%3E");
    assert_eq!(visitor.post("/console/bans", &form).await.status, 303);
    until(&gateway, &gateway.user, 403).await;
    let page = text(&visitor.get("/console/bans").await);
    assert!(page.contains("a leak&lt;b&gt;") && page.contains(&format!("key:{id}")), "{page}");
    assert_eq!(visitor.post("/console/bans/lift", &format!("token={token}&id=key%3A{id}")).await.status, 303);
    until(&gateway, &gateway.user, 200).await;
    let admin = crate::harness::gateway::key_id(&gateway.admin);
    // A whole key in the wrong field is in no log.
    let form = format!("token={token}&id={}&time=1h", gateway.user);
    assert_eq!(visitor.post("/console/bans", &form).await.status, 400);
    assert_eq!(visitor.post("/console/bans", &format!("token={token}&id={admin}&time=1h")).await.status, 400);
    let logs = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap() + &gateway.log_text();
    let secret = gateway.user.split('_').nth(2).unwrap();
    assert!(!logs.contains(&secret[..20]), "a key is in a log");
    assert!(has_act(&gateway, ["ban add", id, admin, "completed"]), "{:?}", acts(&gateway));
    assert!(has_act(&gateway, ["ban remove", &format!("key:{id}"), admin, "completed"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_banned_is_out_of_the_console_at_once() {
    let (_ollama, gateway) = ground().await;
    let totp = enrolled(&gateway, "root", "admin").await;
    let (mut user, mut key) = (Visitor::new(&gateway), Visitor::new(&gateway));
    user.sign_in_by(&factors("root", PASSWORD, &totp.generate_current().to_string())).await;
    key.sign_in(&gateway.admin).await;
    let of_key = crate::harness::gateway::key_id(&gateway.admin);
    for (who, visitor) in [("user:root", &mut user), (of_key, &mut key)] {
        assert!(!text(&visitor.get("/console").await).contains("Sign in"), "{who} is in");
        typed(&gateway, &["ban", "add", who, "--for", "1h", "--why", "left the company"], "").await;
        within("the session of who is banned to end", async {
            while !text(&visitor.get("/console").await).contains("Sign in") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chat_goes_through_the_policy_as_who_is_signed_in() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("roles.admin", "models", "[\"tiny:*\"]");
    let gateway = setup.set("validation", "max_message_chars", "100").start().await;
    let mut visitor = Visitor::new(&gateway);
    visitor.sign_in(&gateway.admin).await;
    let page = text(&visitor.get("/console/chat").await);
    assert!(page.contains("<option>tiny:latest</option>"), "the models of the role: {page}");
    let token = visitor.token().await;
    let before = ollama.count();
    let answer = visitor.post("/console/chat", &format!("token={token}&model=tiny&message=hello")).await;
    assert_eq!((answer.status, answer.one("content-type")), (200, Some("application/x-ndjson")), "{}", text(&answer));
    assert!(text(&answer).lines().count() > 2 && text(&answer).contains("\"done\":true"), "{}", text(&answer));
    assert_eq!(ollama.count(), before + 1);
    let last = ollama.raw().pop().unwrap();
    assert!(!String::from_utf8_lossy(&last).to_lowercase().contains("cookie"), "nothing of the browser's");
    for (form, code) in [
        ("model=secret&message=hello", "model_not_found"),
        (&format!("model=tiny&message={}", "x".repeat(101)), "message_too_long"),
    ] {
        let answer = visitor.post("/console/chat", &format!("token={token}&{form}")).await;
        assert!(answer.status >= 400 && text(&answer).contains(code), "{form}: {}", text(&answer));
    }
    assert_eq!(visitor.post("/console/chat", "token=x&model=tiny&message=hello").await.status, 403);
    let anonymous = form_of("/console/chat", "model=tiny&message=hello");
    assert_eq!(Wire::cleartext(gateway.admin_listener()).await.exchange(&anonymous).await.status, 303);
    assert_eq!(ollama.count(), before + 1, "what is refused reaches nobody");
    let id = crate::harness::gateway::key_id(&gateway.admin);
    let log = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap();
    let records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut chats = records.filter(|record| record["action"] == "chat" && record["principal"] == id);
    assert!(chats.any(|record| record["outcome"] == "completed" && record["role"] == "admin"), "{log}");
    let usage = text(&visitor.get("/console/usage?days=1").await);
    assert!(usage.contains(&format!("admin-of-a-test ({id})")) && usage.contains("tiny:latest"), "{usage}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_with_bounds_keeps_them_in_the_console() {
    let (ollama, gateway) = ground().await;
    let bounded = gateway.setup.key_with("admin", &["--address", "192.0.2.0/24"]).await;
    let mut visitor = Visitor::new(&gateway);
    within("the key to be known", async {
        while visitor.sign_in(&bounded).await.status != 303 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let (token, before) = (visitor.token().await, ollama.count());
    let answer = visitor.post("/console/chat", &format!("token={token}&model=tiny&message=hello")).await;
    assert!(text(&answer).contains("address_forbidden"), "{}", text(&answer));
    assert_eq!(ollama.count(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_log_is_shown_page_by_page() {
    let (_ollama, gateway) = ground().await;
    let mut visitor = Visitor::new(&gateway);
    visitor.sign_in(&gateway.admin).await;
    for number in 0..60 {
        if number == 20 {
            assert_eq!(gateway.setup.run(&["audit", "rotate"]).await.0, 0);
        }
        gateway.send(Request::get("/api/version").key(&gateway.user)).await.expect(200);
    }
    let first = text(&visitor.get("/console/audit").await);
    let rows = first.matches("<tr>").count();
    assert_eq!(rows, 51, "fifty records and the head");
    let before = first.split("before=").nth(1).and_then(|rest| rest.split('"').next()).expect("an earlier page");
    let second = text(&visitor.get(&format!("/console/audit?before={before}")).await);
    assert!(second.contains("started") && second.contains("Newest") && !second.contains("before="), "{second}");
    assert_eq!(visitor.get("/console/audit?before=nonsense").await.status, 200);
}
