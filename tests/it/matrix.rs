//! Every endpoint × every kind of caller: what each may do, and that a refused one never reaches Ollama.
//!
//! An endpoint without a row in [`row`] does not compile.

use crate::harness::gateway::Gateway;
use crate::harness::{Ollama, Request, Setup, routes, within};
use ollama_gateway::ollama::endpoint::{Class, Dialect, Endpoint};
use serde_json::{Value, json};
use std::time::Duration;

const DIGEST: &str = "sha256:27f724009879e1f4573ad984494a40173bac050209ba155c36baa10bf70f269a";

/// A request that a caller with the right would make.
struct Row {
    method: &'static str,
    path: String,
    body: Value,
    /// What the caller with the right gets.
    allowed: u16,
    /// Whether that is answered by Ollama or here.
    from: From,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    Ollama,
    Here,
    Either,
}

#[rustfmt::skip]
fn row(endpoint: Endpoint) -> Row {
    let said = [json!({"role": "user", "content": "hi"})];
    let chat = json!({"model": "tiny", "messages": said, "stream": false});
    let prompt = json!({"model": "tiny", "prompt": "hi", "stream": false});
    let input = json!({"model": "tiny", "input": "hi"});
    let model = json!({"model": "tiny"});
    let none = Value::Null;
    let blob = format!("/api/blobs/{DIGEST}");
    let (method, path, body, from) = match endpoint {
        Endpoint::Root            => ("GET", "/", none, From::Here),
        Endpoint::Health          => ("GET", "/api/health", none, From::Here),
        Endpoint::Version         => ("GET", "/api/version", none, From::Either),
        Endpoint::Status          => ("GET", "/api/status", none, From::Ollama),
        Endpoint::Pull            => ("POST", "/api/pull", json!({"model": "tiny", "stream": false}), From::Ollama),
        Endpoint::Push            => ("POST", "/api/push", json!({"model": "tiny", "stream": false}), From::Ollama),
        Endpoint::Tags            => ("GET", "/api/tags", none, From::Either),
        Endpoint::Show            => ("POST", "/api/show", model, From::Ollama),
        Endpoint::Delete          => ("DELETE", "/api/delete", model, From::Ollama),
        Endpoint::Me              => ("POST", "/api/me", none, From::Ollama),
        Endpoint::Signout         => ("POST", "/api/signout", none, From::Ollama),
        Endpoint::UserKeys        => ("DELETE", "/api/user/keys/AAAA", none, From::Ollama),
        Endpoint::Create          => ("POST", "/api/create", json!({"model": "mine", "from": "tiny"}), From::Ollama),
        Endpoint::BlobUpload      => ("POST", blob.as_str(), json!("blob"), From::Ollama),
        Endpoint::BlobHead        => ("HEAD", blob.as_str(), none, From::Ollama),
        Endpoint::Copy            => ("POST", "/api/copy", json!({"source": "tiny", "destination": "mine"}), From::Ollama),
        Endpoint::WebSearch       => ("POST", "/api/experimental/web_search", json!({"query": "hi"}), From::Ollama),
        Endpoint::WebFetch        => ("POST", "/api/experimental/web_fetch", json!({"url": "https://example.org/"}), From::Ollama),
        Endpoint::Recommendations => ("GET", "/api/experimental/model-recommendations", none, From::Ollama),
        Endpoint::Ps              => ("GET", "/api/ps", none, From::Either),
        Endpoint::Generate        => ("POST", "/api/generate", prompt, From::Ollama),
        Endpoint::Chat            => ("POST", "/api/chat", chat, From::Ollama),
        Endpoint::Embed           => ("POST", "/api/embed", input, From::Ollama),
        Endpoint::Embeddings      => ("POST", "/api/embeddings", json!({"model": "tiny", "prompt": "hi"}), From::Ollama),
        Endpoint::ChatCompletions => ("POST", "/v1/chat/completions", chat, From::Ollama),
        Endpoint::Completions     => ("POST", "/v1/completions", prompt, From::Ollama),
        Endpoint::V1Embeddings    => ("POST", "/v1/embeddings", input, From::Ollama),
        Endpoint::Models          => ("GET", "/v1/models", none, From::Either),
        Endpoint::Model           => ("GET", "/v1/models/tiny", none, From::Either),
        Endpoint::Responses       => ("POST", "/v1/responses", input, From::Ollama),
        Endpoint::Messages        => ("POST", "/v1/messages", json!({"model": "tiny", "messages": said, "max_tokens": 16}), From::Ollama),
        Endpoint::Transcriptions  => ("POST", "/v1/audio/transcriptions", none, From::Ollama),
    };
    Row { method, path: path.to_owned(), body, allowed: 200, from }
}

/// The kinds of callers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    NoKey,
    BadKey,
    Expired,
    Revoked,
    RoleWithout,
    RoleWith,
}

impl Caller {
    const ALL: [Self; 6] = [Self::NoKey, Self::BadKey, Self::Expired, Self::Revoked, Self::RoleWithout, Self::RoleWith];

