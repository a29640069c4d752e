//! The whole gateway with a certificate of Pebble's: the real binary orders it by itself, and curl and a browser trust it.

use super::obtaining::dns_command;
use super::pebble::{Options, Pebble};
use crate::browser::{Site, visit_as};
use crate::harness::gateway::field;
use crate::harness::{Gateway, Ollama, Setup, routes, within_time};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::process::Command;

const NAME: &str = "ai.example.org";

/// The status that curl gets that trusts this root alone; `None`: it does not trust what it is shown.
async fn curl(gateway: &Gateway, root: &Path) -> Option<u16> {
    let port = gateway.https().port();
    let mut command = Command::new("curl");
    command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--resolve", &format!("{NAME}:{port}:127.0.0.1")]);
    command.arg("--cacert").arg(root).arg(format!("https://{NAME}:{port}/api/health"));
    let status = String::from_utf8(command.output().await.unwrap().stdout).unwrap().parse().unwrap();
    (status != 0).then_some(status)
}

fn setup(ollama: &Ollama, pebble: &Pebble) -> Setup {
    Setup::before(ollama)
        .set("server", "names", &format!("[{NAME:?}]"))
        .set("server", "https", &format!("[\"{}\"]", pebble.tls))
        .set("tls", "certificate", "\"acme\"")
        .set("tls.acme", "directory", &format!("{:?}", pebble.directory()))
        .set("tls.acme", "root", &format!("{:?}", pebble.root()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_is_validated_though_clients_need_certificates() {
    let (pebble, ollama) = (Pebble::start(Options::default()).await, Ollama::start().await);
    let setup = setup(&ollama, &pebble).set("tls.client", "ca", "\"clients.pem\"");
    let ca = rcgen::generate_simple_self_signed(["clients".to_owned()]).unwrap();
    std::fs::write(setup.file("clients.pem"), ca.cert.pem()).unwrap();
    let gateway = setup.start().await;
    gateway.event("certificate_obtained").await;
    let root = gateway.setup.file("root.pem");
    std::fs::write(&root, pebble.issuing_root().await).unwrap();
    assert_eq!(curl(&gateway, &root).await, None, "without a certificate of its own");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_and_curl_trust_the_certificate_that_the_gateway_orders() {
    let pebble = Pebble::start(Options::default()).await;
    let (mut site, ollama) = (Site::start().await, routes::recorded().await);
    let setup = setup(&ollama, &pebble).set("cors", "origins", &format!("[{:?}]", site.origin()));
    let root = setup.file("root.pem");
    std::fs::write(&root, pebble.issuing_root().await).unwrap();
    let gateway = setup.start().await;
    within_time(Duration::from_secs(60), "a certificate that curl trusts", async {
        while curl(&gateway, &root).await.is_none() {
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
    .await;
    assert_eq!(curl(&gateway, &root).await, Some(200));
    let seen = visit_as(&mut site, &gateway, NAME, &root).await;
    assert_eq!(seen["stream"], json!({"status": 200, "id": true, "lines": 17}), "{seen}");
    gateway.event_where("certificate_loaded", |event| event.to_string().contains("acme, until")).await;
    let (code, status, _) = gateway.setup.run(&["cert", "status", "--json"]).await;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((code, &status[0]["source"], &status[0]["names"]), (0, &json!("acme"), &json!([NAME])));
}

/// Programs may be started where the configuration has one, and are confined as the process is.
#[tokio::test(flavor = "multi_thread")]
async fn the_command_for_dns01_runs_after_the_process_has_confined_itself() {
    let (pebble, ollama) = (Pebble::start(Options::default()).await, Ollama::start().await);
    let folder = tempfile::tempdir().unwrap();
    let challenges = format!("[{{ dns-01 = {{ command = {:?} }} }}]", dns_command(&pebble, folder.path()));
    let gateway = setup(&ollama, &pebble).set("tls.acme", "challenges", &challenges).start().await;
    gateway.event("certificate_obtained").await;
    let event = gateway.event("confinement").await;
    let said = ["level", "files"].map(|name| event["fields"][name].clone());
    assert_eq!(said, ["full", "off: commands"], "{event}");
    let calls = std::fs::read_to_string(folder.path().join("calls")).unwrap();
    for told in ["set _acme-challenge.ai.example.org ", "clear _acme-challenge.ai.example.org "] {
        assert!(calls.contains(told), "{calls}");
    }
    for confined in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000"] {
        assert_eq!(calls.matches(confined).count(), 2, "{calls}");
    }
}

/// A command that was not there at the start cannot run any more: the reload says so, and not the renewal in two months.
#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_brings_a_first_command_for_dns01_takes_a_restart() {
    let (pebble, ollama) = (Pebble::start(Options::default()).await, Ollama::start().await);
    let mut gateway = setup(&ollama, &pebble).start().await;
    gateway.event("certificate_obtained").await;
    gateway.setup.put("tls.acme", "challenges", "[{ dns-01 = { command = [\"/usr/local/bin/set-txt\"] } }]");
    gateway.reload();
    let event = gateway.event("policy_reload_failed").await;
    let detail = field(&event, "detail");
    assert!(detail.contains("/usr/local/bin/set-txt may not be run") && detail.contains("restart it"), "{detail}");
}
