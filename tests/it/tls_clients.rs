//! Client certificates and several server certificates, with curl's handshakes against the real binary.

use crate::harness::calls::{Call, From};
use crate::harness::setup::Setup;
use crate::harness::{Gateway, Ollama, routes, within};
use ollama_gateway::ollama::endpoint::{Class, Endpoint};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};
use tokio::process::Command;

/// A CA, and the folder that its files are in.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    setup: Setup,
}

impl Authority {
    /// Its certificate is `clients.pem`, its revocation list `clients.crl`.
    pub(crate) fn new(setup: &Setup) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "clients");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(setup.file("clients.pem"), issuer.pem()).unwrap();
        let authority = Self { issuer, setup: setup.clone() };
        authority.revoke(&[]);
        authority
    }

    fn revoke(&self, serials: &[u64]) {
        let now = SystemTime::now();
        let revoked = serials.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: (now - Duration::from_secs(60)).into(),
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: (now - Duration::from_secs(3600)).into(),
            next_update: (now + Duration::from_secs(3600)).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).unwrap().pem().unwrap();
        std::fs::write(self.setup.file("clients.crl"), list).unwrap();
    }

    /// Writes `SERIAL.pem` and `SERIAL.key`.
    fn issue(&self, common_name: &str, alternative: &str, serial: u64) -> Shown {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![alternative.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, common_name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let shown = Shown(self.setup.file(&format!("{serial}.pem")), self.setup.file(&format!("{serial}.key")));
        std::fs::write(&shown.0, certificate.pem()).unwrap();
        std::fs::write(&shown.1, key.serialize_pem()).unwrap();
        shown
    }
}

/// Nothing more for curl.
const NONE: &[&str] = &[];

/// What a client shows: certificate and key.
struct Shown(PathBuf, PathBuf);

/// The status, or `None` where curl saw no HTTP at all.
async fn curl(
    gateway: &Gateway,
    path: &str,
    shown: Option<&Shown>,
    more: &[impl AsRef<std::ffi::OsStr>],
) -> Option<u16> {
    let address = gateway.https();
    let mut command = Command::new("curl");
    command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--cacert"]).arg(gateway.certificate());
    // The first that fits counts.
    command.args(more).args(["--connect-to", &format!("::{address}")]);
    if let Some(Shown(certificate, key)) = shown {
        command.arg("--cert").arg(certificate).arg("--key").arg(key);
    }
    command.arg(format!("https://localhost:{}{path}", address.port()));
    let output = within("curl", command.output()).await.unwrap();
    let status = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    (status != 0).then_some(status)
}

