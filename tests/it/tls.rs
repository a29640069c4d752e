//! TLS as it is negotiated: versions, key exchange, protocols, tickets, and certificates that change under running streams.

use crate::harness::stream::{Stream, Version};
use crate::harness::wire::{handshake, tls_config};
use crate::harness::{DEADLINE, Gateway, Ollama, Reply, Request, Setup, Wire, routes, within};
use rustls_pki_types::CertificateDer;
use serde_json::json;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::rustls::{
    ClientConfig, HandshakeKind, NamedGroup, ProtocolVersion, RootCertStore, SupportedProtocolVersion, crypto, version,
};

/// Writes a new pair for `localhost`, and returns the certificate.
fn write_pair(setup: &Setup) -> CertificateDer<'static> {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    std::fs::write(setup.file("chain.pem"), pair.cert.pem()).unwrap();
    let key = setup.file("key.pem");
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    pair.cert.der().clone()
}

fn with_files(ollama: &Ollama) -> Setup {
    Setup::before(ollama).set("tls", "certificate", "{ chain = \"chain.pem\", key = \"key.pem\" }")
}

fn trusting(certificates: &[&CertificateDer<'static>]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add((*certificate).clone()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()));
    Arc::new(builder.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots).with_no_client_auth())
}

/// The certificate that a new connection is shown.
async fn shown(gateway: &Gateway, config: &Arc<ClientConfig>) -> CertificateDer<'static> {
    let stream = handshake(gateway, Arc::clone(config), "localhost").await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

async fn until_event(gateway: &Gateway, names: &[&str], before: usize) {
    let count = || names.iter().map(|name| gateway.events(name).len()).sum::<usize>();
    let wait = async {
        while count() <= before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, wait).await.is_ok(), "none of {names:?} in\n{}", gateway.log_text());
}

