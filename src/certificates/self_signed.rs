//! A certificate made here, for a machine that has no other yet.
//!
//! A certificate authority is made for one certificate and its key is forgotten at once: who trusts `cert.pem` trusts
//! this one server and nothing that anybody could sign later. (A single certificate that is its own authority is not
//! taken by every client: OpenSSL in strict mode, which Python uses, and rustls differ in what they want of one.)
//!
//! - `cert.pem` is what a client trusts: `curl --cacert`, `SSL_CERT_FILE`, `NODE_EXTRA_CA_CERTS`
//! - `chain.pem` and `key.pem` are what the server shows and keeps
//!
//! Guarantees: the same files as long as they are good for a month and for these names, so that a client need not be
//! told again. Does not: renew in a running server without being asked (a reload does).

use crate::certificates::atomic_file::{self, Access};
use crate::certificates::fault::CertificateFault;
use crate::certificates::files::{self, Pair};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use zeroize::Zeroizing;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Apple's clients take no more than 398 days.
const LIFETIME: Duration = Duration::from_secs(397 * 24 * 60 * 60);
/// Remade when less than this is left.
const LEAST_LEFT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The file that clients are told to trust.
#[must_use]
pub fn trust_file(state: &Path) -> PathBuf {
    state.join("self-signed/cert.pem")
}

/// The stored certificate, or a new one.
pub(crate) fn open(state: &Path, names: &[String], now: SystemTime) -> Result<Pair, CertificateFault> {
    match stored(state) {
        Ok(pair) if reusable(&pair, names, now) => Ok(pair),
        Ok(_) | Err(_) => {
            write(state, &make(names, now)?)?;
            tracing::info!(event = "certificate_self_signed", trust = %trust_file(state).display(), "made a certificate");
            stored(state)
        }
    }
}

/// What was made, as PEM.
struct Made {
    authority: String,
    chain: String,
    key: Zeroizing<String>,
}

fn make(names: &[String], now: SystemTime) -> Result<Made, CertificateFault> {
    let issuer = CertifiedIssuer::self_signed(authority(now), KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?)?;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = server(names, now)?.signed_by(&key, &issuer)?;
    Ok(Made {
        authority: issuer.pem(),
        chain: format!("{}{}", certificate.pem(), issuer.pem()),
        key: Zeroizing::new(key.serialize_pem()),
    })
}

fn authority(now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("ollama-gateway {}", serial_of(now)));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now);
    params
}

fn server(names: &[String], now: SystemTime) -> Result<CertificateParams, CertificateFault> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, names.first().map_or("ollama-gateway", String::as_str));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now);
    Ok(params)
}

/// Two authorities of one name and different keys would confuse a client that keeps both.
fn serial_of(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn valid(params: &mut CertificateParams, now: SystemTime) {
    // A client's clock may be a little behind.
    let from = now.checked_sub(DAY).unwrap_or(SystemTime::UNIX_EPOCH);
    params.not_before = from.into();
    params.not_after = (from + LIFETIME).into();
}

fn write(state: &Path, made: &Made) -> Result<(), CertificateFault> {
    let folder = state.join("self-signed");
    atomic_file::write(&folder.join("key.pem"), made.key.as_bytes(), Access::Owner)?;
    atomic_file::write(&folder.join("chain.pem"), made.chain.as_bytes(), Access::Everybody)?;
    atomic_file::write(&trust_file(state), made.authority.as_bytes(), Access::Everybody)
}

pub(crate) fn stored(state: &Path) -> Result<Pair, CertificateFault> {
    let folder = state.join("self-signed");
    let pair = files::load(&folder.join("chain.pem"), &folder.join("key.pem"))?;
    let path = trust_file(state);
    let trusted = files::certificates(&path, &atomic_file::read(&path)?)?;
    let hint = "not the authority of the certificate beside it; remove the folder";
    // A crash between the three files: what clients would trust is not what is shown.
    if trusted.first() == pair.key.cert.last() { Ok(pair) } else { Err(CertificateFault::Damaged { path, hint }) }
}

fn reusable(pair: &Pair, names: &[String], now: SystemTime) -> bool {
    let same = pair.leaf.names.len() == names.len() && names.iter().all(|name| pair.leaf.names.contains(name));
    same && pair.leaf.left(now) > LEAST_LEFT && pair.leaf.not_before <= now
}
