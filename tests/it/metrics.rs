//! What `/metrics` counts, that nothing of a client gets into it, and that the rules and the dashboard in `deploy/` ask
//! for what is there. `promtool` and `prometheus` are those of Debian's package; `tests/run` installs it.

use super::harness::{Gateway, Ollama, Reply, Request, Setup, package_file, within};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::Command;

/// A page of a listener that speaks plain HTTP.
async fn page(address: std::net::SocketAddr, path: &str) -> String {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    within("a page", socket.read_to_string(&mut answer)).await.unwrap();
    answer
}

/// What it counts, as text.
pub(crate) async fn metrics(gateway: &Gateway) -> String {
    let answer = page(gateway.admin_listener(), "/metrics").await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/plain; version=0.0.4"), "{head}");
    body.to_owned()
}

/// A gateway that has answered, refused and failed.
async fn used() -> (Ollama, Gateway) {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).start().await;
    ollama.on("/api/chat", Reply::recording("chat_stream")).on("/api/generate", Reply::hang_up());
    let chat = json!({"model": "tiny", "messages": [{"role": "user", "content": "hello"}]});
    let ask = |path: &str| Request::post(path, &chat).header("X-Strange", "strange-label");
    for request in [
        ask("/api/chat").key(&gateway.user),
        ask("/api/chat"),
        ask("/api/chat").key("strange-label"),
        ask("/strange-label?strange-label=1").key(&gateway.user),
        Request::post("/api/chat", &json!({"model": "strange-label", "messages": []})).key(&gateway.user),
    ] {
        let answer = gateway.send(request).await;
        gateway.record(answer.one("x-request-id").unwrap()).await;
    }
    let generate = Request::post("/api/generate", &json!({"model": "tiny", "prompt": "hello"}));
    let answer = gateway.send(generate.key(&gateway.user)).await;
    gateway.record(answer.one("x-request-id").unwrap()).await;
    (ollama, gateway)
}

