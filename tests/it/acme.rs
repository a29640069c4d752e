//! Certificates from a CA, against Debian's Pebble with validation on: every challenge, the faults of a CA, a damaged
//! state folder, renewal while clients keep connecting.

mod between;
mod faults;
mod front;
mod obtaining;
mod pebble;
mod renewing;
mod tls;
mod whole;

use crate::harness::within;
use ollama_gateway::certificates::{CertificateStatus, Wanted, status};
use ollama_gateway::config::types::{Acme, Certificate, Challenge, MissingSni, Tls, TlsVersion};
use ollama_gateway::telemetry::clock;
use pebble::Pebble;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// What the configuration would say.
fn wanted(state: &Path, names: &[&str], acme: Acme) -> Wanted {
    let tls = Tls {
        certificate: Certificate::Acme,
        min_version: TlsVersion::V12,
        hsts: String::new(),
        missing_sni: MissingSni::Refuse,
        acme: Some(acme),
        client: None,
    };
    Wanted { names: names.iter().map(ToString::to_string).collect(), state: state.to_owned(), tls }
}

fn acme(pebble: &Pebble, challenges: &[Challenge]) -> Acme {
    Acme {
        directory: pebble.directory(),
        root: Some(pebble.root()),
        contact: vec!["mailto:ops@example.org".to_owned()],
        challenges: challenges.to_vec(),
        profile: None,
        eab: None,
    }
}

/// Waits until this certificate authority's certificate is shown for the name.
async fn trusted(roots: &str, address: SocketAddr, name: &str) {
    let connector = tls::connector(roots.as_bytes());
    within("a certificate of the CA", async {
        while tls::handshake(&connector, address, name).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}

/// What `cert status` would show.
fn shown(wanted: &Wanted) -> CertificateStatus {
    status(wanted, clock::now()).unwrap().pop().expect("a certificate")
}

/// Waits until `cert status` shows a last error, and gives it.
async fn failed(wanted: &Wanted) -> String {
    within("a failure", async {
        loop {
            if let Some(error) = status(wanted, clock::now()).unwrap().pop().and_then(|found| found.last_error) {
                return error;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
}
