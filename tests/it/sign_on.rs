//! Sign-in to the console at an outside issuer: a real provider from a package, and one of the test's that lies.

use crate::console::{Visitor, text};
use crate::harness::client::Answer;
use crate::harness::setup::clients;
use crate::harness::wire::{tcp, tls_config};
use crate::harness::{Gateway, Ollama, Request, Setup, Wire, routes, within};
use crate::oidc::{Provider, certificate};
use crate::tokens::changed;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;

const DONE: &str = "/console/oidc/done";

/// The package `oidc-provider`, running, and the gateway that it signs people in to.
pub(crate) struct Ground {
    pub(crate) port: u16,
    pub(crate) root: PathBuf,
    pub(crate) gateway: Gateway,
    _process: Child,
    _ollama: Ollama,
}

impl Ground {
    pub(crate) async fn start() -> Self {
        let ollama = routes::recorded().await;
        let setup = Setup::before(&ollama);
        let (root, leaf, key) = certificate();
        let file = |name: &str, text: String| {
            let path = setup.file(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let root = file("issuer.pem", root);
        let (chain, key) = (file("leaf.pem", leaf.pem()), file("leaf.key", key.serialize_pem()));
        let mut command = Command::new("node");
        command.arg(clients("oidc_provider.js")).arg(chain).arg(key).env("NODE_ENV", "production");
        command.stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut process = command.spawn().expect("node, installed by tests/run");
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let port = loop {
            let line = within("the provider's port", lines.next_line()).await.unwrap();
            if let Ok(port) = line.expect("the provider runs").parse() {
                break port;
            }
        };
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        let setup = setup.environment("CONSOLE", "a secret of the console, with: signs & spaces");
        let oidc = format!(
            "{{ issuer = \"https://localhost:{port}\", client_id = \"console\", client_secret = \"env:CONSOLE\", \
             scopes = [\"groups\"], roles = {{ ops = \"admin\" }}, root = {root:?} }}"
        );
        let gateway = setup.set("admin", "oidc", &oidc).start().await;
        Self { port, root, gateway, _process: process, _ollama: ollama }
    }

    /// Begins a flow in this browser; where it is sent.
    async fn begin(&self, browser: &mut Browser<'_>) -> String {
        let answer = browser.visitor.get("/console/oidc/begin").await;
        browser.visitor.cookie = cookie(&answer);
        location(&answer)
    }

    /// Signs in at the provider as a browser would; the answer's address at the gateway.
    async fn through(&self, browser: &mut Browser<'_>, url: &str, name: &str) -> String {
        let own = format!("https://localhost:{}", self.port);
        let mut path = url.strip_prefix(&own).expect("the provider's address").to_owned();
        for _ in 0..9 {
            let request = if path.starts_with("/interaction/") {
                let page = text(&self.ask(browser, Request::get(&path)).await);
                let login = page.contains("name=\"login\"");
                let form =
                    if login { format!("prompt=login&login={name}&password=x") } else { "prompt=consent".to_owned() };
                Request::new("POST", &path).header("Content-Type", "application/x-www-form-urlencoded").body(form)
            } else {
                Request::get(&path)
            };
            let answer = self.ask(browser, request).await;
            let next = location(&answer);
            if next.starts_with("http://") {
                let gateway = format!("http://{}", self.gateway.admin_listener());
                return next.strip_prefix(&gateway).expect("the gateway's own address").to_owned();
            }
            path = next.strip_prefix(&own).unwrap_or(&next).to_owned();
        }
        panic!("the provider goes in circles");
    }

    async fn ask(&self, browser: &mut Browser<'_>, request: Request) -> Answer {
        let jar: Vec<_> = browser.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = request.header("Cookie", &jar.join("; ")).header("Host", &format!("localhost:{}", self.port));
        let connector = TlsConnector::from(Arc::new(tls_config(&self.root, &["http/1.1"])));
        let socket = tcp(([127, 0, 0, 1], self.port).into()).await;
        let stream = connector.connect(ServerName::try_from("localhost").unwrap(), socket).await.unwrap();
        let answer = Wire::over(stream).exchange(&request).await;
        for line in answer.all("set-cookie") {
            let (name, value) = line.split(';').next().unwrap().split_once('=').unwrap();
            browser.jar.insert(name.to_owned(), value.to_owned());
        }
        answer
    }
}

/// One browser: its cookies here and there.
struct Browser<'a> {
    visitor: Visitor<'a>,
    jar: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    fn new(gateway: &'a Gateway) -> Self {
        Self { visitor: Visitor::new(gateway), jar: BTreeMap::new() }
    }
}

fn location(answer: &Answer) -> String {
    let text = || format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body));
    answer.one("location").unwrap_or_else(|| panic!("no Location: {}", text())).to_owned()
}

fn cookie(answer: &Answer) -> String {
    let lines = answer.all("set-cookie");
    let pairs = lines.iter().filter(|line| !line.contains("Max-Age=0")).map(|line| line.split(';').next().unwrap());
    pairs.collect::<Vec<_>>().join("; ")
}

/// A parameter of an address, as it is written there.
fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    found.unwrap_or_else(|| panic!("no {name} in {url}")).to_owned()
}

