//! The outer shape of a token (RFC 7515 §3.1, §4): three parts, and a header that is a closed set.
//!
//! Guarantees: a token has one spelling: no padding, no white space, no bits that decode to nothing, no key twice.
//! Answers `threats.md` §4.6: size, dots, encrypted tokens, padding, `kid` tricks, `jku`, `x5u`, `jwk`, `x5c`, `crit`.

use super::{MAX_TOKEN, TokenRefusal};
use crate::ollama::strict_json::{self, Value};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Nesting that a header or claims may have; claims of other issuers nest.
const MAX_DEPTH: usize = 8;
/// Characters of a `kid`.
const MAX_KID: usize = 64;

/// A token, taken apart; nothing of it is believed yet.
pub(crate) struct Compact<'a> {
    pub(crate) header: Header,
    pub(crate) claims: Vec<u8>,
    /// What is signed.
    pub(crate) signed: &'a str,
    /// base64url
    pub(crate) signature: &'a str,
}

/// What a header may say.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) algorithm: String,
    pub(crate) kid: Option<String>,
    pub(crate) kind: Option<String>,
}

impl<'a> Compact<'a> {
    pub(crate) fn parse(text: &'a str) -> Result<Self, TokenRefusal> {
        if text.len() > MAX_TOKEN {
            return Err(TokenRefusal::TooLarge);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(TokenRefusal::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenRefusal::Malformed)?;
        // Decoded here for its spelling alone; a fourth dot is no character of the alphabet.
        decode(signature)?;
        let (header, claims) = (decode(header)?, decode(claims)?);
        Ok(Self { header: Header::parse(&header)?, claims, signed, signature })
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenRefusal> {
    if part.is_empty() {
        return Err(TokenRefusal::Malformed);
    }
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenRefusal::Malformed)
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, TokenRefusal> {
        let value = object(bytes).ok_or(TokenRefusal::Header)?;
        let mut header = Self { algorithm: String::new(), kid: None, kind: None };
        for (name, value) in value.as_object().unwrap_or_default() {
            let text = value.as_text().map(|text| text.as_str().to_owned()).ok_or(TokenRefusal::Header)?;
            match name.as_str() {
                "alg" => header.algorithm = text,
                "kid" if is_kid(&text) => header.kid = Some(text),
                "typ" => header.kind = Some(text),
                // The thumbprint of a certificate: it names, it brings nothing.
                "x5t" | "x5t#S256" => {}
                _ => return Err(TokenRefusal::Header),
            }
        }
        if header.algorithm.is_empty() { Err(TokenRefusal::Algorithm) } else { Ok(header) }
    }
}

/// One JSON object, read strictly.
pub(super) fn object(bytes: &[u8]) -> Option<Value<'_>> {
    strict_json::parse(bytes, MAX_DEPTH).ok().filter(|value| value.as_object().is_some())
}

/// A name for a map in memory: it never becomes a path or a statement, and still it is a plain word.
fn is_kid(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'=' | b'+');
    (1..=MAX_KID).contains(&text.len()) && text.bytes().all(allowed)
}
