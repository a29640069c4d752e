//! The body of a token request: a form (RFC 6749 §4.3.2), or the same names in a JSON object.
//!
//! Guarantees: a parameter comes once (RFC 6749 §3.2); values are kept as secrets, since most of them are; one that is
//! empty counts as not sent (RFC 6749 §3.1). Does not: know which parameters there are.

use crate::config::secret::Secret;
use crate::ollama::strict_json;
use std::collections::BTreeMap;

/// Parameters of a request at most.
const MAX_PARAMETERS: usize = 32;

/// The parameters.
#[derive(Debug)]
pub struct Form(BTreeMap<String, Secret>);

/// How the body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// `application/x-www-form-urlencoded`
    Form,
    /// `application/json`
    Json,
}

impl Form {
    /// Reads a body. `None`: it is not well formed, or a parameter comes twice.
    #[must_use]
    pub fn parse(body: &[u8], encoding: Encoding) -> Option<Self> {
        let pairs = match encoding {
            Encoding::Form => form(body)?,
            Encoding::Json => json(body)?,
        };
        let mut parameters = BTreeMap::new();
        if pairs.len() > MAX_PARAMETERS {
            return None;
        }
        for (name, value) in pairs {
            if parameters.insert(name, value).is_some() {
                return None;
            }
        }
        Some(Self(parameters))
    }

    /// A parameter that was sent.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Secret> {
        self.0.get(name).filter(|value| !value.expose().is_empty())
    }

    /// Whether it was sent with this value.
    #[must_use]
    pub fn is(&self, name: &str, value: &str) -> bool {
        self.get(name).is_some_and(|sent| sent.expose() == value)
    }
}

fn form(body: &[u8]) -> Option<Vec<(String, Secret)>> {
    let text = std::str::from_utf8(body).ok()?;
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').and_then(|(n, v)| Some((decoded(n)?, Secret::new(decoded(v)?))))).collect()
}

/// A value of a form or a query: `+` is a space, `%41` is a byte; `None`: it is none.
pub(crate) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => hex(rest.next()?)?.checked_mul(16)?.checked_add(hex(rest.next()?)?)?,
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

fn json(body: &[u8]) -> Option<Vec<(String, Secret)>> {
    let value = strict_json::parse(body, 2).ok()?;
    let pair = |(name, value): &(strict_json::Text<'_>, strict_json::Value<'_>)| {
        Some((name.as_str().to_owned(), Secret::new(value.as_text()?.as_str().to_owned())))
    };
    value.as_object()?.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(body: &str, encoding: Encoding, name: &str) -> Option<String> {
        Some(Form::parse(body.as_bytes(), encoding)?.get(name)?.expose().to_owned())
    }

    #[test]
    fn both_encodings_say_the_same() {
        let form = "grant_type=password&username=ana&password=a%2Bb+c%C3%A9";
        let json = r#"{"grant_type":"password","username":"ana","password":"a+b cé"}"#;
        for (body, encoding) in [(form, Encoding::Form), (json, Encoding::Json)] {
            assert_eq!(value(body, encoding, "password").as_deref(), Some("a+b cé"));
            assert_eq!(value(body, encoding, "scope"), None);
        }
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for body in ["a=1&a=2", "a", "a=%", "a=%4", "a=%zz", "a=%ff", "%61=1&a=2"] {
            assert!(Form::parse(body.as_bytes(), Encoding::Form).is_none(), "{body}");
        }
        for body in [r#"{"a":1}"#, r#"{"a":"1","a":"2"}"#, "[]", "", r#"{"a":null}"#] {
            assert!(Form::parse(body.as_bytes(), Encoding::Json).is_none(), "{body}");
        }
    }
}
