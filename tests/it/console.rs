//! The console: who may see it by a key, what a form must carry, what ends a session. In a real browser: `console_browser`.

use super::harness::client::Answer;
use super::harness::gateway::key_id;
use super::harness::{Gateway, Ollama, Reply, Request, Setup, Wire, within};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A browser on this machine, as far as headers go.
pub(crate) struct Visitor<'a> {
    gateway: &'a Gateway,
    pub(crate) cookie: String,
}

impl<'a> Visitor<'a> {
    pub(crate) const fn new(gateway: &'a Gateway) -> Self {
        Self { gateway, cookie: String::new() }
    }

    pub(crate) async fn send(&self, request: Request) -> Answer {
        let request = request.header("Cookie", &self.cookie);
        let named = request.fields.iter().any(|(name, _)| name == "Host");
        let own = self.gateway.admin_listener().to_string();
        let request = if named { request } else { request.header("Host", &own) };
        Wire::cleartext(self.gateway.admin_listener()).await.exchange(&request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path)).await
    }

    pub(crate) async fn post(&self, path: &str, form: &str) -> Answer {
        self.send(form_of(path, form)).await
    }

    pub(crate) async fn sign_in(&mut self, key: &str) -> Answer {
        self.sign_in_by(&format!("key={key}")).await
    }

    pub(crate) async fn sign_in_by(&mut self, form: &str) -> Answer {
        let answer = self.post("/console/sign-in", form).await;
        if let Some(cookie) = answer.one("set-cookie") {
            self.cookie = cookie.split(';').next().unwrap().to_owned();
        }
        answer
    }

    /// The token that the forms of its page carry.
    pub(crate) async fn token(&self) -> String {
        let page = text(&self.get("/console").await);
        page.split("name=\"token\" value=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a form").to_owned()
    }
}

pub(crate) fn form_of(path: &str, form: &str) -> Request {
    Request::new("POST", path).header("Content-Type", "application/x-www-form-urlencoded").body(form)
}

