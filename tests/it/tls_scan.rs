//! What testssl.sh finds: protocols, suites, forward secrecy, certificate, headers, known weaknesses.

use crate::harness::{Gateway, Setup, within_time};
use std::net::SocketAddr;
use std::time::Duration;

/// Findings that are not ours to mend: the name has no DNS zone, and a certificate made here has nobody to revoke it.
const ALLOWED: [&str; 2] = ["DNS_CAArecord", "cert_revocation"];

#[tokio::test]
async fn testssl_finds_nothing_above_low() {
    let gateway = Gateway::start(Setup::before_address(SocketAddr::from(([127, 0, 0, 1], 9)))).await;
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report.json");
    let mut command = tokio::process::Command::new("testssl");
    command.args(["--quiet", "--color", "0", "--warnings", "batch", "-p", "-s", "-f", "-S", "-h", "-U", "--add-ca"]);
    command.arg(gateway.certificate()).arg("--jsonfile").arg(&report);
    command.arg(format!("localhost:{}", gateway.https().port())).kill_on_drop(true);
    let done = within_time(Duration::from_secs(500), "testssl", command.output()).await;
    let done = done.expect("apt-get install testssl.sh");
    let text = std::fs::read_to_string(&report).unwrap_or_else(|_| panic!("{done:?}"));
    let findings: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    assert!(findings.len() > 80, "{} findings are no scan", findings.len());
    let known = ["OK", "INFO", "LOW", "DEBUG"];
    let bad = findings.iter().filter(|found| !known.contains(&found["severity"].as_str().unwrap()));
    let bad: Vec<_> = bad.filter(|found| !ALLOWED.contains(&found["id"].as_str().unwrap())).collect();
    assert!(bad.is_empty(), "{bad:#?}");
    let said = |id: &str| findings.iter().find(|found| found["id"] == id).map(|found| found["finding"].clone());
    assert_eq!(said("TLS1_3").unwrap(), "offered with final");
    assert_eq!(said("TLS1_1").unwrap(), "not offered");
}
