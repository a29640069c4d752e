//! Every endpoint × every kind of caller: what each may do, and that a refused one never reaches Ollama.
//!
//! An endpoint without a row in `harness::calls` does not compile.

use crate::harness::calls::{Call, From};
use crate::harness::{Gateway, Ollama, Request, Setup, routes, within};
use ollama_gateway::ollama::endpoint::{Class, Dialect, Endpoint};
use serde_json::json;
use std::time::Duration;

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
    fn expected(self, endpoint: Endpoint) -> u16 {
        match (self, endpoint.facts().class) {
            (_, Class::Public) | (Self::RoleWith, _) => 200,
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

#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_times_every_caller() {
    let ollama = routes::recorded().await;
    let (gateway, keys) = gateway_with_keys(&ollama).await;
    let mut faults = Vec::new();
    for endpoint in Endpoint::ALL {
        let call = Call::of(endpoint);
        for caller in Caller::ALL {
            let before = ollama.count();
            let answer = gateway.send(call.request(keys.of(caller, endpoint))).await;
            let (expected, reached) = (caller.expected(endpoint), ollama.count() - before);
            let may_reach = expected == 200 && call.from != From::Here;
            let must_reach = expected == 200 && call.from == From::Ollama;
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
        let call = Call::of(endpoint);
        let answer = gateway.send(call.request(None)).await.expect(401);
        if call.method == "HEAD" {
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
