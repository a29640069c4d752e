//! Rights one by one: each management route by its own name, each recorded; models of other registries by their list.

use crate::harness::calls::Call;
use crate::harness::{Gateway, Ollama, Request, Setup, routes};
use ollama_gateway::ollama::endpoint::Endpoint;
use serde_json::{Value, json};

const BY_NAME: [Endpoint; 6] =
    [Endpoint::Pull, Endpoint::Delete, Endpoint::Copy, Endpoint::Create, Endpoint::BlobUpload, Endpoint::Push];

/// What the audit log has on a request.
fn recorded(gateway: &Gateway, id: &str) -> Value {
    let log = std::fs::read_to_string(gateway.setup.state().join("audit.jsonl")).unwrap();
    let mut records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.find(|record| record["request_id"] == id).unwrap_or_else(|| panic!("{id} is not recorded"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_may_be_given_each_management_route_by_name() {
    let ollama = routes::recorded().await;
    let mut setup = Setup::before(&ollama);
    for endpoint in BY_NAME {
        let (name, section) = (endpoint.facts().name, format!("roles.only-{}", endpoint.facts().name));
        setup = setup.set(&section, "endpoints", &format!("[{name:?}]")).set(&section, "models", "[\"*\"]");
    }
    let mut keys = Vec::new();
    for endpoint in BY_NAME {
        keys.push(setup.key(&format!("only-{}", endpoint.facts().name)).await);
    }
    let gateway = Box::pin(setup.start()).await;
    for (given, key) in BY_NAME.iter().zip(&keys) {
        for wanted in BY_NAME {
            let (before, name) = (ollama.count(), wanted.facts().name);
            let answer = gateway.send(Call::of(wanted).request(Some(key))).await;
            let (status, reached) = if wanted == *given { (200..300, 1) } else { (403..404, 0) };
            let told = format!("{name} with {}: {}", given.facts().name, answer.status);
            assert!(status.contains(&answer.status), "{told}");
            assert_eq!(ollama.count() - before, reached, "{told}");
            gateway.record(answer.id()).await;
            let record = recorded(&gateway, answer.id());
            assert_eq!((&record["action"], &record["status"]), (&json!(name), &json!(answer.status)), "{record}");
        }
    }
}

async fn pulling(ollama: &Ollama, more: &[(&str, &str)]) -> (Gateway, String) {
    let all = [("endpoints", "[\"pull\"]"), ("models", "[\"*\"]")];
    let keys = all.iter().chain(more);
    let setup = keys.fold(Setup::before(ollama), |setup, (key, value)| setup.set("roles.puller", key, value));
    let key = setup.key("puller").await;
    (Box::pin(setup.start()).await, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn models_come_from_the_registries_that_the_role_names() {
    let ollama = routes::recorded().await;
    let foreign = ("allow", "[\"foreign-registries\"]");
    let listed = [foreign, ("registries", "[\"registry.example.org:5000\"]")];
    for (more, model, status) in [
        (&[][..], "tiny", 200),
        (&[], "registry.ollama.ai/library/tiny", 200),
        (&[], "registry.example.org:5000/team/tiny", 403),
        (&listed, "registry.example.org:5000/team/tiny", 200),
        (&listed, "registry.example.org/team/tiny", 403),
        (&listed, "elsewhere.example/team/tiny", 403),
        (&listed, "tiny", 200),
    ] {
        let (gateway, key) = pulling(&ollama, more).await;
        let before = ollama.count();
        let pull = Request::post("/api/pull", &json!({"model": model, "stream": false})).key(&key);
        let answer = gateway.send(pull).await;
        assert_eq!(answer.status, status, "{model}: {}", String::from_utf8_lossy(&answer.body));
        assert_eq!(ollama.count() - before, usize::from(status == 200), "{model}");
    }
}
