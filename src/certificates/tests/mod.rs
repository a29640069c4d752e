//! Real handshakes, in memory, and files that are changed for worse.

mod clients;

use super::*;
use crate::config::types::{MissingSni, TlsVersion};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use rustls::client::{ClientConfig, ClientConnection, WantsClientCert};
use rustls::server::ServerConnection;
use rustls::{ConfigBuilder, NamedGroup, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};

const NOW: Duration = Duration::from_secs(1_800_000_000);

fn clock() -> SystemTime {
    SystemTime::UNIX_EPOCH + NOW
}

fn wanted(state: &Path, names: &[&str], certificate: Certificate) -> Wanted {
    let (min_version, missing_sni) = (TlsVersion::V12, MissingSni::Refuse);
    let tls = Tls { certificate, min_version, hsts: String::new(), missing_sni, acme: None, client: None };
    Wanted { names: names.iter().map(ToString::to_string).collect(), state: state.to_owned(), tls }
}

fn self_signed(state: &Path, names: &[&str]) -> Arc<Certificates> {
    Certificates::open_wanted(wanted(state, names, Certificate::SelfSigned), clock, Schedule::default()).expect("opens")
}

/// A client as strict as any, whose clock is ours.
fn client(state: &Path, alpn: &[&[u8]], versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
    let mut config = client_builder(state, versions).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
    config
}

fn client_builder(
    state: &Path,
    versions: &[&'static SupportedProtocolVersion],
) -> ConfigBuilder<ClientConfig, WantsClientCert> {
    #[derive(Debug)]
    struct At;
    impl rustls::time_provider::TimeProvider for At {
        fn current_time(&self) -> Option<rustls_pki_types::UnixTime> {
            Some(rustls_pki_types::UnixTime::since_unix_epoch(NOW))
        }
    }
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(super::self_signed::trust_file(state)).expect("PEM")).expect("a CA");
    let builder = ClientConfig::builder_with_details(server_config::provider(), Arc::new(At));
    builder.with_protocol_versions(versions).unwrap().with_root_certificates(roots)
}

/// Both ends of a handshake that was done, or what the client was told.
fn shake(
    server: &Arc<ServerConfig>,
    client: ClientConfig,
    name: &str,
) -> Result<(ServerConnection, ClientConnection), rustls::Error> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let mut there = ServerConnection::new(Arc::clone(server)).unwrap();
    let mut here = ClientConnection::new(Arc::new(client), name).unwrap();
    while here.is_handshaking() || there.is_handshaking() {
        let mut wire = Vec::new();
        while here.wants_write() {
            here.write_tls(&mut wire).unwrap();
        }
        there.read_tls(&mut wire.as_slice()).unwrap();
        drop(there.process_new_packets());
        wire.clear();
        while there.wants_write() {
            there.write_tls(&mut wire).unwrap();
        }
        here.read_tls(&mut wire.as_slice()).unwrap();
        here.process_new_packets()?;
    }
    Ok((there, here))
}

const BOTH: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];
const H2: &[&[u8]] = &[b"h2", b"http/1.1"];

#[test]
fn a_known_name_is_served_in_any_case_and_another_gets_an_alert() {
    let state = tempfile::tempdir().unwrap();
    let certificates = self_signed(state.path(), &["ai.example.org", "localhost"]);
    let server = certificates.server_config(&certificates.wanted.load().tls).unwrap();
    for name in ["ai.example.org", "AI.Example.ORG", "localhost"] {
        shake(&server, client(state.path(), H2, BOTH), name).expect(name);
    }
    for name in ["other.example.org", "example.org", "127.0.0.1"] {
        let told = shake(&server, client(state.path(), H2, BOTH), name).map(|_| ()).expect_err(name);
        assert!(matches!(told, rustls::Error::AlertReceived(_)), "{name}: {told}");
    }
}