    /// What this caller must get.
    fn expected(self, endpoint: Endpoint, row: &Row) -> u16 {
        match (self, endpoint.facts().class) {
            (_, Class::Public) | (Self::RoleWith, _) => row.allowed,
            (Self::NoKey | Self::BadKey | Self::Expired | Self::Revoked, _) => 401,
            (Self::RoleWithout, _) => 403,
        }
    }
}

struct Keys {
    expired: String,
    revoked: String,
    inference: String,
    catalogue: String,
    all: String,
}

impl Keys {
    fn of(&self, caller: Caller, endpoint: Endpoint) -> Option<&str> {
        match caller {
            Caller::NoKey => None,
            Caller::BadKey => Some("ogw_not-a-key"),
            Caller::Expired => Some(&self.expired),
            Caller::Revoked => Some(&self.revoked),
            Caller::RoleWithout if endpoint.facts().class == Class::Inference => Some(&self.catalogue),
            Caller::RoleWithout => Some(&self.inference),
            Caller::RoleWith => Some(&self.all),
        }
    }
}

async fn gateway_with_keys(ollama: &Ollama) -> (Gateway, Keys) {
    let every = "[\"inference\", \"catalogue\", \"management\", \"egress\", \"v1-transcriptions\"]";
    let setup = Setup::before(ollama)
        .set("roles.all", "endpoints", every)
        .set("roles.all", "models", "[\"*\"]")
        .set("roles.inference", "endpoints", "[\"inference\"]")
        .set("roles.inference", "models", "[\"*\"]")
        .set("roles.catalogue", "endpoints", "[\"catalogue\"]")
        .set("roles.catalogue", "models", "[\"*\"]");
    let keys = Keys {
        expired: setup.key_with("all", &["--expires", "1s"]).await,
        revoked: setup.key("all").await,
        inference: setup.key("inference").await,
        catalogue: setup.key("catalogue").await,
        all: setup.key("all").await,
    };
    let gateway = setup.start().await;
    gateway.revoke(&keys.revoked).await;
    for gone in [&keys.expired, &keys.revoked] {
        within("a key to stop working", async {
            while gateway.send(Request::get("/api/version").key(gone)).await.status != 401 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
        .await;
    }
    (gateway, keys)
}

fn request(endpoint: Endpoint, row: &Row, key: Option<&str>) -> Request {
    let mut request = Request::new(row.method, &row.path);
    if endpoint == Endpoint::Transcriptions {
        request = multipart(request);
    } else if endpoint == Endpoint::BlobUpload {
        request = request.header("Content-Type", "application/octet-stream").body("blob");
    } else if !row.body.is_null() {
        request = request.header("Content-Type", "application/json").body(row.body.to_string());
    }
    key.map_or(request.clone(), |key| request.key(key))
}

fn multipart(request: Request) -> Request {
    let part = |name: &str, value: &str| format!("--cut\r\nContent-Disposition: form-data; {name}\r\n\r\n{value}\r\n");
    let body = part("name=\"model\"", "tiny") + &part("name=\"file\"; filename=\"a.wav\"", "RIFF") + "--cut--\r\n";
    request.header("Content-Type", "multipart/form-data; boundary=cut").body(body)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_times_every_caller() {
    let ollama = routes::recorded().await;
    let (gateway, keys) = gateway_with_keys(&ollama).await;
    let mut faults = Vec::new();
    for endpoint in Endpoint::ALL {
        let row = row(endpoint);
        for caller in Caller::ALL {
            let before = ollama.count();
            let answer = gateway.send(request(endpoint, &row, keys.of(caller, endpoint))).await;
            let (expected, reached) = (caller.expected(endpoint, &row), ollama.count() - before);
            let may_reach = expected == 200 && row.from != From::Here;
            let must_reach = expected == 200 && row.from == From::Ollama;
            if answer.status != expected || (reached > 0 && !may_reach) || (reached == 0 && must_reach) {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                faults.push(format!(
                    "{endpoint:?} × {caller:?}: {} instead of {expected}, {reached} requests upstream: {body}",
                    answer.status
                ));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    crate::harness::clean::assert_all_clean(&ollama, "the matrix");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_in_the_dialect_of_its_route_and_names_its_request() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    for endpoint in Endpoint::ALL.into_iter().filter(|e| e.facts().class != Class::Public) {
        let row = row(endpoint);
        let answer = gateway.send(request(endpoint, &row, None)).await.expect(401);
        if row.method == "HEAD" {
            assert!(answer.body.is_empty(), "{endpoint:?}");
            continue;
        }
        let (body, id) = (answer.json(), answer.id().to_owned());
        let (text, told) = match endpoint.facts().dialect {
            Dialect::Ollama => (&body["error"], &body["request_id"]),
            Dialect::OpenAi => (&body["error"]["message"], &body["error"]["request_id"]),
            Dialect::Anthropic => (&body["error"]["message"], &body["request_id"]),
        };
        assert!(text.is_string(), "{endpoint:?}: {body}");
        assert_eq!(told, &json!(id), "{endpoint:?}");
        assert!(answer.one("www-authenticate").is_some(), "{endpoint:?}: RFC 9110 §15.5.2");
    }
    ollama.assert_nothing_received();
}
