//! Debian's Pebble and its challenge test server on free ports of the loopback address, validation on.
//!
//! Names are resolved by the test server: all of them are 127.0.0.1.

use super::tls;
use crate::harness::within;
use ollama_gateway::certificates::{Certificates, Schedule, Wanted};
use ollama_gateway::config::types::{Certificate, MissingSni, Tls, TlsVersion};
use ollama_gateway::telemetry::clock;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How this Pebble differs from the default.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    /// Percent of nonces that are refused; Pebble's own default is 5.
    pub(crate) bad_nonces: u8,
    /// Whether an account needs an external binding.
    pub(crate) binding: bool,
    /// Seconds that a certificate lives.
    pub(crate) lifetime: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { bad_nonces: 5, binding: false, lifetime: 90 * 24 * 60 * 60 }
    }
}

impl Options {
    /// No nonce is refused, so that requests can be counted.
    pub(crate) fn counted() -> Self {
        Self { bad_nonces: 0, ..Self::default() }
    }
}

/// The key that an account is bound with.
pub(crate) const BINDING: (&str, &str) = ("kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W");

pub(crate) struct Pebble {
    processes: Vec<Child>,
    folder: tempfile::TempDir,
    pub(crate) address: SocketAddr,
    management: SocketAddr,
    /// Where the records of the test server are set and cleared.
    pub(crate) records: SocketAddr,
    /// Where a TLS-ALPN-01 validation goes.
    pub(crate) tls: SocketAddr,
    /// Where an HTTP-01 validation goes.
    pub(crate) http: SocketAddr,
}

impl Pebble {
    pub(crate) async fn start(options: Options) -> Self {
        let folder = tempfile::tempdir().unwrap();
        make_certificate(folder.path());
        let [address, management, records, dns, tls, http] = free_ports();
        let mut this = Self { processes: Vec::new(), folder, address, management, records, tls, http };
        this.spawn_test_server(dns);
        this.spawn_pebble(dns, options);
        within("Pebble listens", async {
            for address in [address, management, records] {
                while tokio::net::TcpStream::connect(address).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        })
        .await;
        this
    }

    /// The directory's URL.
    pub(crate) fn directory(&self) -> String {
        format!("https://{}/dir", self.address)
    }

    /// The CA of the directory's own certificate.
    pub(crate) fn root(&self) -> PathBuf {
        self.file("cert.pem")
    }

    /// A file beside the certificate of Pebble's own listener.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join("self-signed").join(name)
    }

    /// The CA of what Pebble issues, as PEM.
    pub(crate) async fn issuing_root(&self) -> String {
        let (_, body) = tls::get(self.management, "/roots/0", &std::fs::read(self.root()).unwrap()).await;
        String::from_utf8(body).unwrap()
    }

    fn spawn_test_server(&mut self, dns: SocketAddr) {
        let mut command = Command::new("pebble-challtestsrv");
        command.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-http01", "", "-https01", ""]);
        command.args(["-tlsalpn01", "", "-dns01", &dns.to_string(), "-management", &self.records.to_string()]);
        self.spawn(&mut command);
    }

    fn spawn_pebble(&mut self, dns: SocketAddr, options: Options) {
        let config = serde_json::json!({"pebble": {
            "listenAddress": self.address.to_string(),
            "managementListenAddress": self.management.to_string(),
            "certificate": self.file("chain.pem"),
            "privateKey": self.file("key.pem"),
            "httpPort": self.http.port(),
            "tlsPort": self.tls.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": options.binding,
            "externalAccountMACKeys": {BINDING.0: BINDING.1},
            "certificateValidityPeriod": options.lifetime,
        }});
        let path = self.folder.path().join("pebble.json");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new("pebble");
        command.arg("-strict").arg("-config").arg(path).args(["-dnsserver", &dns.to_string()]);
        command.env("PEBBLE_VA_ALWAYS_VALID", "0").env("PEBBLE_VA_NOSLEEP", "1").env("PEBBLE_AUTHZREUSE", "0");
        command.env("PEBBLE_WFE_NONCEREJECT", options.bad_nonces.to_string());
        self.spawn(&mut command);
    }

    fn spawn(&mut self, command: &mut Command) {
        let program = command.get_program().to_owned();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.processes.push(child.unwrap_or_else(|fault| panic!("{program:?}: {fault} (apt-get install pebble)")));
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

/// A mini CA and a certificate for the loopback address, by the code under test.
fn make_certificate(folder: &Path) {
    let tls = Tls {
        certificate: Certificate::SelfSigned,
        min_version: TlsVersion::V12,
        hsts: String::new(),
        missing_sni: MissingSni::Refuse,
        acme: None,
        client: None,
    };
    let names = ["localhost", "127.0.0.1"].map(str::to_owned).to_vec();
    Certificates::open_wanted(Wanted { names, state: folder.to_owned(), tls }, clock::now, Schedule::default())
        .unwrap();
}

/// Ports that nobody listens on now.
pub(crate) fn free_ports<const N: usize>() -> [SocketAddr; N] {
    let held = [(); N].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    held.map(|listener| listener.local_addr().unwrap())
}
