//! Client certificates: whose, and from when on not any more.

use super::*;
use crate::certificates::clients;
use crate::config::types::{ClientCertificates, ClientMode};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "clients");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a client shows.
type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn shown(authority: &Authority, serial: u64, usage: ExtendedKeyUsagePurpose) -> Shown {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["runner.example.org".to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, "runner");
    params.serial_number = Some(SerialNumber::from(serial));
    params.extended_key_usages = vec![usage];
    let certificate = params.signed_by(&key, authority).unwrap();
    (vec![certificate.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
}

/// A list that holds until then.
fn list(authority: &Authority, revoked: &[u64], until: SystemTime) -> String {
    let revoked = revoked.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: (clock() - Duration::from_secs(60)).into(),
        reason_code: None,
        invalidity_date: None,
    });
    let params = CertificateRevocationListParams {
        this_update: (clock() - Duration::from_secs(3600)).into(),
        next_update: until.into(),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(authority).unwrap().pem().unwrap()
}

struct Setting {
    state: tempfile::TempDir,
    authority: Authority,
    certificates: Arc<Certificates>,
}

impl Setting {
    fn new(mode: ClientMode, revoked: Option<&[u64]>) -> Self {
        let (state, authority) = (tempfile::tempdir().unwrap(), authority());
        let (ca, crl) = (state.path().join("clients.pem"), state.path().join("clients.crl"));
        std::fs::write(&ca, authority.pem()).unwrap();
        if let Some(revoked) = revoked {
            std::fs::write(&crl, list(&authority, revoked, clock() + Duration::from_secs(3600))).unwrap();
        }
        let mut wanted = wanted(state.path(), &["localhost"], Certificate::SelfSigned);
        let crls = if revoked.is_some() { vec![crl] } else { Vec::new() };
        wanted.tls.client = Some(ClientCertificates { ca, crls, mode, listeners: Vec::new(), principals: Vec::new() });
        let certificates = Certificates::open_wanted(wanted, clock, Schedule::default()).unwrap();
        Self { state, authority, certificates }
    }

    /// The server's end after data has gone both ways: a client of TLS 1.3 learns only then that it is refused.
    fn connect(
        &self,
        shown: Option<Shown>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Option<ServerConnection> {
        let server = self.certificates.server_config(&self.certificates.wanted.load().tls).unwrap();
        let builder = client_builder(self.state.path(), versions);
        let config = match shown {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).unwrap(),
            None => builder.with_no_client_auth(),
        };
        let (there, _) = shake(&server, config, "localhost").ok()?;
        (!there.is_handshaking()).then_some(there)
    }

    fn admits(&self, shown: Option<Shown>) -> bool {
        let each = [&rustls::version::TLS12, &rustls::version::TLS13].map(|version| {
            let shown = shown.as_ref().map(|(chain, key)| (chain.clone(), key.clone_key()));
            self.connect(shown, &[version]).is_some()
        });
        assert_eq!(each[0], each[1], "TLS 1.2 and 1.3 agree");
        each[0]
    }

    fn write_list(&self, text: &str) {
        std::fs::write(self.state.path().join("clients.crl"), text).unwrap();
    }
}

const CLIENT: ExtendedKeyUsagePurpose = ExtendedKeyUsagePurpose::ClientAuth;

#[test]
fn a_required_certificate_is_of_our_ca_and_for_clients() {
    let setting = Setting::new(ClientMode::Required, None);
    assert!(setting.admits(Some(shown(&setting.authority, 7, CLIENT))));
    assert!(!setting.admits(None));
    assert!(!setting.admits(Some(shown(&authority(), 7, CLIENT))), "another CA of the same name");
    assert!(!setting.admits(Some(shown(&setting.authority, 7, ExtendedKeyUsagePurpose::ServerAuth))));
}

#[test]
fn an_optional_certificate_may_be_missing_but_not_wrong() {
    let setting = Setting::new(ClientMode::Optional, None);
    assert!(setting.admits(Some(shown(&setting.authority, 7, CLIENT))));
    assert!(setting.admits(None));
    assert!(!setting.admits(Some(shown(&authority(), 7, CLIENT))));
}

#[test]
fn the_client_is_known_by_its_subject_and_nothing_is_resumed() {
    let setting = Setting::new(ClientMode::Required, None);
    let certificate = shown(&setting.authority, 7, CLIENT);
    let there = setting.connect(Some(certificate), BOTH).unwrap();
    let identity = ClientIdentity::of(&there.peer_certificates().unwrap()[0]).unwrap();
    assert_eq!((identity.subject.as_str(), identity.sha256.len()), ("CN=runner", 64));
    assert_eq!(identity.names, ["runner.example.org"]);
    let server = setting.certificates.server_config(&setting.certificates.wanted.load().tls).unwrap();
    assert_eq!(
        (server.send_tls13_tickets, server.ticketer.enabled(), server.session_storage.can_cache()),
        (0, false, false)
    );
}

#[test]
fn a_revoked_or_stale_list_lets_nobody_in_and_a_bad_one_keeps_the_last() {
    let setting = Setting::new(ClientMode::Required, Some(&[8]));
    let (good, bad) = (shown(&setting.authority, 7, CLIENT), shown(&setting.authority, 8, CLIENT));
    let again = |shown: &Shown| Some((shown.0.clone(), shown.1.clone_key()));
    assert!(setting.admits(again(&good)) && !setting.admits(again(&bad)));
    let later = clock() + Duration::from_secs(3600);
    for text in ["", "hello", &setting.authority.pem()] {
        setting.write_list(text);
        setting.certificates.refresh().expect_err("no list");
        assert!(setting.admits(again(&good)) && !setting.admits(again(&bad)), "the last one goes on");
    }
    setting.write_list(&list(&setting.authority, &[7], later));
    setting.certificates.refresh().unwrap();
    assert!(!setting.admits(again(&good)) && setting.admits(again(&bad)), "without a new server");
    setting.write_list(&list(&setting.authority, &[], clock() - Duration::from_secs(60)));
    setting.certificates.refresh().unwrap();
    assert!(!setting.admits(again(&good)) && !setting.admits(again(&bad)), "a list of yesterday");
    let forged = authority();
    setting.write_list(&list(&forged, &[], later));
    setting.certificates.refresh().unwrap();
    assert!(!setting.admits(again(&good)), "a list of somebody else");
}

#[test]
fn the_files_are_watched() {
    let (ca, crls) = ("a".into(), vec!["b".into()]);
    let client =
        ClientCertificates { ca, crls, mode: ClientMode::Required, listeners: Vec::new(), principals: Vec::new() };
    assert_eq!(clients::files_of(Some(&client)), [Path::new("a"), Path::new("b")]);
}
