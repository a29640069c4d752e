//! A real Chromium: a page of our own origin reads streams and refusals, a page of another origin reads nothing.
//!
//! The certificate is trusted through a certificate store of this test's own, not by switching checks off.

use crate::harness::setup::clients;
use crate::harness::{Gateway, Ollama, Setup, routes, within_time};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::sync::mpsc;

/// A browser starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Serves the page, and hands on what it reports.
pub(crate) struct Site {
    address: SocketAddr,
    reports: mpsc::Receiver<Value>,
}

impl Site {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (send, reports) = mpsc::channel(4);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, send.clone()));
            }
        });
        Self { address, reports }
    }

    pub(crate) fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.address.port())
    }
}

async fn serve(mut stream: TcpStream, reports: mpsc::Sender<Value>) {
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let count = stream.read(&mut piece).await.unwrap_or(0);
        bytes.extend_from_slice(&piece[..count]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            if count == 0 {
                return;
            }
            continue;
        };
        if head.starts_with("POST /done") {
            let Ok(report) = serde_json::from_str(body) else { continue };
            reports.send(report).await.expect("the test waits");
        }
        let page = std::fs::read_to_string(clients("page.html")).unwrap();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
            page.len()
        );
        drop(stream.write_all((head + &page).as_bytes()).await);
        return;
    }
}

/// Opens the page of this site, and returns what it could do.
async fn visit(site: &mut Site, gateway: &Gateway) -> Value {
    visit_as(site, gateway, "localhost", &gateway.certificate()).await
}

/// The same with the gateway under another name, by a browser that trusts this certificate besides the public ones.
pub(crate) async fn visit_as(site: &mut Site, gateway: &Gateway, name: &str, trusted: &Path) -> Value {
    let home = TempDir::new().unwrap();
    trust(&home, trusted).await;
    let base = format!("https://{name}:{}", gateway.https().port());
    let page = format!("{}/?base={base}&key={}", site.origin(), gateway.user);
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-sync",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-dev-shm-usage",
        "--remote-debugging-port=0",
    ]);
    command.arg(format!("--host-resolver-rules=MAP {name} 127.0.0.1"));
    command.arg(format!("--user-data-dir={}", home.path().join("profile").display())).arg(page);
    command.env("HOME", home.path()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut browser = command.kill_on_drop(true).spawn().expect("chromium, installed by tests/run");
    let report = within_time(PATIENCE, "the page to report", site.reports.recv()).await.expect("a report");
    browser.kill().await.unwrap();
    report
}

/// Makes a certificate one that this browser trusts.
pub(crate) async fn trust(home: &TempDir, certificate: &Path) {
    let store = home.path().join(".pki/nssdb");
    std::fs::create_dir_all(&store).unwrap();
    let store = format!("sql:{}", store.display());
    let new = vec!["-N", "--empty-password", "-d", &store];
    let add = vec!["-A", "-d", &store, "-t", "CP,,", "-n", "gateway", "-i", certificate.to_str().unwrap()];
    for arguments in [new, add] {
        let done = Command::new("certutil").args(arguments).status().await.expect("certutil, installed by tests/run");
        assert!(done.success());
    }
}

async fn ground(site: &Site) -> (Ollama, Gateway) {
    let ollama = routes::recorded().await;
    let origins = format!("[\"{}\"]", site.origin());
    let gateway = Setup::before(&ollama).set("cors", "origins", &origins).start().await;
    (ollama, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_our_origin_reads_streams_and_refusals_and_another_reads_nothing() {
    let (mut ours, mut foreign) = (Site::start().await, Site::start().await);
    let (ollama, gateway) = ground(&ours).await;
    let seen = visit(&mut ours, &gateway).await;
    assert_eq!(seen["stream"], json!({"status": 200, "id": true, "lines": 17}));
    assert_eq!(seen["refusal"]["status"], 401, "{seen}");
    assert!(seen["refusal"]["error"].is_string(), "a refusal is readable, not a CORS error: {seen}");
    assert!(matches!(seen["simple"]["status"].as_u64(), Some(401 | 415)), "{seen}");
    let before = ollama.count();
    let seen = visit(&mut foreign, &gateway).await;
    for name in ["stream", "refusal", "simple"] {
        assert_eq!(seen[name], json!({"blocked": "TypeError"}), "{name}: {seen}");
    }
    assert_eq!(ollama.count(), before, "a foreign page reached Ollama");
}