pub(crate) fn text(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

pub(crate) async fn ground() -> (Ollama, Gateway) {
    let ollama = Ollama::start().await;
    ollama.on("/api/tags", Reply::json(200, "{\"models\":[]}"));
    let gateway = Setup::before(&ollama).start().await;
    (ollama, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_admins_key_opens_it_and_every_page_is_locked_down() {
    let (_ollama, gateway) = ground().await;
    let mut visitor = Visitor::new(&gateway);
    let page = visitor.get("/console").await;
    assert!(page.status == 200 && text(&page).contains("Sign in") && !text(&page).contains("in flight"));
    assert!(!text(&visitor.get("/console/keys").await).contains("Make a key"));
    assert_eq!(visitor.get("/console/live").await.status, 401);
    for key in [gateway.user.as_str(), "", "nonsense", "ogw_aaaaaaaaaaaa_x"] {
        let answer = visitor.sign_in(key).await;
        assert_eq!((answer.status, answer.one("set-cookie")), (401, None), "{key}");
    }
    gateway.event_where("authentication_failure", |event| event.to_string().contains("not_an_admin")).await;
    let answer = visitor.sign_in(&gateway.admin).await;
    assert_eq!((answer.status, answer.one("location")), (303, Some("/console")));
    let cookie = answer.one("set-cookie").unwrap();
    assert!(
        ["HttpOnly", "Secure", "SameSite=Strict", "Path=/console"].iter().all(|part| cookie.contains(part)),
        "{cookie}"
    );
    let page = visitor.get("/console/keys").await;
    let policy = page.one("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    assert!(!policy.contains("unsafe") && page.one("cache-control") == Some("no-store"), "{policy}");
    let page = text(&page);
    assert!(page.contains("Make a key") && !page.contains("style=\"") && !page.contains("onclick"), "{page}");
    assert!(!page.contains(&gateway.admin) && !gateway.log_text().contains(&visitor.cookie[12..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_made_rotated_and_revoked_and_the_gateway_knows_at_once() {
    let (_ollama, gateway) = ground().await;
    let mut visitor = Visitor::new(&gateway);
    visitor.sign_in(&gateway.admin).await;
    let token = visitor.token().await;
    let made = visitor.post("/console/keys", &format!("token={token}&id=Ana%3Cb%3E&role=user&expires=90d")).await;
    let key = key_in(&text(&made));
    assert!(text(&made).contains("Ana&lt;b&gt;"), "{}", text(&made));
    until(&gateway, &key, 200).await;
    let rotate = format!("token={token}&id={}&overlap=0s", key_id(&key));
    let new = key_in(&text(&visitor.post("/console/keys/rotate", &rotate).await));
    until(&gateway, &new, 200).await;
    until(&gateway, &key, 401).await;
    let revoke = format!("token={token}&id={}", key_id(&new));
    assert_eq!(visitor.post("/console/keys/revoke", &revoke).await.status, 303);
    until(&gateway, &new, 401).await;
    for (form, said) in [
        ("id=&role=user", "1 to 64"),
        ("id=x&role=nobody", "no such role"),
        ("id=x&role=user&expires=soon", "ends after"),
    ] {
        let answer = visitor.post("/console/keys", &format!("token={token}&{form}")).await;
        assert!(answer.status == 400 && text(&answer).contains(said), "{form}: {}", text(&answer));
    }
    gateway.event("console_change").await;
    let log = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap();
    let by_admin = format!("\"principal\":\"{}\"", key_id(&gateway.admin));
    let about = |action: &str, id: &str| format!("{by_admin},\"action\":\"{action}\",\"object\":\"{id}\",\"outcome\"");
    for line in [
        format!("{by_admin},\"action\":\"console sign-in\",\"outcome\":\"completed\""),
        about("key create", key_id(&key)),
        about("key rotate", key_id(&new)),
        about("key revoke", key_id(&new)),
        format!("{by_admin},\"action\":\"key create\",\"outcome\":\"refused\""),
    ] {
        assert!(log.contains(&line), "{line}: {log}");
    }
    assert!(!log.contains(&key) && !log.contains(&new));
}

fn key_in(page: &str) -> String {
    let key = page.split("<output class=\"key\">").nth(1).and_then(|rest| rest.split('<').next());
    key.unwrap_or_else(|| panic!("no key in {page}")).to_owned()
}

/// Waits until a key is answered like this.
pub(crate) async fn until(gateway: &Gateway, key: &str, status: u16) {
    let waits = async {
        while gateway.send(Request::get("/api/tags").key(key)).await.status != status {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within("a change of the keys", waits).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_form_of_another_page_changes_nothing() {
    let (_ollama, gateway) = ground().await;
    let mut visitor = Visitor::new(&gateway);
    visitor.sign_in(&gateway.admin).await;
    let token = visitor.token().await;
    let make = |token: &str| form_of("/console/keys", &format!("token={token}&id=evil&role=admin"));
    for (request, status) in [
        (make(""), 403),
        (make(&"0".repeat(64)), 403),
        (make(&token).header("Origin", "http://evil.example"), 403),
        (make(&token).header("Origin", "null"), 403),
        (make(&token).header("Sec-Fetch-Site", "cross-site"), 403),
        (make(&token).header("Host", "evil.example:9443"), 421),
        (Request::new("POST", "/console/keys").header("Content-Type", "text/plain").body("id=evil"), 400),
        (form_of("/console/keys", &"x".repeat(5000)), 400),
    ] {
        let answer = visitor.send(request).await;
        assert_eq!(answer.status, status, "{}", text(&answer));
    }
    let anonymous = Visitor::new(&gateway).post("/console/keys", &format!("token={token}&id=evil&role=admin")).await;
    assert_eq!(anonymous.status, 303);
    let (_, keys, _) = gateway.setup.run(&["key", "list", "--json"]).await;
    assert!(!keys.contains("evil"), "{keys}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ends_with_sign_out_and_with_its_key_and_so_does_its_stream() {
    let (_ollama, gateway) = ground().await;
    let mut visitor = Visitor::new(&gateway);
    visitor.sign_in(&gateway.admin).await;
    let token = visitor.token().await;
    assert_eq!(visitor.post("/console/sign-out", &format!("token={token}")).await.status, 303);
    assert!(text(&visitor.get("/console").await).contains("Sign in"));

    visitor.sign_in(&gateway.admin).await;
    let mut stream = TcpStream::connect(gateway.admin_listener()).await.unwrap();
    let request = format!("GET /console/live HTTP/1.1\r\nHost: localhost\r\nCookie: {}\r\n\r\n", visitor.cookie);
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut piece = vec![0; 16 * 1024];
    let mut seen = String::new();
    while !seen.contains("data: {") {
        let count = within("a moment", stream.read(&mut piece)).await.unwrap();
        seen.push_str(&String::from_utf8_lossy(&piece[..count]));
    }
    assert!(seen.contains("text/event-stream") && seen.contains("\"in_flight\":0"), "{seen}");
    gateway.revoke(&gateway.admin).await;
    let end = async { while stream.read(&mut piece).await.unwrap() > 0 {} };
    within("the stream to end with its key", end).await;
    assert!(text(&visitor.get("/console").await).contains("Sign in"));
}
