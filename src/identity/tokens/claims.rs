//! What a token says, once its signature is right.
//!
//! Guarantees: `iss`, `aud`, `sub`, `exp`, `nbf` are there and of their type; times are whole numbers; the leeway is 30
//! seconds; a life longer than the configured one is refused. Answers `threats.md` §4.6: `exp`, `nbf`, `iat`, `aud`,
//! `iss`, `typ`, a role that is a list.

use super::TokenRefusal;
use super::compact::object;
use crate::ollama::strict_json::Value;
use std::time::Duration;

/// How far two clocks may differ.
pub(crate) const LEEWAY: i64 = 30;

/// The claims that decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    /// Whose token.
    pub subject: String,
    /// Its role, as claimed.
    pub role: String,
    /// When it was made.
    pub issued_at: i64,
    /// When it ends.
    pub expires_at: i64,
    /// Its id.
    pub id: Option<String>,
}

/// What a token must say to be believed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) issuer: &'a str,
    pub(crate) audience: &'a str,
    /// The longest life.
    pub(crate) lifetime: Duration,
    /// Whether `nbf` has to be there.
    pub(crate) nbf: Nbf,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

/// From when on a token holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nbf {
    /// It has to say so.
    Required,
    /// Outside issuers often say when it was made instead.
    OrIat,
}

impl Claims {
    /// Claims as one JSON object, read strictly.
    pub(crate) fn object(bytes: &[u8]) -> Option<Value<'_>> {
        object(bytes)
    }

    /// `sub`
    pub(crate) fn subject(claims: &Value<'_>) -> Result<String, TokenRefusal> {
        bounded(claims.get("sub").ok_or(TokenRefusal::Claims)?, 255)
    }

    /// Reads the claims of a token of ours.
    pub(super) fn parse(bytes: &[u8], expected: &Expected<'_>) -> Result<Self, TokenRefusal> {
        let claims = object(bytes).ok_or(TokenRefusal::Claims)?;
        let (issued_at, expires_at) = common(&claims, expected)?;
        let id = match claims.get("jti") {
            None => None,
            Some(id) => Some(bounded(id, 64)?),
        };
        let subject = Self::subject(&claims)?;
        let role = bounded(claims.get("role").ok_or(TokenRefusal::Claims)?, 64)?;
        Ok(Self { subject, role, issued_at, expires_at, id })
    }
}

/// What is the same for every issuer: when it was made, and when it ends.
pub(crate) fn common(claims: &Value<'_>, expected: &Expected<'_>) -> Result<(i64, i64), TokenRefusal> {
    // What only an ID token says: it is for a client to read, not a key to an API.
    if ["nonce", "at_hash", "c_hash"].iter().any(|name| claims.get(name).is_some()) {
        return Err(TokenRefusal::Type);
    }
    decisive(claims, expected)
}

/// The same for an ID token that was asked for.
pub(crate) fn decisive(claims: &Value<'_>, expected: &Expected<'_>) -> Result<(i64, i64), TokenRefusal> {
    if text(claims, "iss") != Some(expected.issuer) {
        return Err(TokenRefusal::Issuer);
    }
    if !is_for(claims, expected.audience) {
        return Err(TokenRefusal::Audience);
    }
    let expires_at = moment(claims, "exp")?.ok_or(TokenRefusal::Claims)?;
    let (not_before, issued_at) = (moment(claims, "nbf")?, moment(claims, "iat")?);
    let begins = not_before.or(issued_at.filter(|_| expected.nbf == Nbf::OrIat)).ok_or(TokenRefusal::Claims)?;
    let soonest = expected.now.saturating_add(LEEWAY);
    if begins > soonest || issued_at.is_some_and(|at| at > soonest) {
        return Err(TokenRefusal::NotYet);
    }
    if expires_at <= expected.now.saturating_sub(LEEWAY) {
        return Err(TokenRefusal::Expired);
    }
    let longest = i64::try_from(expected.lifetime.as_secs()).unwrap_or(i64::MAX).saturating_add(LEEWAY);
    let earliest = issued_at.map_or(begins, |at| at.min(begins));
    if expires_at.saturating_sub(earliest) > longest {
        return Err(TokenRefusal::Lifetime);
    }
    Ok((issued_at.unwrap_or(begins), expires_at))
}

fn is_for(claims: &Value<'_>, audience: &str) -> bool {
    match claims.get("aud") {
        Some(Value::Text(one)) => one.as_str() == audience,
        Some(Value::Array(many)) => {
            let texts: Option<Vec<_>> = many.iter().map(Value::as_text).collect();
            texts.is_some_and(|texts| texts.iter().any(|text| text.as_str() == audience))
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => false,
    }
}

/// A time that is written as a whole number; `1e3`, `"1000"` and `1000.0` are not.
fn moment(claims: &Value<'_>, name: &str) -> Result<Option<i64>, TokenRefusal> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_number().and_then(|number| number.as_str().parse::<i64>().ok());
    whole.filter(|at| *at >= 0).map(Some).ok_or(TokenRefusal::Claims)
}

pub(crate) fn text<'a>(claims: &'a Value<'_>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_text().map(crate::ollama::strict_json::Text::as_str)
}

/// A plain text of so many characters at most.
pub(crate) fn bounded(value: &Value<'_>, most: usize) -> Result<String, TokenRefusal> {
    let text = value.as_text().map(|text| text.as_str()).ok_or(TokenRefusal::Claims)?;
    let fits = (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits { Ok(text.to_owned()) } else { Err(TokenRefusal::Claims) }
}
