//! Where a run of a string ends: what the reader and the writer both look for.
//!
//! Guarantees: [`run`] ends at the first byte that JSON would escape, and at no other; of a part of it, [`Letters`],
//! it tells that it holds nothing but the letters of base64, so that an image is not looked through once more (the tests
//! compare both with looking at each byte).

use std::ops::Range;

/// Bytes that are looked at by the eight, before vector instructions pay: in code, the next escape is near. What stands
/// before the base64 of an image's URI is shorter too.
const NEAR: usize = 32;
/// Bytes that are looked at at once behind them.
const BLOCK: usize = 64;

/// Bytes without one that JSON would escape.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Run {
    /// How many.
    pub(super) length: usize,
    /// Where of them only letters of base64 were seen.
    pub(super) letters: Letters,
}

/// A part of a string that holds nothing but letters of base64: so many bytes, behind the first few.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Letters(usize);

impl Letters {
    /// Where they are.
    pub(super) const fn range(self) -> Range<usize> {
        NEAR..NEAR.saturating_add(self.0)
    }
}

/// How many bytes stand before the next quote, backslash or control character.
pub(super) fn run(bytes: &[u8]) -> Run {
    let (mut length, mut letters) = (0, Letters::default());
    while let Some(eight) = bytes.get(length..).and_then(<[u8]>::first_chunk) {
        let ends = ends(u64::from_le_bytes(*eight));
        if ends != 0 {
            return Run { length: length + (ends.trailing_zeros() / 8) as usize, letters };
        }
        length += 8;
        if length == NEAR {
            let far = bytes.get(length..).unwrap_or_default();
            letters = Letters(blocks(far, is_letter));
            length += letters.0;
            length += blocks(far.get(letters.0..).unwrap_or_default(), is_plain);
        }
    }
    let rest = bytes.get(length..).unwrap_or_default();
    Run { length: length + rest.iter().take_while(|&&byte| is_plain(byte)).count(), letters }
}

/// Whether all of them stand for six bits in base64.
pub(in crate::ollama) fn are_letters(bytes: &[u8]) -> bool {
    let rest = bytes.get(blocks(bytes, is_letter)..).unwrap_or_default();
    rest.iter().all(|&byte| is_letter(byte))
}

/// Whether it stands for six bits in base64 (RFC 4648 §4). JSON escapes none of them.
const fn is_letter(byte: u8) -> bool {
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let digit = byte.wrapping_sub(b'0') < 10;
    letter | digit | (byte == b'+') | (byte == b'/')
}

const fn is_plain(byte: u8) -> bool {
    (byte >= 0x20) & (byte != b'"') & (byte != b'\\')
}

/// Bytes of the whole blocks at the start of which each byte is one of these.
fn blocks(bytes: &[u8], is: impl Fn(u8) -> bool) -> usize {
    // Not `all` within a block: without a way out of the loop it is compiled to vector instructions.
    let all = |block: &&[u8]| block.iter().fold(true, |all, &byte| all & is(byte));
    BLOCK * bytes.chunks_exact(BLOCK).take_while(all).count()
}

/// The top bits of those of eight bytes that are a quote, a backslash or a control character. The lowest one is right;
/// above it a borrow may have set others.
fn ends(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let below = |bound: u8| eight.wrapping_sub(ONES * u64::from(bound));
    let equals = |byte: u8| (eight ^ (ONES * u64::from(byte))).wrapping_sub(ONES);
    (below(0x20) | equals(b'"') | equals(b'\\')) & !eight & (ONES << 7)
}

#[cfg(test)]
mod tests {
    use super::{is_letter, run};

    #[test]
    fn a_run_ends_where_looking_at_each_byte_ends_it() {
        let ends = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
        for around in [0x20, 0x21, 0x23, 0x41, 0x5b, 0x5d, 0x7f, 0x80, 0xa0, 0xff] {
            for at in 0..240 {
                for byte in 0..=255 {
                    let mut bytes = vec![around; 250];
                    bytes[at] = byte;
                    let run = run(&bytes);
                    assert_eq!(run.length, bytes.iter().position(ends).unwrap_or(250), "{around} {at} {byte}");
                    let letters = run.letters.range();
                    assert!(letters.end <= run.length || letters.is_empty(), "{around} {at} {byte}");
                    assert!(bytes[letters].iter().all(|byte| is_letter(*byte)), "{around} {at} {byte}");
                }
            }
        }
    }

    #[test]
    fn base64_is_found_behind_what_stands_before_it() {
        let text = ["data:image/jpeg;base64,", &"A9+/".repeat(100), "\""].concat();
        let run = run(text.as_bytes());
        assert_eq!((run.length, run.letters.range()), (423, 32..416));
    }
}