async fn refused(gateway: &Gateway, answer: &Answer, why: &str) {
    assert_eq!((answer.status, answer.all("set-cookie").len()), (401, 0), "{why}: {}", text(answer));
    gateway.event_where("authentication_failure", |event| event.to_string().contains(why)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_provider_signs_an_admin_in_and_nobody_else() {
    let ground = Ground::start().await;
    let door = text(&Visitor::new(&ground.gateway).get("/console").await);
    assert!(door.contains(&format!("Sign in at localhost:{}", ground.port)), "{door}");
    let mut browser = Browser::new(&ground.gateway);
    let url = ground.begin(&mut browser).await;
    let wanted = [("response_type", "code"), ("code_challenge_method", "S256"), ("scope", "openid%20groups")];
    assert!(wanted.iter().all(|(name, value)| parameter(&url, name) == *value), "{url}");
    assert!(parameter(&url, "code_challenge").len() == 43 && parameter(&url, "nonce").len() >= 43, "{url}");
    let back = ground.through(&mut browser, &url, "boss").await;
    let answer = browser.visitor.get(&back).await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    let set = answer.all("set-cookie").join("\n");
    assert!(set.contains("ogw_console=") && set.contains("ogw_flow=; "), "{set}");
    browser.visitor.cookie = cookie(&answer);
    let page = text(&browser.visitor.get("/console").await);
    assert!(page.contains(&format!("oidc:localhost:{}:boss", ground.port)), "{page}");
    let signed_in = browser.visitor;

    let mut guest = Browser::new(&ground.gateway);
    let url = ground.begin(&mut guest).await;
    let back = ground.through(&mut guest, &url, "ana").await;
    refused(&ground.gateway, &guest.visitor.get(&back).await, "token_claims").await;
    let log = ground.gateway.log_text();
    assert!(!log.contains("a secret of the console") && !log.contains(&parameter(&back, "code")));
    let setup = ground.gateway.setup.clone().set("admin", "roles", "[\"admin\", \"user\"]");
    let oidc = setup.toml().lines().find_map(|line| line.strip_prefix("oidc = ").map(str::to_owned)).unwrap();
    setup.set("admin", "oidc", &oidc.replace("ops = \"admin\"", "ops = \"user\"")).write();
    ground.gateway.signal("HUP");
    ground.gateway.event("policy_reloaded").await;
    assert!(text(&signed_in.get("/console").await).contains("Sign in at"), "a session ends with its role's row");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_is_of_one_browser_and_works_once() {
    let ground = Ground::start().await;
    let gateway = &ground.gateway;
    let (mut victim, mut attacker) = (Browser::new(gateway), Browser::new(gateway));
    let (of_victim, of_attacker) = (ground.begin(&mut victim).await, ground.begin(&mut attacker).await);
    let theirs = ground.through(&mut attacker, &of_attacker, "boss").await;
    // The attacker's own answer in the victim's browser (login CSRF), and in one that has no flow.
    refused(gateway, &victim.visitor.get(&theirs).await, "sign_on_state").await;
    refused(gateway, &Visitor::new(gateway).get(&theirs).await, "sign_on_unknown").await;
    // The first try used the victim's flow up.
    let late = ground.through(&mut victim, &of_victim, "boss").await;
    refused(gateway, &victim.visitor.get(&late).await, "sign_on_unknown").await;
    // A stolen code in a flow of one's own: the provider wants the verifier of the flow that the code is of (PKCE).
    let own = ground.begin(&mut attacker).await;
    let (state, code) = (parameter(&own, "state"), parameter(&late, "code"));
    let issuer = parameter(&late, "iss");
    let injected = format!("{DONE}?code={code}&state={state}&iss={issuer}");
    refused(gateway, &attacker.visitor.get(&injected).await, "sign_on_code").await;
    // A good one, twice.
    let url = ground.begin(&mut victim).await;
    let back = ground.through(&mut victim, &url, "boss").await;
    assert_eq!(victim.visitor.get(&back).await.status, 200);
    refused(gateway, &victim.visitor.get(&back).await, "sign_on_unknown").await;
    // The used code in a fresh flow.
    let url = ground.begin(&mut victim).await;
    let again = format!("{DONE}?code={}&state={}&iss={issuer}", parameter(&back, "code"), parameter(&url, "state"));
    refused(gateway, &victim.visitor.get(&again).await, "sign_on_code").await;
    // The answer of another issuer (mix-up), and one that says none where the issuer always does.
    for issuer in ["&iss=https%3A%2F%2Fevil.example", ""] {
        let url = ground.begin(&mut victim).await;
        let back = ground.through(&mut victim, &url, "boss").await;
        let (code, state) = (parameter(&back, "code"), parameter(&back, "state"));
        let answer = victim.visitor.get(&format!("{DONE}?code={code}&state={state}{issuer}")).await;
        refused(gateway, &answer, "sign_on_issuer").await;
    }
    let foreign = Request::get("/console/oidc/begin").header("Sec-Fetch-Site", "cross-site");
    assert_eq!(victim.visitor.send(foreign).await.status, 404, "another page begins no flow");
    let audit = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap();
    assert!(audit.contains("sign_on_code") && audit.contains("\"outcome\":\"completed\""), "{audit}");
}

/// The test's own issuer says whatever it is told to.
async fn by_the_liar(provider: &Provider, more: impl FnOnce(Setup) -> Setup) -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama);
    let root = setup.file("issuer.pem");
    std::fs::write(&root, &provider.root).unwrap();
    let oidc = format!(
        "{{ issuer = \"{}\", client_id = \"ollama\", role_claim = \"realm_access.roles\", roles = {{ staff = \"admin\" }}, \
         root = {root:?} }}",
        provider.issuer()
    );
    (ollama, more(setup.set("admin", "oidc", &oidc)).start().await)
}

async fn flow(provider: &Provider, gateway: &Gateway, token: impl Fn(&str) -> String) -> Answer {
    let mut visitor = Visitor::new(gateway);
    let begun = visitor.get("/console/oidc/begin").await;
    let url = location(&begun);
    *provider.token.lock().unwrap() = json!({"id_token": token(&parameter(&url, "nonce")), "token_type": "Bearer"});
    visitor.cookie = cookie(&begun);
    let answer = visitor.get(&format!("{DONE}?code=abc%2Fd&state={}", parameter(&url, "state"))).await;
    let form = provider.form.lock().unwrap().clone();
    let verifier = form.split("code_verifier=").nth(1).unwrap().split('&').next().unwrap();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
    assert_eq!(URL_SAFE_NO_PAD.encode(digest), parameter(&url, "code_challenge"), "the verifier is that of the flow");
    assert!(form.contains("code=abc%2Fd&") && form.contains("client_id=ollama"), "{form}");
    assert!(form.contains(&format!("redirect_uri={}", parameter(&url, "redirect_uri"))), "{form}");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuers_token_has_to_be_of_this_flow_and_this_client() {
    let provider = Provider::start().await;
    let (_ollama, gateway) = by_the_liar(&provider, |setup| setup).await;
    let claims = changed(provider.claims(), json!({"aud": "ollama", "at_hash": "x"}));
    let said = |header: Value, changes: Value| {
        let (provider, claims) = (&provider, &claims);
        move |nonce: &str| {
            let claims = changed(changed(claims.clone(), json!({"nonce": nonce})), changes.clone());
            provider.sign(header.clone(), &claims)
        }
    };
    let exp = claims["exp"].as_i64().unwrap();
    for (header, changes, why) in [
        (json!({}), json!({"nonce": "another"}), "sign_on_nonce"),
        (json!({}), json!({"nonce": null}), "sign_on_nonce"),
        (json!({}), json!({"iss": "https://evil.example"}), "token_issuer"),
        (json!({}), json!({"aud": "another"}), "token_audience"),
        (json!({}), json!({"aud": ["ollama", "another"]}), "sign_on_party"),
        (json!({}), json!({"azp": "another"}), "sign_on_party"),
        (json!({}), json!({"exp": exp - 4000, "iat": exp - 5000}), "token_expired"),
        (json!({}), json!({"realm_access": {"roles": ["guests"]}}), "token_claims"),
        (json!({"alg": "none"}), json!({}), "token_algorithm"),
        (json!({"alg": "HS256", "kid": "shared"}), json!({}), "token_key_unknown"),
        (json!({"alg": "ES256"}), json!({}), "token_algorithm"),
        (json!({"jku": "https://evil.example/keys"}), json!({}), "token_header"),
    ] {
        let answer = flow(&provider, &gateway, said(header, changes)).await;
        refused(&gateway, &answer, why).await;
    }
    let good = said(json!({}), json!({}));
    let cut = |nonce: &str| good(nonce).rsplit_once('.').unwrap().0.to_owned() + ".AAAA";
    refused(&gateway, &flow(&provider, &gateway, cut).await, "token_signature").await;
    let answer = flow(&provider, &gateway, &good).await;
    assert_eq!(answer.status, 200, "{}", text(&answer));
    // What the issuer says of itself is read once: discovery and keys; then one token a flow.
    assert!(provider.asked.load(Ordering::SeqCst) <= 2 + 2 + 14, "{}", provider.asked.load(Ordering::SeqCst));
}

/// Any page can send a browser to the end of a flow that nobody began.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_sends_browsers_here_shuts_nobody_out() {
    let provider = Provider::start().await;
    let few = "{ rate = \"5/hour\", burst = 5 }";
    let (_ollama, gateway) = by_the_liar(&provider, |setup| setup.set("limits", "authentication_failures", few)).await;
    let mut visitor = Visitor::new(&gateway);
    for _ in 0..10 {
        refused(&gateway, &visitor.get(&format!("{DONE}?state=x&code=y")).await, "sign_on_unknown").await;
    }
    assert_eq!(visitor.sign_in(&gateway.admin).await.status, 303);
    let mut guesser = Visitor::new(&gateway);
    for _ in 0..5 {
        guesser.sign_in("nonsense").await;
    }
    assert_eq!(guesser.sign_in("nonsense").await.status, 429, "who guesses is shut out");
}
