//! Text that is safe to print: what moves a cursor, ends a line, turns the direction of text or hides in it is written
//! as its escape.
//!
//! Guarantees: the output holds no control character (C0, DEL, C1), no line or paragraph separator, no bidirectional
//! control and no invisible character; an escape is `\u` and four hexadecimal digits, so it is also right inside a JSON
//! string. Answers `threats.md` §4.5 (forged lines, terminal escapes in logs).

use std::fmt::{self, Display, Write};
use std::net::IpAddr;

/// Whether the character must not be printed as it is.
#[must_use]
pub const fn is_hazardous(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1F}' | '\u{7F}'..='\u{9F}'
        | '\u{AD}' | '\u{61C}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Whether all of it is printable ASCII, as nearly every line is. One pass without a branch, which compilers make wide.
#[must_use]
pub fn is_plain(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, byte| plain & (b' '..=b'~').contains(byte))
}

/// Writes the text with every hazardous character escaped.
///
/// # Errors
/// What the writer says.
pub fn write_escaped(out: &mut impl Write, text: &str) -> fmt::Result {
    if is_plain(text.as_bytes()) {
        return out.write_str(text);
    }
    let mut rest = text;
    while let Some(at) = rest.find(is_hazardous) {
        let (plain, from) = rest.split_at(at);
        out.write_str(plain)?;
        let mut tail = from.chars();
        if let Some(c) = tail.next() {
            write!(out, "\\u{:04x}", u32::from(c))?;
        }
        rest = tail.as_str();
    }
    out.write_str(rest)
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut digits = vec![0; bytes.len().saturating_mul(2)];
    write_hex(&mut digits, bytes);
    String::from_utf8(digits).unwrap_or_default()
}

/// The same, into a place that has two bytes for each.
pub(super) fn write_hex(digits: &mut [u8], bytes: &[u8]) {
    digits.as_chunks_mut().0.iter_mut().zip(bytes).for_each(|(digits, byte)| *digits = pair(*byte));
}

/// The two digits of a byte.
fn pair(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|digit| if digit < 10 { b'0' + digit } else { b'a' - 10 + digit })
}

/// An address as text: an IPv4 one without the machinery of formatting, since every request has one.
#[must_use]
pub fn address(address: IpAddr) -> String {
    let IpAddr::V4(address) = address else { return address.to_string() };
    let mut text = String::with_capacity(15);
    for (at, octet) in address.octets().into_iter().enumerate() {
        text.push_str(if at == 0 { "" } else { "." });
        text.push_str(itoa::Buffer::new().format(octet));
    }
    text
}

/// A text of others, to be printed: escaped, and cut to so many bytes.
#[derive(Debug, Clone, Copy)]
pub struct Printable<'a> {
    text: &'a str,
    max: usize,
}

impl<'a> Printable<'a> {
    /// At most `max` bytes of the text are read; a longer one ends in `…`.
    #[must_use]
    pub const fn new(text: &'a str, max: usize) -> Self {
        Self { text, max }
    }
}

impl Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.text.floor_char_boundary(self.max);
        write_escaped(f, self.text.get(..end).unwrap_or_default())?;
        if end < self.text.len() { f.write_char('…') } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hazards_become_escapes_and_the_rest_stays() {
        let text = "ok é 漢\u{1F600}\x1b[2J\r\n\u{9b}31m\u{202e}abc\u{2069}\u{2028}\u{feff}end";
        let shown = Printable::new(text, 200).to_string();
        assert_eq!(shown, "ok é 漢\u{1F600}\\u001b[2J\\u000d\\u000a\\u009b31m\\u202eabc\\u2069\\u2028\\ufeffend");
        assert!(!shown.chars().any(is_hazardous));
    }

    #[test]
    fn addresses_and_digits_are_those_of_the_library() {
        for text in ["0.0.0.0", "127.0.0.1", "255.10.9.100", "::1", "2001:db8::7"] {
            assert_eq!(address(text.parse().unwrap()), text);
        }
        assert_eq!(hex(&[0x00, 0x9a, 0xff]), "009aff");
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(Printable::new("aé漢", 2).to_string(), "a…");
        assert_eq!(Printable::new("aé漢", 3).to_string(), "aé…");
        assert_eq!(Printable::new("aé漢", 6).to_string(), "aé漢");
    }
}
