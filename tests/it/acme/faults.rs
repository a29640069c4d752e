//! A CA that fails, names that cannot be validated, a state folder that is damaged: service goes on, tries are counted
//! and spaced, and nothing is registered or ordered because a file could not be read.

use super::between::{Between, Mode};
use super::front::{Front, quick, stored};
use super::pebble::{Options, Pebble};
use super::{acme, failed, tls, trusted, wanted};
use crate::harness::within;
use ollama_gateway::certificates::{Certificates, Schedule, status};
use ollama_gateway::config::types::{Acme, Challenge};
use ollama_gateway::telemetry::clock;
use std::path::Path;
use std::time::{Duration, Instant};

const NAME: &str = "ai.example.org";

async fn outage(mode: Mode, says: &str) -> Vec<Instant> {
    let (pebble, state) = (Pebble::start(Options::counted()).await, tempfile::tempdir().unwrap());
    let between = Between::start(&pebble).await;
    between.behave(mode);
    let acme = Acme { directory: between.directory(), ..acme(&pebble, &[Challenge::TlsAlpn01]) };
    let wanted = wanted(state.path(), &[NAME], acme);
    let _front = Front::start(wanted.clone(), quick(), pebble.tls, None).await;
    let told = failed(&wanted).await;
    assert!(told.contains(says), "{told}");
    let made_here = tls::connector(&std::fs::read(state.path().join("self-signed/cert.pem")).unwrap());
    within("three tries", async {
        while between.seen("").len() < 3 {
            tls::handshake(&made_here, pebble.tls, NAME).await.expect("service goes on");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let tries = between.seen("");
    between.behave(Mode::Well);
    trusted(&pebble.issuing_root().await, pebble.tls, NAME).await;
    assert_eq!(status(&wanted, clock::now()).unwrap().pop().unwrap().last_error, None);
    tries
}

fn gaps(tries: &[Instant]) -> Vec<Duration> {
    tries.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

#[tokio::test]
async fn a_ca_that_is_down_is_asked_less_and_less_often() {
    let gaps = gaps(&outage(Mode::Down, "the CA cannot be asked").await);
    assert!(gaps[0] >= quick().soon && gaps[1] >= quick().soon * 2, "{gaps:?}");
}

#[tokio::test]
async fn a_ca_that_hangs_is_given_up_after_the_deadline() {
    let gaps = gaps(&outage(Mode::Hanging, "no answer within 1.5s").await);
    assert!(gaps[0] >= quick().request + quick().soon, "{gaps:?}");
}

#[tokio::test]
async fn a_ca_that_fails_is_told_by_its_status() {
    outage(Mode::Status(500), "status 500").await;
}

#[tokio::test]
async fn an_answer_without_end_is_not_read() {
    outage(Mode::Endless, "the answer is too large").await;
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let gaps = gaps(&outage(Mode::Status(429), "too many new orders").await);
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_secs(2)), "{gaps:?}");
}

#[tokio::test]
async fn a_name_that_cannot_be_validated_is_told_and_the_next_challenge_is_tried() {
    let (pebble, state) = (Pebble::start(Options::counted()).await, tempfile::tempdir().unwrap());
    let between = Between::start(&pebble).await;
    let challenges = [Challenge::Http01, Challenge::TlsAlpn01];
    let acme = Acme { directory: between.directory(), ..acme(&pebble, &challenges) };
    let wanted = wanted(state.path(), &[NAME], acme);
    // Nobody answers on the HTTP port.
    let schedule = Schedule { late: Duration::from_secs(2), ..quick() };
    let _front = Front::start(wanted.clone(), schedule, pebble.tls, None).await;
    let told = failed(&wanted).await;
    assert!(told.contains("could not validate") && told.contains(NAME) && told.contains("connection"), "{told}");
    trusted(&pebble.issuing_root().await, pebble.tls, NAME).await;
    let orders = gaps(&between.seen("/order-plz"));
    assert!(orders.len() == 1 && orders[0] >= Duration::from_secs(2), "{orders:?}");
}

#[tokio::test]
async fn a_restart_does_not_shorten_the_wait_after_a_failure() {
    let (pebble, state) = (Pebble::start(Options::counted()).await, tempfile::tempdir().unwrap());
    let between = Between::start(&pebble).await;
    between.behave(Mode::Status(500));
    let acme = Acme { directory: between.directory(), ..acme(&pebble, &[Challenge::TlsAlpn01]) };
    let wanted = wanted(state.path(), &[NAME], acme);
    let schedule = Schedule { soon: Duration::from_secs(600), ..quick() };
    for _ in 0..3 {
        let front = Front::start(wanted.clone(), schedule.clone(), pebble.tls, None).await;
        failed(&wanted).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        front.stop().await;
    }
    assert_eq!(between.seen("").len(), 1);
}

/// A state folder after a first certificate.
async fn after_a_first_certificate(
    pebble: &Pebble,
    between: &Between,
    state: &Path,
) -> ollama_gateway::certificates::Wanted {
    let acme = Acme { directory: between.directory(), ..acme(pebble, &[Challenge::TlsAlpn01]) };
    let wanted = wanted(state, &[NAME], acme);
    let front = Front::start(wanted.clone(), quick(), pebble.tls, None).await;
    trusted(&pebble.issuing_root().await, pebble.tls, NAME).await;
    front.stop().await;
    wanted
}

#[tokio::test]
async fn a_damaged_account_or_status_is_reported_and_nothing_is_asked_of_the_ca() {
    let (pebble, state) = (Pebble::start(Options::counted()).await, tempfile::tempdir().unwrap());
    let between = Between::start(&pebble).await;
    let wanted = after_a_first_certificate(&pebble, &between, state.path()).await;
    std::fs::remove_file(stored(state.path(), "certificate.pem").unwrap()).unwrap();
    let before = between.seen("").len();
    for file in ["account.json", "status.json"] {
        let path = stored(state.path(), file).unwrap();
        let good = std::fs::read(&path).unwrap();
        for bad in [&good[..good.len() / 2], b"", b"{}x", b"\0\0\0"] {
            std::fs::write(&path, bad).unwrap();
            let front = Front::start(wanted.clone(), quick(), pebble.tls, None).await;
            tokio::time::sleep(Duration::from_millis(250)).await;
            front.stop().await;
            assert_eq!(between.seen("").len(), before, "{file}");
            assert_eq!(std::fs::read(&path).unwrap(), bad, "{file} is left for somebody to look at");
        }
        std::fs::write(&path, good).unwrap();
    }
}

#[tokio::test]
async fn a_damaged_certificate_refuses_to_start_and_to_reload() {
    let (pebble, state) = (Pebble::start(Options::counted()).await, tempfile::tempdir().unwrap());
    let between = Between::start(&pebble).await;
    let wanted = after_a_first_certificate(&pebble, &between, state.path()).await;
    let before = between.seen("").len();
    let running = Certificates::open_wanted(wanted.clone(), clock::now, quick()).unwrap();
    let path = stored(state.path(), "certificate.pem").unwrap();
    let good = std::fs::read_to_string(&path).unwrap();
    for bad in ["", "hello", &good[..good.len() / 3], &good.replacen("BEGIN PRIVATE", "BEGIN PUBLIC", 1)] {
        std::fs::write(&path, bad).unwrap();
        for fault in [
            Certificates::open_wanted(wanted.clone(), clock::now, quick()).map(|_| ()).unwrap_err(),
            running.reload_wanted(wanted.clone()).unwrap_err(),
        ] {
            let told = fault.to_string();
            assert!(told.contains("certificate.pem: damaged") && told.contains("move it away"), "{told}");
        }
    }
    assert_eq!(between.seen("").len(), before);
}
