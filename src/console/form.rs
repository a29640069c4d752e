//! What a form sends.
//!
//! Guarantees: at most so many bytes, within ten seconds; a field that comes twice counts once, the first time.

use crate::pipeline::form::decoded;
use http::header::{self, HeaderMap};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use std::collections::BTreeMap;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(10);

/// The fields.
pub(super) struct Form(BTreeMap<String, String>);

impl Form {
    /// Reads it; `None` where it is no form, too long or too slow.
    pub(super) async fn read(headers: &HeaderMap, body: Incoming, most: usize) -> Option<Self> {
        let kind = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
        if kind.split(';').next()?.trim() != "application/x-www-form-urlencoded" {
            return None;
        }
        let bytes = tokio::time::timeout(WITHIN, bounded(body, most)).await.ok()??;
        Some(Self::parse(std::str::from_utf8(&bytes).ok()?))
    }

    fn parse(text: &str) -> Self {
        let mut fields = BTreeMap::new();
        for (name, value) in text.split('&').filter_map(|pair| pair.split_once('=')) {
            if let (Some(name), Some(value)) = (decoded(name), decoded(value)) {
                fields.entry(name).or_insert(value);
            }
        }
        Self(fields)
    }

    /// A field as it came; nothing where it is missing.
    pub(super) fn exact(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// A field, without spaces around; nothing where it is missing.
    pub(super) fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |value| value.trim())
    }
}

/// A whole body, where it is no longer than `most`.
pub(super) async fn bounded(body: Incoming, most: usize) -> Option<Vec<u8>> {
    let (mut limited, mut bytes) = (Limited::new(body, most), Vec::new());
    while let Some(frame) = limited.frame().await {
        if let Some(data) = frame.ok()?.data_ref() {
            bytes.extend_from_slice(data);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_decoded_and_the_first_counts() {
        let form = Form::parse("name=Ana%27s+key&role=user&role=admin&bad=%zz&cut=%4&%6e=1");
        assert_eq!(
            (form.get("name"), form.get("role"), form.get("bad"), form.get("cut")),
            ("Ana's key", "user", "", "")
        );
        assert_eq!(form.get("n"), "1");
    }
}
