//! An object of JSON, written field by field into one buffer.
//!
//! Guarantees: what comes out is JSON whatever goes in; names are written as they are, since they are this program's own.
//! Does not: escape what JSON allows and a terminal obeys; that is [`super::printable`]'s.

use serde::Serialize;

/// The inside of an object, from its first field on.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    out: &'a mut Vec<u8>,
    before: &'static [u8],
}

impl<'a> Fields<'a> {
    /// After a `{`.
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, before: b"\"" }
    }

    /// The name of the next field; its value is to follow in what is returned.
    pub(super) fn name(&mut self, name: &str) -> &mut Vec<u8> {
        let before = std::mem::replace(&mut self.before, b",\"");
        for part in [before, name.as_bytes(), b"\":"] {
            self.out.extend_from_slice(part);
        }
        self.out
    }

    /// A text.
    pub(super) fn text(&mut self, name: &str, value: &str) {
        text(self.name(name), value);
    }

    /// A text, if there is one.
    pub(super) fn text_if_any(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    /// A text, or `null`.
    pub(super) fn text_or_null(&mut self, name: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(name, value),
            None => self.value(name, &()),
        }
    }

    /// Any other value: one that cannot be written is `null`.
    pub(super) fn value(&mut self, name: &str, value: &impl Serialize) {
        let out = self.name(name);
        let before = out.len();
        if serde_json::to_writer(&mut *out, value).is_err() {
            out.truncate(before);
            out.extend_from_slice(b"null");
        }
    }
}

/// A string. Nearly all are plain: those are copied, not looked at byte by byte.
fn text(out: &mut Vec<u8>, value: &str) {
    if is_bare(value.as_bytes()) {
        for part in [b"\"", value.as_bytes(), b"\""] {
            out.extend_from_slice(part);
        }
    } else if serde_json::to_writer(&mut *out, value).is_err() {
        out.extend_from_slice(b"\"\""); // a string can always be written
    }
}

/// Printable ASCII of which JSON escapes nothing. Most texts are short: those are looked at in eights.
fn is_bare(text: &[u8]) -> bool {
    let bare = |bare, &byte: &u8| bare & (b' '..=b'~').contains(&byte) & (byte != b'"') & (byte != b'\\');
    let (eights, rest) = text.as_chunks::<8>();
    eights.iter().all(|eight| eight.iter().fold(true, bare)) && rest.iter().fold(true, bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_serde_json_reads() {
        let texts = ["", "plain", "a \"b\" \\ c", "\n\u{1}", "é漢\u{1F600}\u{202e}"];
        let mut out = b"{".to_vec();
        let mut fields = Fields::new(&mut out);
        texts.iter().zip(["a", "b", "c", "d", "e"]).for_each(|(text, name)| fields.text(name, text));
        fields.text_if_any("no", None);
        fields.value("n", &1.5);
        fields.value("none", &None::<u8>);
        fields.text("last", "x");
        out.push(b'}');
        let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            read,
            serde_json::json!({"a": texts[0], "b": texts[1], "c": texts[2], "d": texts[3], "e": texts[4],
            "n": 1.5, "none": null, "last": "x"})
        );
    }

    #[test]
    fn no_place_in_a_text_is_passed_over() {
        for (at, odd) in (0..20).flat_map(|at| ['"', '\\', '\n', 'é'].map(|odd| (at, odd))) {
            let mut value = "x".repeat(20);
            value.insert(at, odd);
            let mut out = b"{".to_vec();
            Fields::new(&mut out).text("a", &value);
            out.push(b'}');
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(read, serde_json::json!({ "a": value }));
        }
    }
}
