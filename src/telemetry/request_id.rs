//! The id of a request: in its log lines, its answer's header and its refusal's body.
//!
//! Guarantees: 128 random bits, so ids neither collide nor tell how many requests there were; it is never taken from a
//! client. Does not: authorise anything.

use super::printable::write_hex;
use http::HeaderValue;
use std::cell::RefCell;
use std::fmt;
use std::hash::{BuildHasher, RandomState};

const PREFIX: &[u8; 4] = b"req_";
const LENGTH: usize = 36;
/// One call to the operating system for so many bytes.
const POOL: usize = 512;

/// `req_` and 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct RequestId([u8; LENGTH]);

impl RequestId {
    /// A new one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a default is always the same, this never is")]
    pub fn new() -> Self {
        Self::from_bits(random_bits())
    }

    fn from_bits(bits: u128) -> Self {
        let mut text = [b'0'; LENGTH];
        let (prefix, digits) = text.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX);
        write_hex(digits, &bits.to_be_bytes());
        Self(text)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// Its text as the value of a header.
    #[must_use]
    pub fn header_value(&self) -> HeaderValue {
        HeaderValue::from_bytes(&self.0).unwrap_or(HeaderValue::from_static("req_"))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

struct Pool {
    bytes: [u8; POOL],
    used: usize,
}

thread_local! {
    static RANDOM: RefCell<Pool> = const { RefCell::new(Pool { bytes: [0; POOL], used: POOL }) };
}

fn random_bits() -> u128 {
    RANDOM.with_borrow_mut(Pool::draw).unwrap_or_else(|| {
        // The operating system has no random bytes for us. A keyed hash still makes ids that differ.
        let half = || u128::from(RandomState::new().hash_one(POOL));
        half() << 64 | half()
    })
}

impl Pool {
    fn draw(&mut self) -> Option<u128> {
        if self.used >= POOL {
            getrandom::fill(&mut self.bytes).ok()?;
            self.used = 0;
        }
        let drawn = self.bytes.get(self.used..)?.first_chunk::<16>()?;
        self.used = self.used.saturating_add(16);
        Some(u128::from_ne_bytes(*drawn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_text_is_the_bits_in_hexadecimal() {
        let id = RequestId::from_bits(0x0123_4567_89ab_cdef_0000_0000_0000_00ff);
        assert_eq!(id.to_string(), "req_0123456789abcdef00000000000000ff");
        assert_eq!(id.header_value(), id.as_str());
    }

    #[test]
    fn ids_differ_within_and_between_threads() {
        let draw = || (0..1000).map(|_| RequestId::new()).collect::<Vec<_>>();
        let mut all: HashSet<_> = draw().into_iter().collect();
        all.extend(std::thread::spawn(draw).join().unwrap());
        assert_eq!(all.len(), 2000);
    }
}
