//! The next certificate: when, and that nobody notices.

use super::between::{Between, around};
use super::front::{Front, quick, stored};
use super::pebble::{Options, Pebble, free_ports};
use super::{acme, shown, tls, trusted, wanted};
use crate::harness::{within, within_time};
use ollama_gateway::certificates::{Certificates, Ports, Renew, Schedule};
use ollama_gateway::config::types::{Acme, Challenge};
use ollama_gateway::telemetry::clock;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

const NAME: &str = "ai.example.org";

#[tokio::test]
async fn no_handshake_fails_while_certificates_are_replaced() {
    let options = Options { lifetime: 6, ..Options::default() };
    let (pebble, state) = (Pebble::start(options).await, tempfile::tempdir().unwrap());
    let wanted = wanted(state.path(), &[NAME], acme(&pebble, &[Challenge::TlsAlpn01]));
    let _front = Front::start(wanted, quick(), pebble.tls, None).await;
    let root = pebble.issuing_root().await;
    trusted(&root, pebble.tls, NAME).await;
    let mut clients = JoinSet::new();
    for _ in 0..4 {
        clients.spawn(four_certificates(tls::connector(root.as_bytes()), pebble.tls));
    }
    let handshakes = within_time(Duration::from_secs(40), "three renewals", clients.join_all()).await;
    assert!(handshakes.iter().all(|count| *count > 100), "{handshakes:?} handshakes are no load");
}

/// Connects until four certificates were seen, and says how often that was.
async fn four_certificates(connector: TlsConnector, address: SocketAddr) -> usize {
    let (mut certificates, mut handshakes) = (HashSet::new(), 0);
    while certificates.len() < 4 {
        let shown = tls::handshake(&connector, address, NAME).await.expect("no handshake fails");
        certificates.insert(shown.to_vec());
        handshakes += 1;
    }
    handshakes
}

#[tokio::test]
async fn the_ca_moves_its_window_and_the_certificate_is_renewed() {
    let (pebble, state) = (Pebble::start(Options::counted()).await, tempfile::tempdir().unwrap());
    let between = Between::start(&pebble).await;
    let now = clock::now();
    between.suggest(around(now, 1000, 2000));
    let acme = acme(&pebble, &[Challenge::TlsAlpn01]);
    let acme = Acme { directory: between.directory(), profile: Some("shortlived".to_owned()), ..acme };
    let wanted = wanted(state.path(), &[NAME], acme);
    let _front = Front::start(wanted.clone(), quick(), pebble.tls, None).await;
    trusted(&pebble.issuing_root().await, pebble.tls, NAME).await;
    within("the CA's window in the plan", async {
        while shown(&wanted).next_try.is_none_or(|next| !around(now, 1000, 2000).contains(&next)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    assert_eq!(between.seen("/order-plz").len(), 1, "nothing is renewed before its time");
    let first = std::fs::read(stored(state.path(), "certificate.pem").unwrap()).unwrap();
    between.suggest(around(now, -20, -10));
    within("another certificate", async {
        while std::fs::read(stored(state.path(), "certificate.pem").unwrap()).unwrap() == first {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let orders = between.orders();
    assert!(orders.iter().all(|order| order["profile"] == "shortlived"), "{orders:?}");
    assert!(orders[0]["replaces"].is_null() && orders[1]["replaces"].is_string(), "{orders:?}");
}

#[tokio::test]
async fn a_restart_orders_nothing() {
    let (pebble, state) = (Pebble::start(Options::counted()).await, tempfile::tempdir().unwrap());
    let between = Between::start(&pebble).await;
    let acme = Acme { directory: between.directory(), ..acme(&pebble, &[Challenge::TlsAlpn01]) };
    let wanted = wanted(state.path(), &[NAME], acme);
    let root = pebble.issuing_root().await;
    let first = Front::start(wanted.clone(), quick(), pebble.tls, None).await;
    trusted(&root, pebble.tls, NAME).await;
    first.stop().await;
    let [tls_again] = free_ports();
    let _second = Front::start(wanted, quick(), tls_again, None).await;
    let connector = tls::connector(root.as_bytes());
    tls::handshake(&connector, tls_again, NAME).await.expect("served from the first moment");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(between.seen("/order-plz").len(), 1);
    assert_eq!(between.seen("/sign-me-up").len(), 1);
}

#[tokio::test]
async fn of_two_processes_one_orders_and_both_serve() {
    let (pebble, state) = (Pebble::start(Options::counted()).await, tempfile::tempdir().unwrap());
    let between = Between::start(&pebble).await;
    let acme = Acme { directory: between.directory(), ..acme(&pebble, &[Challenge::TlsAlpn01]) };
    let wanted = wanted(state.path(), &[NAME], acme);
    let [other] = free_ports();
    let _first = Front::start(wanted.clone(), quick(), pebble.tls, None).await;
    within("the lock", async {
        while between.seen("/dir").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let _second = Front::start(wanted, quick(), other, None).await;
    let root = pebble.issuing_root().await;
    for address in [pebble.tls, other] {
        trusted(&root, address, NAME).await;
    }
    assert_eq!(between.seen("/order-plz").len(), 1);
}

#[tokio::test]
async fn a_dry_run_orders_and_replaces_nothing_and_a_renewal_does() {
    let (pebble, state) = (Pebble::start(Options::counted()).await, tempfile::tempdir().unwrap());
    let between = Between::start(&pebble).await;
    let acme = Acme { directory: between.directory(), ..acme(&pebble, &[Challenge::TlsAlpn01]) };
    let wanted = wanted(state.path(), &[NAME], acme);
    let ports = Ports { https: &[pebble.tls], http: &[] };
    let command = Certificates::open_wanted(wanted.clone(), clock::now, Schedule::default()).unwrap();
    // No server runs: it answers the CA itself.
    command.renew(Renew::DryRun, ports).await.expect("the order goes well");
    assert_eq!((between.seen("/order-plz").len(), stored(state.path(), "certificate.pem")), (1, None));
    command.renew(Renew::Now, ports).await.expect("a certificate");
    let read = || std::fs::read(stored(state.path(), "certificate.pem").unwrap()).unwrap();
    let first = read();
    // A server runs: it is asked.
    let _front = Front::start(wanted, quick(), pebble.tls, None).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let asked = Instant::now();
    within("an answer", command.renew(Renew::DryRun, ports)).await.expect("the server's order goes well");
    assert!(asked.elapsed() < Duration::from_secs(15));
    assert_eq!((between.seen("/order-plz").len(), read() == first), (3, true));
    within("an answer", command.renew(Renew::Now, ports)).await.expect("the server renews");
    assert_ne!(read(), first);
    trusted(&pebble.issuing_root().await, pebble.tls, NAME).await;
}
