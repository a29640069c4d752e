//! The keys of the configuration, by `kid`.
//!
//! Guarantees: a key has one algorithm; a `kid` is derived from its key, so it changes with it and needs no book-keeping:
//! the RFC 7638 thumbprint of an Ed25519 key, a keyed hash of a secret. The JWKS shows public keys alone.
//! Rotation: a new key is put first in `auth.jwt.keys`, the old one stays behind it until its last token has expired.

use super::algorithm::Algorithm;
use super::claims::{Claims, Expected, Nbf};
use super::compact::{Compact, Header};
use super::{PresentedToken, TokenRefusal};
use crate::config::types::{Issue, Jwt, SigningKey};
use aws_lc_rs::{digest, hmac};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, EncodingKey};
use serde_json::json;
use std::collections::HashMap;
use std::fmt;
use std::time::{Duration, SystemTime};

/// All of them, and what a token must say. Lives as long as the policy.
pub struct TokenKeys {
    pub(super) issuer: String,
    pub(super) audience: String,
    pub(super) lifetime: Duration,
    refresh: Duration,
    by_kid: HashMap<String, VerifyingKey>,
    pub(super) signing: Option<Signing>,
    jwks: String,
}

struct VerifyingKey {
    algorithm: Algorithm,
    key: DecodingKey,
}

pub(super) struct Signing {
    pub(super) kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) key: EncodingKey,
}

impl TokenKeys {
    /// Of a checked configuration.
    #[must_use]
    pub fn new(config: &Jwt) -> Self {
        let mut by_kid = HashMap::new();
        for key in &config.keys {
            let verifying = VerifyingKey { algorithm: Algorithm::EdDsa, key: DecodingKey::from_ed_der(key.public()) };
            by_kid.insert(thumbprint(key.public()), verifying);
        }
        if let Some(secret) = &config.secret {
            let secret = secret.expose().as_bytes();
            let key = VerifyingKey { algorithm: Algorithm::Hs256, key: DecodingKey::from_secret(secret) };
            by_kid.insert(secret_kid(secret), key);
        }
        Self {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            lifetime: config.lifetime,
            refresh: config.refresh,
            by_kid,
            signing: (config.issue == Issue::Yes).then(|| signing(config)).flatten(),
            jwks: jwks(&config.keys),
        }
    }

    /// Whether tokens are given out.
    #[must_use]
    pub const fn issues(&self) -> bool {
        self.signing.is_some()
    }

    /// Whether there is a public key to show.
    #[must_use]
    pub fn has_public_keys(&self) -> bool {
        self.by_kid.values().any(|key| key.algorithm == Algorithm::EdDsa)
    }

    /// The document of public keys (RFC 7517).
    #[must_use]
    pub fn jwks(&self) -> &str {
        &self.jwks
    }

    /// How long a token holds.
    #[must_use]
    pub const fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// How long a refresh token holds.
    #[must_use]
    pub const fn refresh(&self) -> Duration {
        self.refresh
    }

    /// What a token says, if it is one of ours and holds at `now`.
    ///
    /// # Errors
    /// [`TokenRefusal`]; the client is not told which.
    pub fn verify(&self, token: &PresentedToken, now: SystemTime) -> Result<Claims, TokenRefusal> {
        if self.by_kid.is_empty() {
            return Err(TokenRefusal::NotAccepted);
        }
        let token = Compact::parse(token.as_str())?;
        is_access_token(&token.header)?;
        self.key_of(&token.header)?.verify(&token)?;
        let now = i64::try_from(crate::telemetry::clock::unix_seconds(now)).unwrap_or(i64::MAX);
        let expected = Expected {
            issuer: &self.issuer,
            audience: &self.audience,
            lifetime: self.lifetime,
            nbf: Nbf::Required,
            now,
        };
        Claims::parse(&token.claims, &expected)
    }

    /// A token without a `kid` can only be meant for the one key that there is.
    fn key_of(&self, header: &Header) -> Result<&VerifyingKey, TokenRefusal> {
        let key = match &header.kid {
            Some(kid) => self.by_kid.get(kid),
            None if self.by_kid.len() == 1 => self.by_kid.values().next(),
            None => None,
        };
        let key = key.ok_or(TokenRefusal::UnknownKey)?;
        if header.algorithm == key.algorithm.name() { Ok(key) } else { Err(TokenRefusal::Algorithm) }
    }
}

impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenKeys")
            .field("issuer", &self.issuer)
            .field("keys", &self.by_kid.len())
            .finish_non_exhaustive()
    }
}

impl VerifyingKey {
    fn verify(&self, token: &Compact<'_>) -> Result<(), TokenRefusal> {
        let verified =
            jsonwebtoken::crypto::verify(token.signature, token.signed.as_bytes(), &self.key, self.algorithm.library());
        if matches!(verified, Ok(true)) { Ok(()) } else { Err(TokenRefusal::Signature) }
    }
}

/// RFC 9068 names them `at+jwt`; others write `JWT`, or nothing.
pub(crate) fn is_access_token(header: &Header) -> Result<(), TokenRefusal> {
    match header.kind.as_deref() {
        None => Ok(()),
        Some(kind) if ["at+jwt", "application/at+jwt", "jwt"].iter().any(|k| kind.eq_ignore_ascii_case(k)) => Ok(()),
        Some(_) => Err(TokenRefusal::Type),
    }
}

fn signing(config: &Jwt) -> Option<Signing> {
    if let Some(first) = config.keys.first() {
        let key = EncodingKey::from_ed_der(first.pkcs8());
        return Some(Signing { kid: thumbprint(first.public()), algorithm: Algorithm::EdDsa, key });
    }
    let secret = config.secret.as_ref()?.expose().as_bytes();
    let key = EncodingKey::from_secret(secret);
    Some(Signing { kid: secret_kid(secret), algorithm: Algorithm::Hs256, key })
}

/// RFC 7638 over the members that RFC 8037 §2 requires, in their order.
fn thumbprint(public: &[u8; 32]) -> String {
    let x = URL_SAFE_NO_PAD.encode(public);
    let canonical = format!("{{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"{x}\"}}");
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

fn secret_kid(secret: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    let tag = hmac::sign(&key, b"ollama-gateway kid v1");
    URL_SAFE_NO_PAD.encode(tag.as_ref().get(..12).unwrap_or_default())
}

fn jwks(keys: &[SigningKey]) -> String {
    let key = |key: &SigningKey| {
        let x = URL_SAFE_NO_PAD.encode(key.public());
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": thumbprint(key.public()), "x": x})
    };
    json!({ "keys": keys.iter().map(key).collect::<Vec<_>>() }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8037, appendix A.3: the key of appendix A.2 and its thumbprint.
    #[test]
    fn the_thumbprint_is_the_one_of_rfc_8037() {
        let x = URL_SAFE_NO_PAD.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        let public: [u8; 32] = x.try_into().unwrap();
        assert_eq!(thumbprint(&public), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