#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_served_after_a_reload_and_a_running_stream_goes_on() {
    let ollama = routes::recorded().await;
    let setup = with_files(&ollama);
    let first = write_pair(&setup);
    let gateway = setup.start().await;
    let (reply, gate) = Reply::recording("chat_stream").gated();
    ollama.on("/api/chat", reply);
    let mut wire = Wire::over(handshake(&gateway, trusting(&[&first]), "localhost").await.unwrap());
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}]});
    let (head, mut stream) = wire.open(&Request::post("/api/chat", &body).key(&gateway.user)).await;
    assert_eq!(head.status, 200);
    let second = write_pair(&gateway.setup);
    let both = trusting(&[&first, &second]);
    gateway.signal("HUP");
    within("the new certificate", async {
        while shown(&gateway, &both).await != second {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    gate.open_all();
    let mut lines = 0;
    while let Some(piece) = stream.next(&mut wire).await {
        lines += piece.iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(lines, 17);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_do_not_fit_together_keep_the_old_certificate() {
    let ollama = routes::recorded().await;
    let setup = with_files(&ollama);
    let first = write_pair(&setup);
    let gateway = setup.start().await;
    let config = trusting(&[&first]);
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    for text in [other.cert.pem(), "no certificate".to_owned(), String::new()] {
        let events = ["certificate_failed", "policy_reload_failed"];
        let before = events.iter().map(|name| gateway.events(name).len()).sum();
        std::fs::write(gateway.setup.file("chain.pem"), text).unwrap();
        gateway.signal("HUP");
        until_event(&gateway, &events, before).await;
        assert_eq!(shown(&gateway, &config).await, first);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_not_there_or_do_not_fit_do_not_start() {
    let ollama = Ollama::start().await;
    let setup = with_files(&ollama);
    let (code, _, stderr) = setup.run(&["serve"]).await;
    assert!(code != 0 && stderr.contains(".pem"), "{code}: {stderr}");
    write_pair(&setup);
    std::fs::write(setup.file("chain.pem"), rcgen::generate_simple_self_signed(["x".to_owned()]).unwrap().cert.pem())
        .unwrap();
    let (code, _, stderr) = setup.run(&["serve"]).await;
    assert!(code != 0, "{stderr}");
}

/// A client that speaks one version of TLS and trusts the gateway.
pub(crate) fn speaking(gateway: &Gateway, version: &'static SupportedProtocolVersion) -> ClientConfig {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate_of(&gateway.certificate())).unwrap();
    let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
    builder.with_root_certificates(roots).with_no_client_auth()
}

#[tokio::test(flavor = "multi_thread")]
async fn versions_are_those_of_the_configuration() {
    let ollama = Ollama::start().await;
    for (oldest, twelve) in [("\"1.2\"", true), ("\"1.3\"", false)] {
        let gateway = Setup::before(&ollama).set("tls", "min_version", oldest).start().await;
        let config = |version| Arc::new(speaking(&gateway, version));
        let old = handshake(&gateway, config(&version::TLS12), "localhost").await;
        assert_eq!(old.is_ok(), twelve, "TLS 1.2 where the oldest is {oldest}");
        let new = handshake(&gateway, config(&version::TLS13), "localhost").await.unwrap();
        assert_eq!(new.get_ref().1.protocol_version(), Some(ProtocolVersion::TLSv1_3));
    }
}

fn certificate_of(path: &Path) -> CertificateDer<'static> {
    use rustls_pki_types::pem::PemObject as _;
    CertificateDer::from_pem_file(path).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_exchange_is_post_quantum_first_and_tickets_carry_no_early_data() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).start().await;
    let mut config = tls_config(&gateway.certificate(), &["http/1.1"]);
    config.enable_early_data = true;
    let config = Arc::new(config);
    let mut kinds = Vec::new();
    for _ in 0..2 {
        let stream = handshake(&gateway, Arc::clone(&config), "localhost").await.unwrap();
        let connection = stream.get_ref().1;
        assert_eq!(
            connection.negotiated_key_exchange_group().map(|group| group.name()),
            Some(NamedGroup::X25519MLKEM768)
        );
        assert!(!connection.is_early_data_accepted());
        kinds.push(connection.handshake_kind().unwrap());
        Wire::over(stream).exchange(&Request::get("/api/health")).await.expect(200);
    }
    assert_eq!(kinds, [HandshakeKind::Full, HandshakeKind::Resumed]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_protocol_is_the_best_that_both_speak() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).start().await;
    let chosen = async |offered: &[&str]| {
        let config = Arc::new(tls_config(&gateway.certificate(), offered));
        let stream = handshake(&gateway, config, "localhost").await?;
        Ok::<_, std::io::Error>(stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec))
    };
    assert_eq!(chosen(&["http/1.1", "h2"]).await.unwrap().unwrap(), b"h2");
    assert_eq!(chosen(&["http/1.1"]).await.unwrap().unwrap(), b"http/1.1");
    assert_eq!(chosen(&[]).await.unwrap(), None);
    let refused = chosen(&["spdy/3"]).await.unwrap_err().to_string();
    assert!(refused.contains("NoApplicationProtocol"), "RFC 7301 §3.2: {refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn cleartext_on_the_tls_port_is_not_served() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    let mut wire = Wire::cleartext(gateway.https()).await;
    wire.write(&Request::get("/api/health").bytes()).await;
    let (bytes, _) = wire.read_to_end().await;
    assert!(!bytes.starts_with(b"HTTP/1.1 200"), "{bytes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_secret_in_the_state_folder_is_for_the_owner_alone() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).start().await;
    let mut stream = Stream::open(&gateway, Version::Two, &Request::get("/api/health")).await;
    stream.read_to_end().await;
    let (mut folders, mut looked) = (vec![gateway.setup.state()], 0);
    while let Some(folder) = folders.pop() {
        for path in children(&folder) {
            let mode = path.metadata().unwrap().permissions().mode() & 0o777;
            let public = path.file_name().is_some_and(|name| name == "cert.pem" || name == "chain.pem");
            if path.is_dir() {
                assert_eq!(mode, 0o700, "{}", path.display());
                folders.push(path);
            } else if !public {
                assert_eq!(mode & 0o077, 0, "{} is {mode:o}", path.display());
                looked += 1;
            }
        }
    }
    assert!(looked >= 2, "a database and a key at least");
}

fn children(folder: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}