#[test]
fn a_client_without_sni_is_served_where_an_address_is_a_name_or_the_policy_says_so() {
    let state = tempfile::tempdir().unwrap();
    let certificates = self_signed(state.path(), &["ai.example.org", "127.0.0.1", "::1"]);
    let server = certificates.server_config(&certificates.wanted.load().tls).unwrap();
    for address in ["127.0.0.1", "::1"] {
        shake(&server, client(state.path(), H2, BOTH), address).expect(address);
    }
    let named = tempfile::tempdir().unwrap();
    let certificates = self_signed(named.path(), &["ai.example.org"]);
    let mut tls = certificates.wanted.load().tls.clone();
    let mut silent = client(named.path(), H2, BOTH);
    silent.enable_sni = false;
    let refusing = certificates.server_config(&tls).unwrap();
    shake(&refusing, silent.clone(), "ai.example.org").map(|_| ()).expect_err("refused");
    tls.missing_sni = MissingSni::Serve;
    shake(&certificates.server_config(&tls).unwrap(), silent, "ai.example.org").expect("served");
}

#[test]
fn versions_suites_and_key_exchange_are_ours() {
    let state = tempfile::tempdir().unwrap();
    let certificates = self_signed(state.path(), &["localhost"]);
    let mut tls = certificates.wanted.load().tls.clone();
    let server = certificates.server_config(&tls).unwrap();
    let (there, _) = shake(&server, client(state.path(), H2, BOTH), "localhost").unwrap();
    assert_eq!(there.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    assert_eq!(there.negotiated_key_exchange_group().map(|g| g.name()), Some(NamedGroup::X25519MLKEM768));
    let old = || client(state.path(), H2, &[&rustls::version::TLS12]);
    let (there, _) = shake(&server, old(), "localhost").unwrap();
    assert_eq!(there.protocol_version(), Some(ProtocolVersion::TLSv1_2));
    for suite in &server.crypto_provider().cipher_suites {
        let name = format!("{:?}", suite.suite());
        assert!(name.starts_with("TLS13_") || name.starts_with("TLS_ECDHE_"), "{name}");
        assert!(name.contains("GCM") || name.contains("CHACHA20_POLY1305"), "{name}");
    }
    assert_eq!((server.max_early_data_size, server.ticketer.enabled()), (0, true));
    tls.min_version = TlsVersion::V13;
    shake(&certificates.server_config(&tls).unwrap(), old(), "localhost").map(|_| ()).expect_err("1.3 only");
}

#[test]
fn the_protocol_is_chosen_by_alpn_and_no_challenge_is_answered_unasked() {
    let state = tempfile::tempdir().unwrap();
    let certificates = self_signed(state.path(), &["localhost"]);
    let mut tls = certificates.wanted.load().tls.clone();
    let server = certificates.server_config(&tls).unwrap();
    let chosen = |server: &Arc<ServerConfig>, alpn: &[&[u8]]| {
        shake(server, client(state.path(), alpn, BOTH), "localhost").map(|(s, _)| s.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(chosen(&server, &[b"http/1.1", b"h2"]).unwrap().as_deref(), Some(&b"h2"[..]));
    assert_eq!(chosen(&server, &[b"http/1.1"]).unwrap().as_deref(), Some(&b"http/1.1"[..]));
    assert_eq!(chosen(&server, &[]).unwrap(), None);
    chosen(&server, &[b"imap"]).expect_err("not spoken");
    chosen(&server, &[ACME_TLS_ALPN]).expect_err("not configured");
    tls.certificate = Certificate::Acme;
    let server = certificates.server_config(&tls).unwrap();
    chosen(&server, &[ACME_TLS_ALPN]).expect_err("nothing under way");
    assert_eq!(chosen(&server, &[ACME_TLS_ALPN, b"h2"]).unwrap().as_deref(), Some(&b"h2"[..]));
}

#[test]
fn a_made_certificate_is_kept_while_it_is_good() {
    let state = tempfile::tempdir().unwrap();
    let trusted = || std::fs::read(super::self_signed::trust_file(state.path())).unwrap();
    self_signed(state.path(), &["localhost"]);
    let first = trusted();
    self_signed(state.path(), &["localhost"]);
    assert_eq!(trusted(), first, "kept");
    let late = || SystemTime::UNIX_EPOCH + NOW + Duration::from_secs(370 * 24 * 60 * 60);
    Certificates::open_wanted(wanted(state.path(), &["localhost"], Certificate::SelfSigned), late, Schedule::default())
        .unwrap();
    let second = trusted();
    assert_ne!(second, first, "less than a month left");
    self_signed(state.path(), &["localhost", "127.0.0.1"]);
    assert_ne!(trusted(), second, "other names");
    let mode = |file: &str| std::fs::metadata(state.path().join(file)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("self-signed/key.pem"), mode("self-signed/cert.pem")), (0o600, 0o644));
}

/// Files that were given to us: a certificate made elsewhere.
fn given(folder: &Path, names: &[&str]) -> Certificate {
    self_signed(folder, names);
    let file = |name: &str| folder.join("self-signed").join(name);
    Certificate::Files(vec![CertificateFiles { chain: file("chain.pem"), key: file("key.pem") }])
}

#[test]
fn a_bad_file_keeps_the_old_certificate_and_says_which() {
    let state = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let names = ["localhost"];
    let good = given(state.path(), &names);
    let certificates =
        Certificates::open_wanted(wanted(state.path(), &names, good), clock, Schedule::default()).unwrap();
    let server = certificates.server_config(&certificates.wanted.load().tls).unwrap();
    let Certificate::Files(files) = given(other.path(), &names) else { unreachable!() };
    let CertificateFiles { chain, key } = files[0].clone();
    let own_key = state.path().join("self-signed/key.pem");
    let write = |name: &str, text: &str| {
        let path = other.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let open_key = write("open.pem", &std::fs::read_to_string(&key).unwrap());
    std::fs::set_permissions(&open_key, std::fs::Permissions::from_mode(0o604)).unwrap();
    let cut = write("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n");
    for (chain, key, says) in [
        (&chain, &own_key, "does not belong to the certificate in"),
        (&chain, &write("no-key.pem", "hello"), "no private key in it"),
        (&chain, &open_key, "chmod 600"),
        (&chain, &other.path().join("missing.pem"), "cannot be read"),
        (&write("empty.pem", ""), &key, "no certificate in it"),
        (&cut, &key, "damaged"),
        (&key, &key, "no certificate in it"),
    ] {
        let bad = Certificate::Files(vec![CertificateFiles { chain: chain.clone(), key: key.clone() }]);
        let fault = certificates.reload_wanted(wanted(state.path(), &names, bad)).expect_err(says).to_string();
        assert!(fault.contains(says) && fault.contains("hint: "), "{fault}");
        shake(&server, client(state.path(), H2, BOTH), "localhost").expect("the old one serves on");
    }
    let fresh = Certificate::Files(vec![CertificateFiles { chain, key }]);
    certificates.reload_wanted(wanted(state.path(), &names, fresh)).expect("good files");
    shake(&server, client(other.path(), H2, BOTH), "localhost").expect("the new one serves");
    shake(&server, client(state.path(), H2, BOTH), "localhost").map(|_| ()).expect_err("the old one is gone");
}

#[tokio::test]
async fn changed_files_are_noticed_and_swapped_together() {
    let state = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    let names = ["localhost"];
    let good = given(state.path(), &names);
    let certificates =
        Certificates::open_wanted(wanted(state.path(), &names, good), clock, Schedule::default()).unwrap();
    let server = certificates.server_config(&certificates.wanted.load().tls).unwrap();
    given(other.path(), &names);
    let trust = |folder: &Path| client(folder, H2, BOTH);
    let (old, new) = (trust(state.path()), trust(other.path()));
    let followed = Arc::clone(&certificates);
    let following = tokio::spawn(async move { watch::files(&followed, Duration::from_millis(10)).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    for (file, serves) in [("chain.pem", &old), ("key.pem", &new)] {
        std::fs::rename(other.path().join("self-signed").join(file), state.path().join("self-signed").join(file))
            .unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        shake(&server, serves.clone(), "localhost").expect(file);
    }
    following.abort();
}
