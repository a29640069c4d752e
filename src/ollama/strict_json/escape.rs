//! One escape of a string: what it says.
//!
//! Guarantees: [`escape`] reads each of the escapes of RFC 8259 as what Go's `encoding/json` reads, and no others; half of
//! a surrogate pair is a fault. The reader checks strings with it and [`super::Text`] undoes them with it, so that they
//! agree. Answers `threats.md` §2.

use crate::ollama::fault::BodyFault;

/// What the escapes of a string say: what must be known to search it without undoing them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Escapes {
    /// Control characters, quotes, slashes and `<`, `>`, `&`: what serialisers escape because they must or for safety.
    #[default]
    Marks,
    /// Also characters beyond ASCII, but none that has an ASCII letter as its other case.
    BeyondAscii,
    /// Also what nobody needs to escape.
    Any,
}

impl Escapes {
    /// What a string is with one more character escaped.
    pub(super) const fn of(said: char) -> Self {
        match said {
            '\0'..='\x1f' | '"' | '\\' | '/' | '<' | '>' | '&' => Self::Marks,
            // Their lower or upper cases are `k`, `S` and `i`.
            '\u{212a}' | 'ſ' | 'İ' | '\x20'..='\x7f' => Self::Any,
            _ => Self::BeyondAscii,
        }
    }
}

/// An escape at the beginning of some bytes: the character that it says, and how many bytes spell it.
///
/// # Errors
/// It is none.
pub(super) fn escape(bytes: &[u8]) -> Result<(char, usize), BodyFault> {
    match bytes {
        [b'\\', b'"', ..] => Ok(('"', 2)),
        [b'\\', b'\\', ..] => Ok(('\\', 2)),
        [b'\\', b'/', ..] => Ok(('/', 2)),
        [b'\\', b'b', ..] => Ok(('\u{8}', 2)),
        [b'\\', b'f', ..] => Ok(('\u{c}', 2)),
        [b'\\', b'n', ..] => Ok(('\n', 2)),
        [b'\\', b'r', ..] => Ok(('\r', 2)),
        [b'\\', b't', ..] => Ok(('\t', 2)),
        [b'\\', b'u', ..] => unicode(bytes),
        _ => Err(BodyFault::Syntax),
    }
}

fn unicode(bytes: &[u8]) -> Result<(char, usize), BodyFault> {
    let first = unit(bytes)?;
    if let Some(said) = char::from_u32(first) {
        return Ok((said, 6));
    }
    let behind = bytes.get(6..).unwrap_or_default();
    if first >= 0xDC00 || !behind.starts_with(b"\\u") {
        return Err(BodyFault::LoneSurrogate);
    }
    let second = unit(behind)?;
    if !(0xDC00..0xE000).contains(&second) {
        return Err(BodyFault::LoneSurrogate);
    }
    let said = char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00));
    Ok((said.ok_or(BodyFault::LoneSurrogate)?, 12))
}

/// The four digits behind `\u`.
fn unit(bytes: &[u8]) -> Result<u32, BodyFault> {
    let [_, _, digits @ ..] = bytes else { return Err(BodyFault::Syntax) };
    let digits: &[u8; 4] = digits.first_chunk().ok_or(BodyFault::Syntax)?;
    digits.iter().try_fold(0, |sum, &digit| {
        char::from(digit).to_digit(16).map(|value| sum * 16 + value).ok_or(BodyFault::Syntax)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_read_from_its_units() {
        for said in '\0'..=char::MAX {
            let mut units = [0; 2];
            let units = said.encode_utf16(&mut units).iter();
            let (lower, upper): (String, String) =
                units.map(|unit| (format!("\\u{unit:04x}"), format!("\\u{unit:04X}"))).unzip();
            for spelled in [lower, upper] {
                assert_eq!(escape(spelled.as_bytes()), Ok((said, spelled.len())), "{spelled}");
            }
        }
    }

    #[test]
    fn half_a_pair_is_refused_in_every_place() {
        for half in (0xD800..0xE000).step_by(3) {
            for behind in ["", "x", "\\n", "\\u0041", "\\ud800", "\\udbff"] {
                let text = format!("\\u{half:04x}{behind}");
                assert_eq!(escape(text.as_bytes()), Err(BodyFault::LoneSurrogate), "{text}");
            }
        }
    }

    #[test]
    fn there_are_no_other_escapes() {
        for byte in (0..=255).filter(|byte| !b"\"\\/bfnrtu".contains(byte)) {
            assert_eq!(escape(&[b'\\', byte, b'0', b'0', b'0', b'0']), Err(BodyFault::Syntax));
        }
        for text in ["\\", "\\u", "\\u12", "\\u12g4", "\\u+123", "\\ud83d\\u12", "\\U0041", "n"] {
            assert_eq!(escape(text.as_bytes()), Err(BodyFault::Syntax), "{text}");
        }
    }
}