pub(crate) fn setup(ollama: &Ollama, mode: &str) -> Setup {
    let principals =
        "[{ common_name = \"ci-runner\", role = \"user\" }, { name = \"boss.example.org\", role = \"admin\" }]";
    Setup::before(ollama)
        .set("tls.client", "ca", "\"clients.pem\"")
        .set("tls.client", "crls", "[\"clients.crl\"]")
        .set("tls.client", "mode", mode)
        .set("tls.client", "principals", principals)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_a_credential_where_it_is_named_and_no_other_is_sent() {
    let ollama = routes::recorded().await;
    let setup = setup(&ollama, "\"optional\"");
    let authority = Authority::new(&setup);
    let (runner, boss) =
        (authority.issue("ci-runner", "x.example.org", 1), authority.issue("b", "boss.example.org", 2));
    let stranger = authority.issue("ci-runner, CN=boss", "user@boss.example.org", 3);
    let gateway = setup.start().await;
    assert_eq!(curl(&gateway, "/api/tags", Some(&runner), NONE).await, Some(200));
    assert_eq!(curl(&gateway, "/api/delete", Some(&runner), &["-X", "DELETE"]).await, Some(403), "the role of a user");
    assert_eq!(curl(&gateway, "/api/tags", Some(&stranger), NONE).await, Some(401), "known to the CA, not to the file");
    assert_eq!(curl(&gateway, "/api/tags", None, NONE).await, Some(401));
    let record = gateway.event_where("request", |event| event.to_string().contains("certificate:ci-runner")).await;
    assert!(record.to_string().contains("\"user\""), "{record}");
    let with_key = format!("Authorization: Bearer {}", gateway.user);
    let delete = ["-X", "DELETE", "-H", "Content-Type: application/json", "-d", "{\"model\":\"tiny\"}"];
    assert_eq!(curl(&gateway, "/api/delete", Some(&boss), &delete).await, Some(200));
    let by_key = [&delete[..], &["-H", &with_key]].concat();
    assert_eq!(curl(&gateway, "/api/delete", Some(&boss), &by_key).await, Some(403), "the key alone counts");
    let wrong = ["-H", "Authorization: Bearer nonsense"];
    assert_eq!(curl(&gateway, "/api/tags", Some(&boss), &wrong).await, Some(401), "not made good by a certificate");
    assert_eq!(curl(&gateway, "/api/tags", Some(&stranger), &["-H", &with_key]).await, Some(200));
}

/// The counterpart of `matrix` and `principals` for certificates.
#[tokio::test(flavor = "multi_thread")]
async fn every_endpoint_times_every_certificate() {
    let ollama = routes::recorded().await;
    let every = "[\"inference\", \"catalogue\", \"management\", \"egress\", \"v1-transcriptions\"]";
    let mut setup = setup(&ollama, "\"optional\"").set(
        "tls.client",
        "principals",
        "[{ common_name = \"all\", role = \"all\" }, { common_name = \"inference\", role = \"inference\" }, \
         { common_name = \"catalogue\", role = \"catalogue\" }]",
    );
    for (role, endpoints) in [("all", every), ("inference", "[\"inference\"]"), ("catalogue", "[\"catalogue\"]")] {
        let section = format!("roles.{role}");
        setup = setup.set(&section, "endpoints", endpoints).set(&section, "models", "[\"*\"]");
    }
    let authority = Authority::new(&setup);
    let names = ["all", "inference", "catalogue", "stranger"];
    let shown: Vec<_> = (1..).zip(names).map(|(serial, name)| authority.issue(name, "x.example.org", serial)).collect();
    let gateway = setup.start().await;
    let mut faults = Vec::new();
    for call in Endpoint::ALL.map(Call::of) {
        let class = call.endpoint.facts().class;
        let without = if class == Class::Inference { 2 } else { 1 };
        for (who, expected) in [(0, 200), (without, 403), (3, 401)] {
            let expected = if class == Class::Public { 200 } else { expected };
            let before = ollama.count();
            let status = curl(&gateway, &call.path, Some(&shown[who]), &arguments(&gateway, &call)).await;
            let reached = ollama.count() - before;
            let may_reach = expected == 200 && call.from != From::Here;
            let must_reach = expected == 200 && call.from == From::Ollama;
            if status != Some(expected) || (reached > 0 && !may_reach) || (reached == 0 && must_reach) {
                let (endpoint, name) = (call.endpoint, names[who]);
                faults.push(format!("{endpoint:?} × {name}: {status:?} instead of {expected}, {reached} sent on"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The call as curl is told it.
fn arguments(gateway: &Gateway, call: &Call) -> Vec<String> {
    let request = call.request(None);
    let mut arguments = match call.method {
        "HEAD" => vec!["--head".to_owned()],
        method => vec!["-X".to_owned(), method.to_owned()],
    };
    for (name, value) in &request.fields {
        arguments.extend(["-H".to_owned(), format!("{name}: {value}")]);
    }
    if !request.body.is_empty() {
        let file = gateway.setup.file("body");
        std::fs::write(&file, &request.body).unwrap();
        arguments.extend(["--data-binary".to_owned(), format!("@{}", file.display())]);
    }
    arguments
}

#[tokio::test(flavor = "multi_thread")]
async fn a_required_certificate_is_asked_for_before_http_and_a_revoked_one_ends_with_the_next_connection() {
    let ollama = routes::recorded().await;
    let setup = setup(&ollama, "\"required\"");
    let authority = Authority::new(&setup);
    let runner = authority.issue("ci-runner", "x.example.org", 1);
    let gateway = setup.start().await;
    assert_eq!(curl(&gateway, "/api/tags", None, NONE).await, None);
    let other = Ollama::start().await;
    let foreign = Authority::new(&Setup::before(&other));
    assert_eq!(curl(&gateway, "/api/tags", Some(&foreign.issue("ci-runner", "x.example.org", 1)), NONE).await, None);
    for version in ["--tls-max", "--tlsv1.3"] {
        let more: &[&str] = if version == "--tls-max" { &[version, "1.2"] } else { &[version] };
        assert_eq!(curl(&gateway, "/api/tags", Some(&runner), more).await, Some(200), "{version}");
    }
    authority.revoke(&[1]);
    gateway.signal("HUP");
    gateway.event("policy_reloaded").await;
    assert_eq!(curl(&gateway, "/api/tags", Some(&runner), NONE).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_listeners_that_are_named_ask_for_a_certificate() {
    let ollama = routes::recorded().await;
    let [asking, open] = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [asking, open] = [asking, open].map(|listener| listener.local_addr().unwrap());
    let setup = setup(&ollama, "\"required\"").set("server", "https", &format!("[\"{open}\", \"{asking}\"]")).set(
        "tls.client",
        "listeners",
        &format!("[\"{asking}\"]"),
    );
    let authority = Authority::new(&setup);
    let runner = authority.issue("ci-runner", "x.example.org", 1);
    let gateway = setup.start().await;
    assert_eq!(gateway.https(), open);
    assert_eq!(curl(&gateway, "/api/tags", None, NONE).await, Some(401));
    assert_eq!(curl(&gateway, "/api/tags", Some(&runner), NONE).await, Some(401), "nobody asked for it");
    let there = ["--connect-to", &format!("::{asking}")];
    assert_eq!(curl(&gateway, "/api/tags", None, &there).await, None);
    assert_eq!(curl(&gateway, "/api/tags", Some(&runner), &there).await, Some(200));
}

/// A certificate for one name, made by itself.
fn write_pair(setup: &Setup, name: &str) -> String {
    let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = setup.file(&format!("{name}.key"));
    std::fs::write(&key, pair.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(setup.file(&format!("{name}.pem")), pair.cert.pem()).unwrap();
    format!("{{ chain = \"{name}.pem\", key = \"{name}.key\" }}")
}

/// Asks for a name, trusting the certificate of another one alone.
async fn asks(gateway: &Gateway, name: &str, trusted: &str) -> Option<u16> {
    let address = gateway.https();
    let mut command = Command::new("curl");
    command.args(["-s", "-o", "/dev/null", "-w", "%{http_code}"]);
    command.arg("--cacert").arg(gateway.setup.file(&format!("{trusted}.pem")));
    command.args(["--resolve", &format!("{name}:{}:127.0.0.1", address.port())]);
    command.arg(format!("https://{name}:{}/api/health", address.port()));
    let output = within("curl", command.output()).await.unwrap();
    let status = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    (status != 0).then_some(status)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_name_gets_its_own_certificate_and_an_unknown_one_none() {
    let ollama = routes::recorded().await;
    let setup = Setup::before(&ollama).set("server", "names", "[\"a.example.org\", \"b.example.org\"]");
    let pairs = ["a.example.org", "b.example.org", "c.example.org"].map(|name| write_pair(&setup, name));
    let gateway = setup.set("tls", "certificate", &format!("[{}]", pairs.join(", "))).start().await;
    for name in ["a.example.org", "b.example.org"] {
        for trusted in ["a.example.org", "b.example.org"] {
            assert_eq!(asks(&gateway, name, trusted).await.is_some(), name == trusted, "{name} by {trusted}");
        }
    }
    assert_eq!(asks(&gateway, "c.example.org", "c.example.org").await, None, "not of server.names");
    gateway.event_where("certificate_unused", |event| event.to_string().contains("c.example.org")).await;
    let (code, shown, _) = gateway.setup.run(&["cert", "status"]).await;
    assert!(code == 0 && shown.contains("a.example.org") && shown.contains("b.example.org"), "{shown}");
}
