//! What was written: bytes of our own, and between them long strings that stay where they were received.
//!
//! Guarantees: the pieces, one after the other, are what a copy of everything would be. Strings are left where they are
//! only where they are most of the body, so that a body is not kept for a small part of it; and they are few, so that one
//! write takes all pieces.

use bytes::Bytes;

/// A string that is left where it is has so many bytes at least,
const LONG: usize = 16 * 1024;
/// and is such a part of its body: with its quotes, there is room for one less.
const PART: usize = 7;
/// Pieces of what was written at most: strings, and our own bytes around them.
const PIECES: usize = 2 * (PART - 1) + 1;

/// Long strings of one body, each behind so many bytes of our own.
#[derive(Debug, Default)]
pub(super) struct Left {
    body: Bytes,
    strings: Vec<(usize, Bytes)>,
}

/// A string must be copied.
#[derive(Debug)]
pub(super) struct ToCopy;

impl Left {
    /// None yet of this body.
    pub(super) fn of(body: &Bytes) -> Self {
        let body = if body.len() < LONG { Bytes::new() } else { body.clone() };
        Self { body, ..Self::default() }
    }

    /// Bytes of all of them.
    pub(super) fn bytes(&self) -> usize {
        self.strings.iter().map(|(_, string)| string.len()).sum()
    }

    /// Leaves a string where it is, behind so many bytes of our own.
    ///
    /// # Errors
    /// It is short, or no part of the body.
    pub(super) fn leave(&mut self, behind: usize, string: &[u8]) -> Result<(), ToCopy> {
        if string.len() < LONG.max(self.body.len() / PART) {
            return Err(ToCopy);
        }
        self.strings.push((behind, self.part(string).ok_or(ToCopy)?));
        Ok(())
    }

    /// The part of the body that a slice of it is.
    fn part(&self, slice: &[u8]) -> Option<Bytes> {
        let start = slice.as_ptr().addr().checked_sub(self.body.as_ptr().addr())?;
        let end = start.checked_add(slice.len())?;
        (end <= self.body.len()).then(|| self.body.slice(start..end))
    }

    /// All that was written, our own bytes included.
    pub(super) fn into_pieces(self, mut own: Vec<u8>) -> Vec<Bytes> {
        if self.strings.is_empty() {
            return vec![own.into()];
        }
        if self.bytes() < self.body.len() / 2 {
            return vec![self.between(own).concat().into()];
        }
        own.shrink_to_fit(); // there was room for the strings as well
        self.between(own)
    }

    fn between(self, own: Vec<u8>) -> Vec<Bytes> {
        let mut rest = Bytes::from(own);
        let (mut pieces, mut passed) = (Vec::with_capacity(PIECES), 0);
        for (behind, string) in self.strings {
            let before = rest.split_to(rest.len().min(behind.saturating_sub(passed)));
            pieces.extend([before, string]);
            passed = behind;
        }
        pieces.push(rest);
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::{LONG, PART, PIECES};
    use crate::ollama::strict_json::{Writer, parse};
    use bytes::Bytes;

    /// A list of strings of these lengths, which are not all alike, with so much space behind it.
    fn list(lengths: &[usize], space: usize) -> Bytes {
        let string = |(i, length): (usize, &usize)| {
            let letters: String = ('a'..='z').cycle().skip(i).take(*length).collect();
            format!("\"{letters}\"")
        };
        let strings: Vec<String> = lengths.iter().enumerate().map(string).collect();
        format!("[{}]{}", strings.join(","), " ".repeat(space)).into()
    }

    /// What is written of a body in pieces, and in one.
    fn written(body: &Bytes) -> (Vec<Bytes>, Vec<u8>) {
        let tree = parse(body, 8).unwrap();
        let (mut pieces, mut one) = (Writer::over(body), Writer::default());
        pieces.value(&tree);
        one.value(&tree);
        assert_eq!(pieces.len(), one.len());
        (pieces.into_pieces(), one.into_bytes())
    }

    fn is_part(body: &Bytes, piece: &Bytes) -> bool {
        body.as_ptr_range().contains(&piece.as_ptr())
    }

    #[test]
    fn the_pieces_are_what_a_copy_would_be() {
        const SHORT: usize = LONG - 1;
        for (lengths, left) in [
            (&[][..], 0),
            (&[3, 0, SHORT], 0),
            (&[LONG], 1),
            (&[LONG, LONG, 1], 2),
            (&[0, 3 * LONG, 9, SHORT, LONG + 1], 2),
            (&[LONG; PART - 1], PART - 1),
            (&[LONG; PART], 0),
            (&[LONG, 7 * LONG, LONG, LONG], 1),
        ] {
            let body = list(lengths, 0);
            let (pieces, one) = written(&body);
            assert_eq!(pieces.concat(), one, "{lengths:?}");
            assert_eq!(pieces.iter().filter(|piece| is_part(&body, piece)).count(), left, "{lengths:?}");
            assert!(pieces.iter().all(|piece| !piece.is_empty()) && pieces.len() <= PIECES, "{lengths:?}");
        }
    }

    #[test]
    fn a_body_is_not_kept_for_a_small_part_of_it() {
        for (space, kept) in [(0, true), (LONG - 9, true), (LONG + 9, false), (7 * LONG, false)] {
            let body = list(&[LONG], space);
            let (pieces, one) = written(&body);
            assert_eq!(pieces.concat(), one);
            assert_eq!(pieces.iter().any(|piece| is_part(&body, piece)), kept, "{space}");
        }
    }

    #[test]
    fn a_string_that_is_no_part_of_the_body_is_copied() {
        let (body, other) = (list(&[LONG], 0), list(&[LONG], 0));
        let tree = parse(&other, 8).unwrap();
        let mut writer = Writer::over(&body);
        writer.value(&tree);
        let pieces = writer.into_pieces();
        assert!(!pieces.iter().any(|piece| is_part(&body, piece) || is_part(&other, piece)));
        assert_eq!(pieces.concat(), other);
    }
}