/// The number of a series.
pub(crate) fn value(text: &str, series: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

#[tokio::test]
async fn what_happened_is_counted_and_nothing_of_a_client_is_a_label() {
    let (_ollama, gateway) = used().await;
    let text = metrics(&gateway).await;
    for (series, expected) in [
        ("ollama_gateway_requests_total{endpoint=\"chat\",status=\"2xx\"}", 1.0),
        ("ollama_gateway_requests_total{endpoint=\"chat\",status=\"4xx\"}", 3.0),
        ("ollama_gateway_requests_total{endpoint=\"none\",status=\"4xx\"}", 1.0),
        ("ollama_gateway_request_outcomes_total{outcome=\"completed\"}", 1.0),
        ("ollama_gateway_refusals_total{code=\"credential_missing\"}", 1.0),
        ("ollama_gateway_refusals_total{code=\"unknown_route\"}", 1.0),
        ("ollama_gateway_security_events_total{event=\"authentication_failure\"}", 2.0),
        ("ollama_gateway_security_events_total{event=\"certificate_failed\"}", 0.0),
        ("ollama_gateway_first_byte_seconds_count{class=\"inference\"}", 1.0),
        ("ollama_gateway_queue_waiting", 0.0),
        ("ollama_gateway_tls_handshakes_total{result=\"completed\"}", 6.0),
        ("ollama_gateway_requests_in_flight", 0.0),
        ("ollama_gateway_upstream_up", 1.0),
        ("ollama_gateway_keys", 2.0),
        ("ollama_gateway_last_reload_taken", 1.0),
        ("ollama_gateway_log_lines_lost_total", 0.0),
    ] {
        assert_eq!(value(&text, series), expected, "{series} in\n{text}");
    }
    assert!(value(&text, "ollama_gateway_tokens_total{kind=\"output\"}") > 0.0, "{text}");
    assert!(text.contains("ollama_gateway_upstream_failures_total{code=\""), "{text}");
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let ends = value(&text, "ollama_gateway_certificate_expiry_timestamp_seconds{name=\"localhost\"}");
    assert!(ends > now + 86_400.0 * 300.0, "{ends}");
    assert!(!text.contains("strange"), "{text}");
}

#[tokio::test]
async fn a_listener_for_others_shows_counts_and_nothing_else() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).set("admin", "metrics", "\"127.0.0.1:0\"").start().await;
    let shown = gateway.metrics_listener();
    for (path, status) in [("/metrics", "200"), ("/health", "200"), ("/ready", "200"), ("/console", "404")] {
        let answer = page(shown, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_refused_reload_shows_until_one_is_taken() {
    let ollama = Ollama::start().await;
    let mut gateway = Setup::before(&ollama).start().await;
    gateway.setup.put("limits", "general", "\"never\"");
    gateway.reload();
    gateway.event("policy_reload_failed").await;
    assert_eq!(value(&metrics(&gateway).await, "ollama_gateway_last_reload_taken"), 0.0);
    gateway.setup.put("limits", "general", "\"100001/second\"");
    gateway.reload();
    gateway.event("policy_reloaded").await;
    assert_eq!(value(&metrics(&gateway).await, "ollama_gateway_last_reload_taken"), 1.0);
}

async fn promtool(arguments: &[&str], input: &str) -> String {
    let folder = package_file("deploy/prometheus");
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool of Debian's package prometheus: tests/run installs it");
    child.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = within("promtool", child.wait_with_output()).await.unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

#[tokio::test]
async fn promtool_accepts_the_metrics_the_rules_and_what_they_fire_on() {
    let (_ollama, gateway) = used().await;
    promtool(&["check", "metrics"], &metrics(&gateway).await).await;
    promtool(&["check", "rules", "--lint-fatal", "alerts.yml"], "").await;
    promtool(&["test", "rules", "alerts_test.yml"], "").await;
    promtool(&["check", "config", "prometheus.yml"], "").await;
}

/// Every word of a text that is a metric's name, without what a histogram adds to it.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let ours = words.filter(|word| word.starts_with("ollama_gateway_") || word.starts_with("process_"));
    ours.map(|word| word.trim_end_matches("_bucket").to_owned()).collect()
}

#[tokio::test]
async fn rules_and_dashboard_ask_for_metrics_that_are_there_and_every_alert_is_tried() {
    let (_ollama, gateway) = used().await;
    let text = metrics(&gateway).await;
    let helped: BTreeSet<String> =
        text.lines().filter_map(|l| l.strip_prefix("# HELP ")?.split(' ').next()).map(str::to_owned).collect();
    let read = |name: &str| std::fs::read_to_string(package_file(name)).unwrap();
    let (alerts, tried) = (read("deploy/prometheus/alerts.yml"), read("deploy/prometheus/alerts_test.yml"));
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 15);
    for asked in [names(&alerts), names(&dashboard.to_string())] {
        assert_eq!(asked.difference(&helped).collect::<Vec<_>>(), Vec::<&String>::new());
    }
    let untried =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).filter(|a| !tried.contains(a));
    assert_eq!(untried.collect::<Vec<_>>(), Vec::<&str>::new());
}

/// A Prometheus that scrapes this address each second; its own address.
async fn prometheus(gateway: &Gateway) -> (tokio::process::Child, std::net::SocketAddr) {
    let config = format!(
        "global: {{scrape_interval: 1s}}\nrule_files: [{:?}]\nscrape_configs:\n  - job_name: ollama-gateway\n    \
         static_configs: [{{targets: [\"{}\"]}}]\n",
        package_file("deploy/prometheus/alerts.yml").display(),
        gateway.admin_listener()
    );
    let file = gateway.setup.file("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", gateway.setup.file("tsdb").display()));
    command.args(["--web.listen-address=127.0.0.1:0", "--log.level=info"]);
    let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().expect("Debian's package prometheus");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let listens = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            let address = line.split("address=").nth(1).and_then(|rest| rest.split_whitespace().next());
            if let Some(address) = address.and_then(|text| text.parse::<std::net::SocketAddr>().ok())
                && address.port() != 0
            {
                return address;
            }
        }
        panic!("prometheus ended")
    };
    let address = within("prometheus to listen", listens).await;
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, address)
}

#[tokio::test]
async fn a_real_prometheus_scrapes_the_gateway_and_loads_the_rules() {
    let (_ollama, gateway) = used().await;
    let (_child, address) = prometheus(&gateway).await;
    let query = "/api/v1/query?query=ollama_gateway_requests_total%7Bstatus%3D%222xx%22%7D";
    let scraped = async {
        loop {
            let answer = page(address, query).await;
            let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
            if body.contains("\"endpoint\":\"chat\"") {
                return body;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let body = within("a scrape", scraped).await;
    assert!(body.contains(",\"1\"]"), "{body}");
    let rules = page(address, "/api/v1/rules").await;
    assert!(rules.contains("OllamaGatewayCertificateExpires") && !rules.contains("\"health\":\"err\""), "{rules}");
}
