//! Forms (`multipart/form-data`): read in one way only, and written anew with a boundary of our own.
//!
//! Guarantees: a form has a few parts, each with one name that no other part has; nothing stands before, between or
//! behind them; lines end in CRLF; a part holds no parts, and nothing in it is encoded. A file is borrowed from the body.
//! No client's boundary, file name or header is passed on, so Go can only see the parts that were seen here.
//! Does not: know which fields there are (see `transcription`). Answers `threats.md` §4.5.

use super::disposition::{self, Kind, quoted, token};
use crate::ollama::fault::BodyFault;
use memchr::memmem;

const PARTS: usize = 8;
const HEAD_BYTES: usize = 4096;
const BOUNDARY_BYTES: usize = 70;

/// How every form is announced that is written here.
pub(super) const CONTENT_TYPE: &str = "multipart/form-data; boundary=ollama-gateway.Zq7Rk2vXwT9mLd4HcB8sNfYp";
const OURS: &str = "ollama-gateway.Zq7Rk2vXwT9mLd4HcB8sNfYp";

/// What stands between the parts of a form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Boundary(String);

impl Boundary {
    /// Reads a `Content-Type`; `None`: it is none of a form, or says more than a boundary.
    #[must_use]
    pub fn of_content_type(value: &str) -> Option<Self> {
        let (kind, parameter) = value.split_once(';')?;
        if !kind.trim_matches(' ').eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let (key, value) = parameter.trim_matches(' ').split_once('=')?;
        let (text, rest) = value.strip_prefix('"').map_or_else(|| token(value), quoted)?;
        let plain = text.bytes().all(|b| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b));
        let fits = key.eq_ignore_ascii_case("boundary") && rest.is_empty() && plain;
        (fits && (1..=BOUNDARY_BYTES).contains(&text.len())).then(|| Self(text.to_owned()))
    }
}

/// A part of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'b> {
    pub(super) name: &'b str,
    pub(super) kind: Kind,
    pub(super) content: &'b [u8],
}

/// Reads a form.
pub(super) fn parse<'b>(boundary: &Boundary, body: &'b [u8]) -> Result<Vec<Part<'b>>, BodyFault> {
    if body.is_empty() {
        return Err(BodyFault::Empty);
    }
    let delimiter = format!("\r\n--{}", boundary.0);
    let finder = memmem::Finder::new(&delimiter);
    // The first one has no line before it to end.
    let mut rest = delimiter.as_bytes().get(2..).and_then(|first| body.strip_prefix(first)).ok_or(BodyFault::Form)?;
    let mut parts: Vec<Part<'_>> = Vec::new();
    while let Some(begun) = rest.strip_prefix(b"\r\n") {
        if parts.len() == PARTS {
            return Err(BodyFault::FormTooManyParts { limit: PARTS });
        }
        let (raw, after) = finder.find(begun).and_then(|at| begun.split_at_checked(at)).ok_or(BodyFault::Form)?;
        let part = part(raw)?;
        if parts.iter().any(|known| known.name.eq_ignore_ascii_case(part.name)) {
            return Err(BodyFault::DuplicateKey);
        }
        parts.push(part);
        rest = after.get(delimiter.len()..).unwrap_or_default();
    }
    let ended = matches!(rest, b"--" | b"--\r\n") && !parts.is_empty();
    if ended { Ok(parts) } else { Err(BodyFault::Form) }
}

fn part(raw: &[u8]) -> Result<Part<'_>, BodyFault> {
    let searched = raw.get(..HEAD_BYTES).unwrap_or(raw);
    let end = memmem::find(searched, b"\r\n\r\n").ok_or(BodyFault::Form)?;
    let (head, content) = raw.split_at_checked(end).ok_or(BodyFault::Form)?;
    let content = content.get(4..).unwrap_or_default();
    let head = str::from_utf8(head).map_err(|_| BodyFault::NotUtf8)?;
    let found = headers(head, content.len()).ok_or(BodyFault::Form)?;
    Ok(Part { name: found.name, kind: found.kind, content })
}

/// The headers of a part. Go would undo a `Content-Transfer-Encoding`, so there must be none.
fn headers(head: &str, length: usize) -> Option<disposition::Disposition<'_>> {
    let (mut disposition, mut content_type, mut content_length) = (None, None, None);
    for line in head.split("\r\n") {
        if line.contains(char::is_control) {
            return None;
        }
        let (name, value) = line.split_once(':')?;
        let place = match name.to_ascii_lowercase().as_str() {
            "content-disposition" => &mut disposition,
            "content-type" => &mut content_type,
            "content-length" => &mut content_length,
            _ => return None,
        };
        if place.replace(value.trim_matches(' ')).is_some() {
            return None;
        }
    }
    let nested = content_type.is_some_and(is_composite);
    let contradicts = content_length.is_some_and(|text| text != length.to_string());
    if nested || contradicts { None } else { disposition::parse(disposition?) }
}

/// A type whose content has parts of its own.
fn is_composite(media_type: &str) -> bool {
    let media_type = media_type.to_ascii_lowercase();
    media_type.starts_with("multipart/") || media_type.starts_with("message/")
}

/// Writes a form.
pub(super) struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// Room for about so many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { out: Vec::with_capacity(bytes) }
    }

    pub(super) fn value(&mut self, name: &'static str, value: &str) -> Result<(), BodyFault> {
        self.head(&format!("name=\"{name}\""));
        self.out.extend_from_slice(b"\r\n");
        self.content(value.as_bytes())
    }

    /// A file, under a name and a type that are ours.
    pub(super) fn file(
        &mut self,
        name: &'static str,
        (file_name, media_type): (&'static str, &'static str),
        bytes: &[u8],
    ) -> Result<(), BodyFault> {
        self.head(&format!("name=\"{name}\"; filename=\"{file_name}\""));
        self.out.extend_from_slice(format!("Content-Type: {media_type}\r\n\r\n").as_bytes());
        self.content(bytes)
    }

    fn head(&mut self, parameters: &str) {
        let head = format!("--{OURS}\r\nContent-Disposition: form-data; {parameters}\r\n");
        self.out.extend_from_slice(head.as_bytes());
    }

    /// Content with our boundary in it would end there for Go. No recording holds it by chance.
    fn content(&mut self, bytes: &[u8]) -> Result<(), BodyFault> {
        if memmem::find(bytes, OURS.as_bytes()).is_some() {
            return Err(BodyFault::Form);
        }
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
        Ok(())
    }

    pub(super) fn finish(mut self) -> Vec<u8> {
        self.out.extend_from_slice(format!("--{OURS}--\r\n").as_bytes());
        self.out
    }
}

#[cfg(test)]
mod tests;
