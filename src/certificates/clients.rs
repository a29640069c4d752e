//! Client certificates: who may connect, and who it is.
//!
//! Guarantees: only certificates of the configured CA, for client authentication, valid now, and on no revocation list;
//! a list that has expired or that cannot be read lets nobody in, since it says nothing of a key stolen yesterday. The
//! CA file and the lists are swapped whole; a bad file keeps the old ones. There is no session resumption with client
//! certificates: each connection is judged anew, so a revocation holds from the next one. The client is not told which
//! CA is wanted. Does not: end connections that are open when a certificate is revoked.

use crate::certificates::atomic_file;
use crate::certificates::fault::CertificateFault;
use crate::certificates::files;
use crate::certificates::leaf;
use crate::certificates::server_config;
use crate::config::types::{ClientCertificates, ClientMode, ClientName};
use crate::telemetry::printable::hex;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Who a client certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The whole subject, e.g. `CN=ci-runner, O=Example`: for people; it is not escaped.
    pub subject: String,
    /// Its common name; `None` where it has none, or several.
    pub common_name: Option<String>,
    /// DNS names, mail addresses and URIs of it.
    pub names: Vec<String>,
    /// SHA-256 of the certificate, in lower-case hexadecimal digits.
    pub sha256: String,
}

impl ClientIdentity {
    /// Of the certificate that a connection was opened with: the first that rustls gives, and has verified.
    #[must_use]
    pub fn of(verified: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(verified).ok()?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verified);
        Some(Self {
            subject: certificate.subject().to_string(),
            common_name: common_name(&certificate),
            names: leaf::names(&certificate)?,
            sha256: hex(digest.as_ref()),
        })
    }
}

impl ClientName {
    /// Whether it is this client's.
    #[must_use]
    pub fn fits(&self, client: &ClientIdentity) -> bool {
        match self {
            Self::Common(name) => client.common_name.as_ref() == Some(name),
            Self::Alternative(name) => client.names.contains(name),
        }
    }
}

fn common_name(certificate: &X509Certificate<'_>) -> Option<String> {
    let mut all = certificate.subject().iter_common_name();
    let (first, second) = (all.next()?, all.next());
    second.is_none().then(|| first.as_str().ok().map(str::to_owned))?
}

/// The judge of now.
#[derive(Debug)]
pub(crate) struct Clients(ArcSwap<Option<Judge>>);

#[derive(Debug, Clone)]
struct Judge {
    verifier: Arc<dyn ClientCertVerifier>,
    mode: ClientMode,
}

/// A judge that was made from good files and is not yet in office.
#[derive(Debug)]
pub(crate) struct Loaded(Option<Judge>);

impl Clients {
    /// With what was loaded.
    pub(crate) fn new(loaded: Loaded) -> Self {
        Self(ArcSwap::from_pointee(loaded.0))
    }

    /// From now on.
    pub(crate) fn swap(&self, loaded: Loaded) {
        self.0.store(Arc::new(loaded.0));
    }
}

/// Reads the CA and its lists.
pub(crate) fn load(configured: Option<&ClientCertificates>) -> Result<Loaded, CertificateFault> {
    let Some(client) = configured else { return Ok(Loaded(None)) };
    let mut roots = RootCertStore::empty();
    for root in files::certificates(&client.ca, &atomic_file::read(&client.ca)?)? {
        roots.add(root).map_err(|_| damaged(&client.ca, "not the certificate of a CA"))?;
    }
    let mut lists = Vec::new();
    for path in &client.crls {
        lists.extend(revoked(path)?);
    }
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), server_config::provider());
    if !lists.is_empty() {
        builder = builder.with_crls(lists).enforce_revocation_expiration();
    }
    if client.mode == ClientMode::Optional {
        builder = builder.allow_unauthenticated();
    }
    let hint = "a revocation list cannot be used; write it again with its CA's key";
    let verifier = builder.build().map_err(|_| damaged(client.crls.first().unwrap_or(&client.ca), hint))?;
    Ok(Loaded(Some(Judge { verifier, mode: client.mode })))
}

/// The files that judge.
pub(crate) fn files_of(configured: Option<&ClientCertificates>) -> Vec<PathBuf> {
    configured.map(|client| std::iter::once(&client.ca).chain(&client.crls).cloned().collect()).unwrap_or_default()
}

fn revoked(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, CertificateFault> {
    let bytes = atomic_file::read(path)?;
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(&bytes).collect();
    // An empty file would silently revoke nothing.
    let hint = "no revocation list in it; PEM, X509 CRL";
    lists.ok().filter(|lists| !lists.is_empty()).ok_or_else(|| damaged(path, hint))
}

fn damaged(path: &Path, hint: &'static str) -> CertificateFault {
    CertificateFault::Damaged { path: path.to_owned(), hint }
}

impl Clients {
    fn judge(&self) -> Result<Judge, Error> {
        let judge = self.0.load();
        // `[tls.client]` was taken away after this handshake had asked for a certificate.
        Option::as_ref(&judge).cloned().ok_or(Error::General("no client certificate is wanted any more".to_owned()))
    }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.0.load().is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        Option::as_ref(&self.0.load()).is_some_and(|judge| judge.mode == ClientMode::Required)
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge()?.verifier.verify_client_cert(certificate, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge()?.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.judge()?.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        server_config::provider().signature_verification_algorithms.supported_schemes()
    }
}
