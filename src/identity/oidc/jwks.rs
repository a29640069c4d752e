//! The public keys of an issuer (RFC 7517): those that sign, by `kid`, each with one algorithm.

use crate::identity::tokens::{Algorithm, Compact, TokenRefusal};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;

/// Keys that are read of one document.
const MAX_KEYS: usize = 32;
/// Bytes of an RSA modulus: 2048 to 8192 bits.
const RSA: std::ops::RangeInclusive<usize> = 256..=1024;

/// The keys, by `kid`.
#[derive(Default)]
pub(super) struct KeySet(HashMap<String, Key>);

/// One key.
pub(super) struct Key {
    algorithm: Algorithm,
    key: DecodingKey,
}

impl KeySet {
    /// Reads a document; keys that do not sign, or not by an algorithm known here, are left out.
    pub(super) fn parse(document: &Value) -> Option<Self> {
        let keys = document.get("keys")?.as_array()?;
        let read = |key: &Value| Some((text(key, "kid").unwrap_or_default().to_owned(), Key::parse(key)?));
        let keys: HashMap<_, _> = keys.iter().take(MAX_KEYS).filter_map(read).collect();
        (!keys.is_empty()).then_some(Self(keys))
    }

    /// The key that a header names; without a name, the only one there is.
    pub(super) fn get(&self, kid: Option<&str>) -> Option<&Key> {
        match kid {
            Some(kid) => self.0.get(kid),
            None if self.0.len() == 1 => self.0.values().next(),
            None => None,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Key {
    /// Shared secrets (`oct`) are no public keys.
    fn parse(key: &Value) -> Option<Self> {
        if text(key, "use").is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let named = text(key, "alg");
        let bytes = |name| URL_SAFE_NO_PAD.decode(text(key, name)?).ok();
        let (algorithm, decoding) = match (text(key, "kty")?, text(key, "crv")) {
            ("RSA", None) => {
                let (modulus, exponent) = (bytes("n")?, bytes("e")?);
                RSA.contains(&modulus.len()).then_some(())?;
                let algorithm = if named == Some("PS256") { Algorithm::Ps256 } else { Algorithm::Rs256 };
                (algorithm, DecodingKey::from_rsa_raw_components(&modulus, &exponent))
            }
            ("EC", Some("P-256")) => {
                (Algorithm::Es256, DecodingKey::from_ec_components(text(key, "x")?, text(key, "y")?).ok()?)
            }
            ("OKP", Some("Ed25519")) => (Algorithm::EdDsa, DecodingKey::from_ed_der(&bytes("x")?)),
            _ => return None,
        };
        let fits = named.is_none_or(|name| name == algorithm.name());
        fits.then_some(Self { algorithm, key: decoding })
    }

    pub(super) fn verify(&self, token: &Compact<'_>) -> Result<(), TokenRefusal> {
        if token.header.algorithm != self.algorithm.name() {
            return Err(TokenRefusal::Algorithm);
        }
        let signed = token.signed.as_bytes();
        let verified = jsonwebtoken::crypto::verify(token.signature, signed, &self.key, self.algorithm.library());
        if matches!(verified, Ok(true)) { Ok(()) } else { Err(TokenRefusal::Signature) }
    }
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn only_public_keys_that_sign_are_taken() {
        let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
        let ed = |more: Value| {
            let mut key = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": "a"});
            key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            KeySet::parse(&json!({ "keys": [key] }))
        };
        assert!(ed(json!({})).is_some() && ed(json!({"use": "sig", "alg": "EdDSA"})).is_some());
        assert!(ed(json!({"use": "enc"})).is_none() && ed(json!({"alg": "HS256"})).is_none());
        for key in [
            json!({"kty": "oct", "k": x, "kid": "a"}),
            json!({"kty": "RSA", "n": x, "e": "AQAB", "kid": "a"}),
            json!({"kty": "EC", "crv": "P-521", "x": x, "y": x}),
            json!("key"),
        ] {
            assert!(KeySet::parse(&json!({ "keys": [key] })).is_none(), "{key}");
        }
        assert!(KeySet::parse(&json!([])).is_none());
        let many: Vec<_> =
            (0..100).map(|n| json!({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": n.to_string()})).collect();
        assert_eq!(KeySet::parse(&json!({ "keys": many })).unwrap().len(), MAX_KEYS);
    }
}
