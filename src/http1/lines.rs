//! Lines that are the same whoever they are for, a client or Ollama: header fields, sizes of chunks, lists of tokens.
//!
//! Guarantees: what is written is one line with its end. Does not: look for ends inside of a value; whoever made it has.

use bytes::BufMut;
use http::HeaderName;

/// What ends a body in chunks that has no trailers (RFC 9112 §7.1).
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Writes `name: value` (RFC 9112 §5).
pub(crate) fn field(out: &mut impl BufMut, name: &HeaderName, value: &[u8]) {
    for part in [name.as_str().as_bytes(), b": ", value, b"\r\n"] {
        out.put_slice(part);
    }
}

/// Writes the first line of a chunk of so many bytes (RFC 9112 §7.1).
pub(crate) fn chunk_size(length: usize, out: &mut impl BufMut) {
    let digits = usize::BITS.saturating_sub(length.leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        let digit = length >> place.saturating_mul(4) & 0xf;
        out.put_u8(b"0123456789abcdef".get(digit).copied().unwrap_or(b'0'));
    }
    out.put_slice(b"\r\n");
}

/// Whether a list has this token, in any case (RFC 9110 §5.6.1).
pub(crate) fn has_token(list: &[u8], wanted: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::DATE;

    #[test]
    fn lines_have_one_end() {
        let mut out = Vec::new();
        field(&mut out, &DATE, b"now");
        for length in [1, 15, 16, 4096, 65_535] {
            chunk_size(length, &mut out);
        }
        assert_eq!(out, b"date: now\r\n1\r\nf\r\n10\r\n1000\r\nffff\r\n");
    }

    #[test]
    fn a_token_is_a_whole_member_of_the_list() {
        let rows = [("close", true), ("keep-alive , Close", true), ("closed", false), ("", false), ("a close", false)];
        for (list, has) in rows {
            assert_eq!(has_token(list.as_bytes(), b"close"), has, "{list}");
        }
    }
}
