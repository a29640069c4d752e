//! Making tokens.
//!
//! Guarantees: a token carries `iss`, `aud`, `sub`, `role`, `iat`, `nbf`, `exp`, `jti` and nothing else; `jti` begins with
//! the id of its sign-in, so one entry in the list of revoked ones takes back all tokens of it.

use super::keys::TokenKeys;
use crate::config::secret::Secret;
use crate::store::timestamp::Timestamp;
use jsonwebtoken::Header;
use serde::Serialize;

/// What a token is to say.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// `sub`
    pub subject: &'a str,
    /// `role`
    pub role: &'a str,
    /// The sign-in it comes from.
    pub family: &'a str,
    /// The rest of its id.
    pub serial: &'a str,
    /// `iat` and `nbf`
    pub now: Timestamp,
}

/// There is nothing to sign with, or the signing failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no token can be signed")]
pub struct NotIssued;

#[derive(Serialize)]
struct Written<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    role: &'a str,
    iat: i64,
    nbf: i64,
    exp: i64,
    jti: String,
}

impl TokenKeys {
    /// Signs a token.
    ///
    /// # Errors
    /// None are issued here.
    pub fn sign(&self, grant: &Grant<'_>) -> Result<Secret, NotIssued> {
        let signing = self.signing.as_ref().ok_or(NotIssued)?;
        let iat = grant.now.seconds();
        let exp = grant.now.after(self.lifetime).ok_or(NotIssued)?.seconds();
        let jti = format!("{}-{}", grant.family, grant.serial);
        let (iss, aud) = (self.issuer.as_str(), self.audience.as_str());
        let claims = Written { iss, aud, sub: grant.subject, role: grant.role, iat, nbf: iat, exp, jti };
        let header = Header {
            typ: Some("at+jwt".to_owned()),
            kid: Some(signing.kid.clone()),
            ..Header::new(signing.algorithm.library())
        };
        jsonwebtoken::encode(&header, &claims, &signing.key).map(Secret::new).map_err(|_| NotIssued)
    }
}
