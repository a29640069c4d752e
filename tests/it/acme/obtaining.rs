//! A first certificate, by each challenge.

use super::front::{Front, quick, stored};
use super::pebble::{BINDING, Options, Pebble};
use super::{acme, failed, shown, tls, trusted, wanted};
use ollama_gateway::certificates::Wanted;
use ollama_gateway::config::secret::Secret;
use ollama_gateway::config::types::{Acme, Challenge, ExternalAccount};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const NAMES: &[&str] = &["ai.example.org", "chat.example.org"];

#[tokio::test]
async fn by_http01_for_several_names_while_another_certificate_serves() {
    let (pebble, state) = (Pebble::start(Options::default()).await, tempfile::tempdir().unwrap());
    let wanted = wanted(state.path(), NAMES, acme(&pebble, &[Challenge::Http01]));
    let front = Front::start(wanted.clone(), quick(), pebble.tls, Some(pebble.http)).await;
    let made_here = std::fs::read(state.path().join("self-signed/cert.pem")).unwrap();
    tls::handshake(&tls::connector(&made_here), pebble.tls, NAMES[0]).await.expect("served at once");
    let root = pebble.issuing_root().await;
    for name in NAMES {
        trusted(&root, pebble.tls, name).await;
    }
    assert_eq!(curl(&root, state.path(), NAMES[1], pebble.tls).await, "hello");
    let status = shown(&wanted);
    assert_eq!((status.source, status.days_left, status.last_error), ("acme", 89, None));
    assert!(NAMES.iter().all(|name| status.names.contains(&name.to_string())), "{:?}", status.names);
    assert!(status.issuer.contains("Pebble Intermediate"), "{}", status.issuer);
    for file in ["account.json", "certificate.pem", "status.json"] {
        let mode = std::fs::metadata(stored(state.path(), file).expect(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let asked = front.asked();
    assert!(asked.len() >= NAMES.len() && asked.iter().all(|token| !token.is_empty()), "{asked:?}");
    assert!(asked.iter().all(|token| front.certificates.http01(token).is_none()), "no answer stays behind");
}

/// What curl says that trusts this root alone.
async fn curl(root: &str, folder: &Path, name: &str, address: SocketAddr) -> String {
    let file = folder.join("root.pem");
    std::fs::write(&file, root).unwrap();
    let (port, url) = (address.port(), format!("https://{name}:{}/", address.port()));
    let mut command = tokio::process::Command::new("curl");
    command.args(["-sS", "--http1.1", "--resolve", &format!("{name}:{port}:{}", address.ip()), "--cacert"]);
    let out = command.arg(file).arg(url).output().await.unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[tokio::test]
async fn by_tls_alpn01_where_a_third_of_the_nonces_is_refused() {
    let options = Options { bad_nonces: 30, ..Options::default() };
    let (pebble, state) = (Pebble::start(options).await, tempfile::tempdir().unwrap());
    let names = &["a.example.org", "b.example.org", "c.example.org"];
    let wanted = wanted(state.path(), names, acme(&pebble, &[Challenge::TlsAlpn01]));
    let _front = Front::start(wanted.clone(), quick(), pebble.tls, None).await;
    let root = pebble.issuing_root().await;
    for name in names {
        trusted(&root, pebble.tls, name).await;
    }
    assert_eq!(shown(&wanted).last_error, None);
}

#[tokio::test]
async fn for_an_address_with_only_the_tls_port() {
    let (pebble, state) = (Pebble::start(Options::default()).await, tempfile::tempdir().unwrap());
    let wanted = wanted(state.path(), &["127.0.0.1"], acme(&pebble, &[Challenge::TlsAlpn01]));
    let _front = Front::start(wanted, quick(), pebble.tls, None).await;
    trusted(&pebble.issuing_root().await, pebble.tls, "127.0.0.1").await;
}

/// A command as somebody would write it for their DNS server; it also notes how it was called, and how it is confined.
pub(super) fn dns_command(pebble: &Pebble, folder: &Path) -> Vec<String> {
    let script = format!(
        r#"echo "$@" >>{0}
grep -E '^(NoNewPrivs|Seccomp|CapEff):' /proc/self/status >>{0}
case $1 in
set) body="{{\"host\":\"$2.\",\"value\":\"$3\"}}"; path=set-txt ;;
clear) body="{{\"host\":\"$2.\"}}"; path=clear-txt ;;
esac
curl -sf -d "$body" http://{1}/$path"#,
        folder.join("calls").display(),
        pebble.records
    );
    let path = folder.join("dns.sh");
    std::fs::write(&path, script).unwrap();
    vec!["sh".to_owned(), path.to_str().unwrap().to_owned()]
}

#[tokio::test]
async fn by_dns01_and_the_records_are_taken_away() {
    let (pebble, state) = (Pebble::start(Options::default()).await, tempfile::tempdir().unwrap());
    let by_command = Challenge::Dns01 { command: dns_command(&pebble, state.path()) };
    let wanted = wanted(state.path(), NAMES, acme(&pebble, &[by_command]));
    let _front = Front::start(wanted, quick(), pebble.tls, None).await;
    trusted(&pebble.issuing_root().await, pebble.tls, NAMES[1]).await;
    let calls = std::fs::read_to_string(state.path().join("calls")).unwrap();
    for name in NAMES {
        for verb in ["set", "clear"] {
            assert!(calls.contains(&format!("{verb} _acme-challenge.{name} ")), "{calls}");
        }
    }
}

#[tokio::test]
async fn with_an_external_account_and_not_without() {
    let options = Options { binding: true, ..Options::default() };
    let (pebble, state) = (Pebble::start(options).await, tempfile::tempdir().unwrap());
    let unbound = acme(&pebble, &[Challenge::TlsAlpn01]);
    let refused = wanted(state.path(), &NAMES[..1], unbound.clone());
    let front = Front::start(refused.clone(), quick(), pebble.tls, None).await;
    let told = failed(&refused).await;
    assert!(told.contains("externalAccountRequired"), "{told}");
    assert_eq!(stored(state.path(), "account.json"), None);

    let eab = ExternalAccount { key_id: BINDING.0.to_owned(), hmac_key: Secret::new(BINDING.1.to_owned()) };
    let bound = Wanted {
        tls: ollama_gateway::config::types::Tls {
            acme: Some(Acme { eab: Some(eab), ..unbound }),
            ..refused.tls.clone()
        },
        ..refused
    };
    front.certificates.reload_wanted(bound).expect("other settings are tried at once");
    trusted(&pebble.issuing_root().await, pebble.tls, NAMES[0]).await;
}
