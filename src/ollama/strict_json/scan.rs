//! Where a run of a string ends: what the reader and the writer both look for.
//!
//! Guarantees: [`run`] ends at the first byte that JSON would escape, and at no other (the tests compare with looking at
//! each byte).

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
    const BLOCK: usize = 64;
    let run = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len());
    let blocks = bytes.get(..run).unwrap_or_default().chunks_exact(BLOCK);
    // Not `any`: without a way out of the loop it is compiled to vector instructions.
    let plain = |block: &&[u8]| block.iter().fold(true, |plain, &byte| plain & (byte >= 0x20));
    BLOCK * blocks.take_while(plain).count()
}

#[cfg(test)]
mod tests {
    use super::run;

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
