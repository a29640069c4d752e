//! Puts the answer to a challenge where the CA will look for it, and takes it away again.
//!
//! Guarantees: nothing stays behind: `clear` runs whatever came of the order. One key for each TLS-ALPN-01 answer,
//! never the server's.

use crate::certificates::acme::dns_hook::{Record, Verb};
use crate::certificates::acme::fault::AcmeFault;
use crate::certificates::challenges::Challenges;
use crate::certificates::server_config;
use crate::config::types::Challenge;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{ChallengeType, KeyAuthorization};
use rcgen::{CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// The answers of one order.
pub(crate) struct Answers<'a> {
    challenges: &'a Challenges,
    hook: Duration,
    records: Vec<Record>,
}

impl<'a> Answers<'a> {
    /// None yet.
    pub(crate) fn new(challenges: &'a Challenges, hook: Duration) -> Self {
        Self { challenges, hook, records: Vec::new() }
    }

    /// Answers for one name.
    pub(crate) async fn put(
        &mut self,
        by: &Challenge,
        name: &str,
        token: &str,
        authorization: &KeyAuthorization,
    ) -> Result<(), AcmeFault> {
        match by {
            Challenge::Http01 => {
                self.challenges.put_http01(token.to_owned(), authorization.as_str().to_owned());
                Ok(())
            }
            Challenge::TlsAlpn01 => {
                let key = proof(name, authorization.digest().as_ref())?;
                self.challenges.put_tls_alpn01(name, Arc::new(key));
                Ok(())
            }
            Challenge::Dns01 { command } => {
                let name = format!("_acme-challenge.{}", name.trim_start_matches("*."));
                let record = Record { command: command.clone(), name, value: authorization.dns_value() };
                // Kept first: a command that fails half-way is asked to clean up, too.
                self.records.push(record.clone());
                record.run(Verb::Set, self.hook).await
            }
        }
    }

    /// Takes all of them away.
    pub(crate) async fn clear(self) {
        self.challenges.clear();
        for record in &self.records {
            if let Err(fault) = record.run(Verb::Clear, self.hook).await {
                tracing::warn!(event = "acme_dns_record_left", record = record.name, reason = %fault);
            }
        }
    }
}

/// What the CA calls a challenge.
pub(crate) fn kind(challenge: &Challenge) -> ChallengeType {
    match challenge {
        Challenge::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Challenge::Http01 => ChallengeType::Http01,
        Challenge::Dns01 { .. } => ChallengeType::Dns01,
    }
}

/// RFC 8737 §3: a self-signed certificate for the one name, with the digest in a critical extension.
fn proof(name: &str, digest: &[u8]) -> Result<CertifiedKey, AcmeFault> {
    let made = || -> Result<_, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.custom_extensions.push(CustomExtension::new_acme_identifier(digest));
        Ok((params.self_signed(&key)?, key))
    };
    let (certificate, key) = made().map_err(crate::certificates::CertificateFault::from)?;
    let der = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let signing = server_config::provider().key_provider.load_private_key(der);
    // Not `from_der`: it refuses the critical extension that makes this a proof.
    let signing = signing.map_err(crate::certificates::CertificateFault::from)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], signing))
}
