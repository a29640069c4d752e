//! `doctor` on machines with faults, set up on this one: each fault is named, with its remedy; a sound one exits 0.

use super::harness::{Ollama, Reply, Setup, within};
use serde_json::Value;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The findings, and the exit code.
async fn doctor(setup: &Setup) -> (i32, Vec<Value>) {
    let (code, stdout, stderr) = setup.run(&["doctor", "--json"]).await;
    let findings = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{code}: {stdout}\n{stderr}"));
    (code, findings)
}

/// Whether there is a finding of this check and verdict that says this.
fn says(findings: &[Value], check: &str, verdict: &str, text: &str) -> bool {
    let says = |f: &Value| f["check"] == check && f["verdict"] == verdict && f.to_string().contains(text);
    findings.iter().any(says)
}

/// An old, open, talkative Ollama in a process of its own, so that its environment can be read.
const OPEN_OLLAMA: &str = r#"
import http.server
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = {"/api/version": b'{"version":"0.9.0"}', "/api/status": b'{"cloud":{"disabled":false}}'}[self.path]
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)
server = http.server.ThreadingHTTPServer(("0.0.0.0", 0), Answer)
print(server.server_port, flush=True)
server.serve_forever()
"#;

async fn open_ollama() -> (Child, SocketAddr) {
    let mut command = Command::new("python3");
    command.args(["-c", OPEN_OLLAMA]).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command.env("OLLAMA_HOST", "0.0.0.0").env("OLLAMA_ORIGINS", "*").env("OLLAMA_DEBUG", "1");
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let port = within("the open Ollama", lines.next_line()).await.unwrap().unwrap().parse().unwrap();
    (child, SocketAddr::from(([127, 0, 0, 1], port)))
}

#[tokio::test]
async fn every_fault_is_named_with_its_remedy() {
    let (_ollama, address) = open_ollama().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let https = format!("[\"{}\"]", taken.local_addr().unwrap());
    let setup = Setup::before_address(address)
        .set("server", "names", "[\"localhost\", \"nowhere.invalid\"]")
        .set("server", "https", &https);
    setup.key("user").await;
    std::fs::set_permissions(setup.state(), PermissionsExt::from_mode(0o755)).unwrap();
    std::fs::set_permissions(setup.config(), PermissionsExt::from_mode(0o666)).unwrap();
    std::fs::set_permissions(setup.state().join("pepper"), PermissionsExt::from_mode(0o644)).unwrap();
    let (code, findings) = doctor(&setup).await;
    assert_eq!(code, 1);
    for (check, text) in [
        ("version", "CVE-2026-7482"),
        ("version", "update Ollama to"),
        ("cloud", "OLLAMA_NO_CLOUD=1"),
        ("settings", "OLLAMA_HOST=0.0.0.0"),
        ("settings", "OLLAMA_ORIGINS=*"),
        ("settings", "OLLAMA_DEBUG is on"),
        ("dns", "nowhere.invalid does not resolve"),
        ("ports", "is taken by another program"),
        ("permissions", "gateway.toml can be written by others"),
        ("permissions", "chmod 0700"),
        ("permissions", "pepper can be used by other users"),
    ] {
        assert!(says(&findings, check, "wrong", text), "{check}: {text}\n{findings:#?}");
    }
    let remedied = |f: &Value| f["verdict"] == "ok" || f["remedy"].as_str().is_some_and(|text| !text.is_empty());
    assert!(findings.iter().all(remedied), "{findings:#?}");
    if other_address() {
        assert!(says(&findings, "exposure", "wrong", "walks past the gateway"), "{findings:#?}");
    }
}

/// Whether this machine has an IPv4 address besides loopback.
fn other_address() -> bool {
    let trie = std::fs::read_to_string("/proc/net/fib_trie").unwrap_or_default();
    let lines: Vec<_> = trie.lines().collect();
    lines.windows(2).any(|two| two[1].contains("/32 host LOCAL") && !two[0].contains("|-- 127."))
}

#[tokio::test]
async fn a_sound_machine_passes_and_what_cannot_be_seen_is_no_fault() {
    let ollama = Ollama::start().await;
    ollama
        .on("/api/version", Reply::json(200, "{\"version\":\"0.33.0\"}"))
        .on("/api/status", Reply::json(200, "{\"cloud\":{\"disabled\":true}}"));
    let gateway = Setup::before(&ollama).start().await;
    let admin = format!("{:?}", gateway.admin_listener().to_string());
    let mut gateway = gateway;
    gateway.setup.put("admin", "listen", &admin);
    let (code, findings) = doctor(&gateway.setup).await;
    assert_eq!(code, 0, "{findings:#?}");
    for (check, text) in [
        ("version", "Ollama 0.33.0"),
        ("cloud", "is off"),
        ("exposure", "on loopback only"),
        ("dns", "localhost"),
        ("certificate", "the certificate ends on"),
        ("permissions", "its owner alone"),
    ] {
        assert!(says(&findings, check, "ok", text), "{check}: {text}\n{findings:#?}");
    }
    let (code, text, _) = gateway.setup.run(&["doctor"]).await;
    assert!(code == 0 && text.contains("ok       version      Ollama 0.33.0"), "{text}");
}

#[tokio::test]
async fn a_faulty_configuration_and_an_ollama_that_is_not_there_are_told_apart() {
    let setup = Setup::before_address(SocketAddr::from(([127, 0, 0, 1], 9)));
    let (code, findings) = doctor(&setup).await;
    assert_eq!(code, 1);
    assert!(says(&findings, "upstream", "wrong", "does not answer"), "{findings:#?}");
    let (code, _, stderr) = setup.set("server", "nmaes", "[]").run(&["doctor"]).await;
    assert!(code == 2 && stderr.contains("nmaes"), "{stderr}");
}
