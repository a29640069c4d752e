//! Parts of a string that can be passed without looking at each byte.
//!
//! Guarantees: [`run`] ends at the first byte that JSON would escape, and at no other; [`block`] passes only what a look
//! at each byte would pass too, and counts its escapes right (the tests compare).
//! Does not: read `\u`; a block that holds one is left to who asked.

use memchr::memchr2;

/// Bytes that are looked at by the eight, before vector instructions pay: in code, the next escape is near.
const NEAR: usize = 32;

/// How many bytes stand before the next quote, backslash or control character.
pub(super) fn run(bytes: &[u8]) -> usize {
    let mut length = 0;
    while let Some(eight) = bytes.get(length..).and_then(<[u8]>::first_chunk) {
        let ends = ends(u64::from_le_bytes(*eight));
        if ends != 0 {
            return length + (ends.trailing_zeros() / 8) as usize;
        }
        length += 8;
        if length == NEAR {
            length += far(bytes.get(length..).unwrap_or_default());
        }
    }
    let rest = bytes.get(length..).unwrap_or_default();
    length + rest.iter().take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\').count()
}

/// The top bits of those of eight bytes that are a quote, a backslash or a control character. The lowest one is right;
/// above it a borrow may have set others.
fn ends(eight: u64) -> u64 {
    const ONES: u64 = u64::MAX / 255;
    let below = |bound: u8| eight.wrapping_sub(ONES * u64::from(bound));
    let equals = |byte: u8| (eight ^ (ONES * u64::from(byte))).wrapping_sub(ONES);
    (below(0x20) | equals(b'"') | equals(b'\\')) & !eight & (ONES << 7)
}

/// A part of a long run: up to the next quote or backslash, in whole blocks without a control character.
fn far(bytes: &[u8]) -> usize {
    let run = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    let blocks = bytes.get(..run).unwrap_or_default().chunks_exact(BLOCK);
    // Not `any`: without a way out of the loop it is compiled to vector instructions.
    let plain = |block: &&[u8]| block.iter().fold(true, |plain, &byte| plain & (byte >= 0x20));
    BLOCK * blocks.take_while(plain).count()
}

/// Bytes that are passed at once where escapes are near each other.
const BLOCK: usize = 64;

/// A block of a string that holds escapes of two letters only, each of them a valid one, and does not end the string.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Block {
    /// Its bytes; a last one that begins an escape is left for later.
    pub(super) length: usize,
    /// How many escapes there are, at least one.
    pub(super) escapes: usize,
}

/// The block at a place of a string where no escape has begun, if there is one.
pub(super) fn block(bytes: &[u8], at: usize) -> Option<Block> {
    // Two bytes before are needed. A run of backslashes that ends there is of whole escapes.
    let before = bytes.get(at.checked_sub(2)?..)?.first_chunk::<BLOCK>()?;
    let prior = bytes.get(at - 1..)?.first_chunk::<BLOCK>()?;
    let block = bytes.get(at..)?.first_chunk::<BLOCK>()?;
    let (mut passes, mut escapes) = (true, 0);
    // Without branches and a way out, this is compiled to vector instructions.
    for ((&before, &prior), &byte) in before.iter().zip(prior).zip(block) {
        // As long as there are no three in a row, a backslash behind another is the second half of an escape.
        let escaped = (prior == b'\\') & (before != b'\\');
        let three = (before == b'\\') & (prior == b'\\') & (byte == b'\\');
        passes &= (byte >= 0x20) & !three & (is_letter(byte) | !escaped) & ((byte != b'"') | escaped);
        escapes += u8::from(escaped);
    }
    if !passes || escapes == 0 {
        return None;
    }
    let begins = block.last() == Some(&b'\\') && prior.last() != Some(&b'\\');
    Some(Block { length: BLOCK - usize::from(begins), escapes: usize::from(escapes) })
}

/// What may stand behind a backslash, but for `u`.
const fn is_letter(byte: u8) -> bool {
    (byte == b'"')
        | (byte == b'\\')
        | (byte == b'/')
        | (byte == b'n')
        | (byte == b't')
        | (byte == b'r')
        | (byte == b'b')
        | (byte == b'f')
}

#[cfg(test)]
mod tests {
    use super::super::escape::escape;
    use super::*;
    use proptest::prelude::*;

    /// What looking at each escape says of a block: where it ends, and how many escapes it has.
    fn looked_at(bytes: &[u8], at: usize) -> Option<Block> {
        let mut block = Block { length: 0, escapes: 0 };
        while block.length < BLOCK {
            let rest = &bytes[at + block.length..];
            let length = match rest.first()? {
                b'"' | 0..0x20 => return None,
                b'\\' => escape(rest).ok()?.1,
                _ => 1,
            };
            if block.length + length > BLOCK {
                return Some(block).filter(|block| block.escapes > 0);
            }
            block.escapes += usize::from(length > 1);
            block.length += length;
        }
        Some(block).filter(|block| block.escapes > 0)
    }

    fn pieces() -> impl Strategy<Value = Vec<&'static str>> {
        let usual = ["x", "é", " ", "\\n", "\\\"", "\\\\", "\\/", "\\t", "\\r", "\\b", "\\f", "nn", "n", "abcdefgh"];
        let rare = ["\"", "\n", "\0", "\\u0041", "\\x", "\\"];
        proptest::collection::vec(
            prop_oneof![60 => proptest::sample::select(usual.to_vec()), 1 => proptest::sample::select(rare.to_vec())],
            0..100,
        )
    }

    proptest! {
        #[test]
        fn a_block_is_what_looking_at_each_escape_passes(pieces in pieces(), first in 0_usize..8) {
            let text = format!("\"{}", pieces.concat());
            let at = 1 + pieces.iter().take(first).map(|piece| piece.len()).sum::<usize>();
            // No escape has begun here, unless a piece was half of one.
            prop_assume!(pieces.iter().take(first).all(|piece| *piece != "\\"));
            if let Some(block) = block(text.as_bytes(), at) {
                prop_assert_eq!(Some(block), looked_at(text.as_bytes(), at), "{} at {}", text, at);
            }
        }
    }

    #[test]
    fn code_is_passed_in_blocks() {
        let code = "fn main() {\\n\\tprintln!(\\\"a\\\\b\\\");\\n}\\n".repeat(9);
        let begun = |at: usize| code.as_bytes()[at - 1] == b'\\' && code.as_bytes()[at - 2] != b'\\';
        for at in (2..60).filter(|at| !begun(*at)) {
            let block = block(code.as_bytes(), at);
            assert!(block.is_some(), "{at}");
            assert_eq!(block, looked_at(code.as_bytes(), at), "{at}");
        }
    }

    #[test]
    fn a_run_ends_where_looking_at_each_byte_ends_it() {
        let ends = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
        for around in [0x20, 0x21, 0x23, 0x5b, 0x5d, 0x7f, 0x80, 0xa0, 0xff] {
            for at in 0..140 {
                for byte in 0..=255 {
                    let mut bytes = vec![around; 150];
                    bytes[at] = byte;
                    assert_eq!(run(&bytes), bytes.iter().position(ends).unwrap_or(150), "{around} {at} {byte}");
                }
            }
        }
    }
}
