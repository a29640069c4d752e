//! Where a credential may be in a request, and where it may not.
//!
//! Guarantees: one credential from one header, or none; two are never «first wins» (`threats.md` §4.5). Its text is read
//! into a type that cannot be printed.

use crate::identity::cli_signature::PresentedSignature;
use crate::identity::keys::{NotAKey, PREFIX, PresentedKey};
use crate::identity::refresh::REFRESH_PREFIX;
use crate::identity::tokens::PresentedToken;
use crate::rejection::Rejection;
use http::header::{self, HeaderMap};

/// The one credential of a request.
#[derive(Debug)]
pub enum Credential {
    /// None.
    Missing,
    /// An API key, well formed.
    Key(PresentedKey),
    /// What has the look of a token.
    Token(PresentedToken),
    /// A signature of the `ollama` command.
    Signature(Box<PresentedSignature>),
    /// Something that is no key of ours.
    Malformed,
}

/// Header names that carry a key alone.
const BARE: [&str; 2] = ["x-api-key", "x-token"];

/// Finds the one credential.
///
/// # Errors
/// [`Rejection::CredentialAmbiguous`] where there are two, in whatever headers.
pub fn from_headers(headers: &HeaderMap) -> Result<Credential, Rejection> {
    let mut found = Credential::Missing;
    let mut count = 0_u8;
    for value in headers.get_all(header::AUTHORIZATION) {
        count = count.saturating_add(1);
        found = bearer(value.as_bytes()).map_or_else(|| signature(value.as_bytes()), read);
    }
    for value in BARE.iter().flat_map(|name| headers.get_all(*name)) {
        count = count.saturating_add(1);
        found = read(value.as_bytes());
    }
    if count > 1 { Err(Rejection::CredentialAmbiguous) } else { Ok(found) }
}

/// Whether there is any header of a credential.
#[must_use]
pub fn is_shown(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || BARE.iter().any(|name| headers.contains_key(*name))
}

/// The token of `Bearer TOKEN` (RFC 6750 §2.1; the scheme's case does not matter, RFC 9110 §11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = value.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(token)
}

/// What the `ollama` command sends instead: `KEY:SIGNATURE`, without a scheme.
fn signature(value: &[u8]) -> Credential {
    let parsed = std::str::from_utf8(value).ok().and_then(PresentedSignature::parse);
    parsed.map_or(Credential::Malformed, |signature| Credential::Signature(Box::new(signature)))
}

/// What stands before a key in a path.
const IN_PATH: &str = "/k/";

/// The key of a path `/k/KEY/rest`, and its rest.
#[must_use]
pub fn split_path(path: &str) -> Option<(Credential, &str)> {
    let rest = path.strip_prefix(IN_PATH)?;
    let end = rest.find('/').unwrap_or(rest.len());
    let (key, rest) = rest.split_at_checked(end)?;
    let key = PresentedKey::parse(key).map_or(Credential::Malformed, Credential::Key);
    Some((key, if rest.is_empty() { "/" } else { rest }))
}

fn read(token: &[u8]) -> Credential {
    let Ok(text) = std::str::from_utf8(token) else { return Credential::Malformed };
    match PresentedKey::parse(text) {
        Ok(key) => Credential::Key(key),
        Err(NotAKey::Prefix) => PresentedToken::of(text).map_or(Credential::Malformed, Credential::Token),
        Err(NotAKey::Length | NotAKey::Alphabet | NotAKey::Checksum) => Credential::Malformed,
    }
}

/// A client's text for the log, with every key in it taken out.
#[must_use]
pub fn redacted(text: &str) -> String {
    // Where a key may stand, also what is none is not shown: it may be one with a typing error.
    if let Some(rest) = text.strip_prefix(IN_PATH) {
        return format!("{IN_PATH}[key]{}", redacted(rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default()));
    }
    if memchr::memchr(b'_', text.as_bytes()).is_none() {
        return text.to_owned(); // every key has one
    }
    let text = text.replace(REFRESH_PREFIX, PREFIX);
    let mut parts = text.split(PREFIX);
    let mut shown = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        shown.push_str("[key]");
        shown.push_str(part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || c == '_'));
    }
    shown
}

/// A credential in a query.
#[derive(Debug)]
pub struct InQuery {
    /// The public id of the key, where it is one of ours.
    pub key_id: Option<String>,
}

/// Parameter names that carry credentials elsewhere.
const NAMES: [&str; 11] = [
    "key",
    "api_key",
    "apikey",
    "api-key",
    "x-api-key",
    "x-token",
    "token",
    "access_token",
    "auth",
    "authorization",
    "password",
];

/// Looks for a credential in a query: by the parameter's name, or by the look of its value.
#[must_use]
pub fn in_query(query: &str) -> Option<InQuery> {
    query.split('&').find_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let key = PresentedKey::parse(value).or_else(|_| PresentedKey::parse(name)).ok();
        let named = NAMES.iter().any(|n| n.eq_ignore_ascii_case(name));
        (named || key.is_some()).then(|| InQuery { key_id: key.map(|key| key.id().to_string()) })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_credentials_are_refused_even_if_equal() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer a".parse().unwrap());
        assert!(matches!(from_headers(&headers), Ok(Credential::Malformed)));
        headers.insert("x-api-key", "a".parse().unwrap());
        assert!(matches!(from_headers(&headers), Err(Rejection::CredentialAmbiguous)));
    }

    #[test]
    fn other_schemes_are_no_key() {
        for value in ["Basic YWI6Yw==", "Bearer", "Bearer  x", "bearer\tx", ""] {
            let mut headers = HeaderMap::new();
            headers.insert("authorization", value.parse().unwrap());
            assert!(matches!(from_headers(&headers), Ok(Credential::Malformed)), "{value}");
        }
    }

    #[test]
    fn a_key_in_a_text_is_taken_out() {
        assert_eq!(redacted("/k/ogw_abc_DEF/api/tags"), "/k/[key]/api/tags");
        assert_eq!(redacted("/k/ogw-with-an-error/api/tags"), "/k/[key]/api/tags");
        assert_eq!((redacted("/k/x").as_str(), redacted("/k/").as_str()), ("/k/[key]", "/k/[key]"));
        assert_eq!(redacted("/x/ogr_abc_DEF/y"), "/x/[key]/y");
        assert_eq!(redacted("/api/tags"), "/api/tags");
    }

    #[test]
    fn a_query_is_searched_by_name() {
        assert!(in_query("a=1&API_KEY=x").is_some());
        assert!(in_query("beta=true&monkey=2").is_none());
    }
}
