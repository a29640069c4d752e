//! Every endpoint × every way to be known besides a key in a header (certificates: `tls_clients`), and nobody at all: what
//! each may do, and that a refused one never reaches Ollama. The counterpart of `matrix`.

use crate::cli_login::{Identity, enrol, now};
use crate::harness::calls::{Call, From};
use crate::harness::{Gateway, Ollama, Request, Setup, routes, within};
use crate::oidc::Provider;
use crate::tokens::{SECRET, changed};
use ollama_gateway::ollama::endpoint::{Class, Endpoint};
use serde_json::json;
use std::time::Duration;

/// How a caller shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    UserToken,
    KeyToken,
    OutsideToken,
    Signature,
    PathKey,
}

/// Whether its role names the route, or it may not call any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    With,
    Without,
    Gone,
}

const WAYS: [Way; 5] = [Way::UserToken, Way::KeyToken, Way::OutsideToken, Way::Signature, Way::PathKey];
const STANDINGS: [Standing; 3] = [Standing::With, Standing::Without, Standing::Gone];

/// What one role's callers hold.
struct Holder {
    key: String,
    key_token: String,
    user_token: String,
    outside_token: String,
    ssh: Identity,
    ssh_id: String,
}

impl Holder {
    async fn make(gateway: &Gateway, provider: &Provider, role: &str, name: &str) -> Self {
        let outside_token = said(provider, role, json!({}));
        let key = gateway.setup.key(role).await;
        let ssh = Identity::make(&gateway.setup, &format!("{name}-ssh"));
        let ssh_id = enrol(&gateway.setup, &ssh, role, &[]).await;
        let (code, password, err) = gateway.setup.run(&["user", "add", name, "--role", role]).await;
        assert_eq!(code, 0, "{err}");
        within("the key to be known", async {
            while gateway.send(Request::get("/api/nothing").key(&key)).await.status == 401
                || token(gateway, &json!({"grant_type": "client_credentials", "client_secret": key})).await.is_none()
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
        let by_key = json!({"grant_type": "client_credentials", "client_secret": key});
        let by_password = json!({"grant_type": "password", "username": name, "password": password.trim()});
        let key_token = token(gateway, &by_key).await.unwrap();
        let user_token = token(gateway, &by_password).await.unwrap();
        Self { key, key_token, user_token, outside_token, ssh, ssh_id }
    }

    fn request(&self, way: Way, call: &Call) -> Request {
        let plain = call.request(None);
        match way {
            Way::UserToken => plain.key(&self.user_token),
            Way::KeyToken => plain.key(&self.key_token),
            Way::OutsideToken => plain.key(&self.outside_token),
            Way::PathKey => Request { path: format!("/k/{}{}", self.key, call.path), ..plain },
            Way::Signature => {
                let signed = self.ssh.sign(call.method, &call.path, now());
                Request { path: signed.path, fields: [plain.fields, signed.fields].concat(), ..plain }
            }
        }
    }
}

/// A token of the outside issuer.
fn said(provider: &Provider, role: &str, changes: serde_json::Value) -> String {
    let claims = changed(provider.claims(), json!({"realm_access": {"roles": [role]}}));
    provider.sign(json!({}), &changed(claims, changes))
}

async fn token(gateway: &Gateway, grant: &serde_json::Value) -> Option<String> {
    let answer = gateway.send(Request::post("/auth/token", grant)).await;
    (answer.status == 200).then(|| answer.json()["access_token"].as_str().unwrap().to_owned())
}

async fn end(gateway: &Gateway, holder: &Holder, user: &str) {
    gateway.revoke(&holder.key).await;
    gateway.setup.run(&["user", "lock", user]).await;
    let (code, _, err) = gateway.setup.run(&["key", "revoke", &holder.ssh_id]).await;
    assert_eq!(code, 0, "{err}");
    let call = Call::of(Endpoint::Version);
    within("all of them to stop working", async {
        for way in WAYS {
            while gateway.send(holder.request(way, &call)).await.status != 401 {
                // A signature of the same second would be refused as seen, whatever became of its key.
                tokio::time::sleep(Duration::from_millis(1100)).await;
            }
        }
    })
    .await;
}

async fn serving(ollama: &Ollama, provider: &Provider) -> Gateway {
    let every = "[\"inference\", \"catalogue\", \"management\", \"egress\", \"v1-transcriptions\"]";
    let mut setup = Setup::before(ollama).environment("SECRET", SECRET).set("auth", "path_keys", "true");
    setup = setup.set("auth.jwt", "issue", "true").set("auth.jwt", "secret", "\"env:SECRET\"");
    for (role, endpoints) in [("all", every), ("inference", "[\"inference\"]"), ("catalogue", "[\"catalogue\"]")] {
        let section = format!("roles.{role}");
        setup = setup.set(&section, "endpoints", endpoints).set(&section, "models", "[\"*\"]");
    }
    let roles = "all = \"all\", inference = \"inference\", catalogue = \"catalogue\"";
    let gateway = provider.believed(setup, roles).start().await;
    gateway.event("issuer_keys").await;
    gateway
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_times_every_way_to_be_known() {
    let ollama = routes::recorded().await;
    let provider = Provider::start().await;
    let gateway = serving(&ollama, &provider).await;
    let all = Holder::make(&gateway, &provider, "all", "all").await;
    let inference = Holder::make(&gateway, &provider, "inference", "inference").await;
    let catalogue = Holder::make(&gateway, &provider, "catalogue", "catalogue").await;
    let mut gone = Holder::make(&gateway, &provider, "all", "gone").await;
    // What its issuer gave out ends by itself.
    let over = provider.claims()["exp"].as_i64().unwrap() - 400;
    gone.outside_token = said(&provider, "all", json!({"exp": over}));
    end(&gateway, &gone, "gone").await;
    let mut faults = Vec::new();
    for call in Endpoint::ALL.map(Call::of) {
        let class = call.endpoint.facts().class;
        let cases = WAYS.iter().flat_map(|way| STANDINGS.map(|standing| (*way, standing)));
        for (way, standing) in cases {
            let (holder, expected) = match standing {
                _ if class == Class::Public => (&all, 200),
                Standing::With => (&all, 200),
                Standing::Without if class == Class::Inference => (&catalogue, 403),
                Standing::Without => (&inference, 403),
                Standing::Gone => (&gone, 401),
            };
            let before = ollama.count();
            let answer = gateway.send(holder.request(way, &call)).await;
            let reached = ollama.count() - before;
            let may_reach = expected == 200 && call.from != From::Here;
            let must_reach = expected == 200 && call.from == From::Ollama;
            if answer.status != expected || (reached > 0 && !may_reach) || (reached == 0 && must_reach) {
                let (endpoint, status) = (call.endpoint, answer.status);
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                faults.push(format!(
                    "{endpoint:?} × {way:?} × {standing:?}: {status} instead of {expected}, {reached} sent on: {body}"
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    crate::harness::clean::assert_all_clean(&ollama, "the ways to be known");
}

/// Whoever shows nothing, where that has a role: it may do what the role names, and nothing else; without the role it is
/// nobody (`matrix`).
#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_times_nobody_with_a_role() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("auth", "anonymous", "true");
    let setup = setup.set("roles.anonymous", "endpoints", "[\"catalogue\"]");
    let gateway = Box::pin(setup.set("roles.anonymous", "models", "[\"*\"]").start()).await;
    let mut faults = Vec::new();
    for call in Endpoint::ALL.map(Call::of) {
        let may = matches!(call.endpoint.facts().class, Class::Public | Class::Catalogue);
        let expected = if may { 200 } else { 403 };
        let before = ollama.count();
        let answer = gateway.send(call.request(None)).await;
        let reached = ollama.count() > before;
        let wrong_way =
            (reached && (!may || call.from == From::Here)) || (!reached && may && call.from == From::Ollama);
        if answer.status != expected || wrong_way {
            faults.push(format!("{:?}: {} instead of {expected}, sent on: {reached}", call.endpoint, answer.status));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}
