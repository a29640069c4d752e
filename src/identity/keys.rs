//! The text of an API key: `ogw_` id `_` secret checksum, e.g. `ogw_4fQ0…_kJ3…`.
//!
//! ```text
//! ogw_  id: 12 base62  _  secret: 43 base62 (256 bits)  checksum: 6 base62 (CRC-32 of all before)
//! ```
//!
//! Guarantees: one word that a double click selects and a URL, a shell or a header takes as it is; a prefix that secret
//! scanners find; any single wrong character is noticed before anything is looked up (a CRC-32 finds every error of
//! up to 32 bits in a row); the secret is never printed and is wiped on drop.
//! Does not: prove anything by the checksum. It saves work, it keeps nobody out.
//! Answers `threats.md` §6.20 (cheap refusal of guesses), `field.md` E 31 (strict reading before any look-up).

use crate::config::secret::Secret;
use crate::store::key_record::KeyId;
use std::fmt;
use zeroize::Zeroizing;

/// What every key begins with.
pub const PREFIX: &str = "ogw_";

const SECRET: usize = 43;
const CHECKSUM: usize = 6;
const LENGTH: usize = PREFIX.len() + KeyId::LENGTH + 1 + SECRET + CHECKSUM;
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A well-formed key, known or not.
pub struct PresentedKey {
    id: KeyId,
    secret: Zeroizing<[u8; SECRET]>,
}

/// Why a text is no key. It is never shown with the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAKey {
    /// Another prefix: perhaps a key of something else.
    #[error("a key begins with {PREFIX}")]
    Prefix,
    /// Cut off, or something was added.
    #[error("a key has {LENGTH} characters")]
    Length,
    /// A character or a separator that no key has there.
    #[error("a key holds only letters and digits after its prefix")]
    Alphabet,
    /// Mistyped or made up.
    #[error("the key's checksum is wrong: it was mistyped or cut")]
    Checksum,
}

/// The operating system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes: {0}")]
pub struct NoRandomness(#[from] getrandom::Error);

impl PresentedKey {
    /// Reads a key, exactly: no white space around it, no other case, no other length.
    ///
    /// # Errors
    /// [`NotAKey`]: it cannot be one of ours, whatever the store holds.
    pub fn parse(text: &str) -> Result<Self, NotAKey> {
        let rest = text.strip_prefix(PREFIX).ok_or(NotAKey::Prefix)?;
        if text.len() != LENGTH {
            return Err(NotAKey::Length);
        }
        let (id, rest) = rest.split_at_checked(KeyId::LENGTH).ok_or(NotAKey::Alphabet)?;
        let rest = rest.strip_prefix('_').ok_or(NotAKey::Alphabet)?;
        let (secret, checksum) = rest.split_at_checked(SECRET).ok_or(NotAKey::Alphabet)?;
        let key = Self { id: KeyId::parse(id).ok_or(NotAKey::Alphabet)?, secret: parse_secret(secret)? };
        if key.checksum().as_slice() == checksum.as_bytes() { Ok(key) } else { Err(NotAKey::Checksum) }
    }

    /// A new key.
    ///
    /// # Errors
    /// The operating system gave no random bytes.
    pub fn generate() -> Result<Self, NoRandomness> {
        let mut id = [0; KeyId::LENGTH];
        let mut secret = Zeroizing::new([0; SECRET]);
        fill_base62(&mut id)?;
        fill_base62(secret.as_mut_slice())?;
        let id = std::str::from_utf8(&id).ok().and_then(KeyId::parse);
        // Base62 characters are an id: the other arm is for the compiler.
        id.map(|id| Self { id, secret }).ok_or(NoRandomness(getrandom::Error::UNEXPECTED))
    }

    /// The public part.
    #[must_use]
    pub const fn id(&self) -> KeyId {
        self.id
    }

    /// The whole text, to be shown once to the person it is for.
    #[must_use]
    pub fn reveal(&self) -> Secret {
        let (secret, checksum) = (ascii(self.secret.as_slice()), self.checksum());
        Secret::new([PREFIX, self.id.as_str(), "_", secret, ascii(&checksum)].concat())
    }

    /// What is hashed; the id is hashed with it, so that a hash fits no other row.
    pub(super) fn secret(&self) -> &[u8] {
        self.secret.as_slice()
    }

    fn checksum(&self) -> [u8; CHECKSUM] {
        let parts = [PREFIX.as_bytes(), self.id.as_str().as_bytes(), b"_", self.secret.as_slice()];
        base62_of(crc32(parts.into_iter().flatten().copied()))
    }
}

impl fmt::Debug for PresentedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PresentedKey({})", self.id)
    }
}

fn parse_secret(text: &str) -> Result<Zeroizing<[u8; SECRET]>, NotAKey> {
    let secret: Zeroizing<[u8; SECRET]> = Zeroizing::new(text.as_bytes().try_into().map_err(|_| NotAKey::Length)?);
    if secret.iter().all(u8::is_ascii_alphanumeric) { Ok(secret) } else { Err(NotAKey::Alphabet) }
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// Fills with characters that are all equally likely: 43 of them carry 256 bits.
fn fill_base62(out: &mut [u8]) -> Result<(), NoRandomness> {
    let mut pool = Zeroizing::new([0_u8; 64]);
    let mut slots = out.iter_mut().peekable();
    while slots.peek().is_some() {
        getrandom::fill(pool.as_mut_slice())?;
        // 248 is the last multiple of 62 in a byte: beyond it the first characters would come up more often.
        let even = pool.iter().filter(|byte| **byte < 248);
        for (character, slot) in even.filter_map(|byte| BASE62.get(usize::from(byte % 62))).zip(slots.by_ref()) {
            *slot = *character;
        }
    }
    Ok(())
}

/// Six digits, the highest first: 62⁶ > 2³², so each number has one text and each text at most one number.
fn base62_of(mut number: u32) -> [u8; CHECKSUM] {
    let mut digits = [b'0'; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = usize::try_from(number % 62).ok().and_then(|value| BASE62.get(value)).copied().unwrap_or(b'0');
        number /= 62;
    }
    digits
}

/// What four bits of the remainder become: four steps of the polynomial 0xEDB88320.
const NIBBLES: [u32; 16] = [
    0x0000_0000,
    0x1DB7_1064,
    0x3B6E_20C8,
    0x26D9_30AC,
    0x76DC_4190,
    0x6B6B_51F4,
    0x4DB2_6158,
    0x5005_713C,
    0xEDB8_8320,
    0xF00F_9344,
    0xD6D6_A3E8,
    0xCB61_B38C,
    0x9B64_C2B0,
    0x86D3_D2D4,
    0xA00A_E278,
    0xBDBD_F21C,
];

/// CRC-32 as in zlib and Ethernet.
fn crc32(bytes: impl Iterator<Item = u8>) -> u32 {
    let step = |crc: u32| NIBBLES.get((crc & 15) as usize).copied().unwrap_or(0) ^ (crc >> 4);
    !bytes.fold(u32::MAX, |crc, byte| step(step(crc ^ u32::from(byte))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_usual_crc32() {
        assert_eq!(crc32(b"123456789".iter().copied()), 0xCBF4_3926);
        assert_eq!(&base62_of(0), b"000000");
        assert_eq!(&base62_of(61), b"00000z");
        assert_eq!(&base62_of(u32::MAX), b"4gfFC3");
    }

    #[test]
    fn says_why_it_is_none() {
        let key = PresentedKey::generate().unwrap().reveal();
        let text = key.expose();
        let other_separator = format!("{}-{}", &text[..16], &text[17..]);
        let accented = format!("{}é{}", &text[..30], &text[32..]);
        for (text, why) in [
            ("", NotAKey::Prefix),
            ("sk-abcdef", NotAKey::Prefix),
            ("ogw_", NotAKey::Length),
            (&format!("{text} "), NotAKey::Length),
            (&text[..text.len() - 1], NotAKey::Length),
            (&other_separator, NotAKey::Alphabet),
            (&accented, NotAKey::Alphabet),
        ] {
            assert_eq!(PresentedKey::parse(text).unwrap_err(), why, "{text}");
        }
    }

    #[test]
    fn debug_shows_the_id_alone() {
        let key = PresentedKey::generate().unwrap();
        assert_eq!(format!("{key:?}"), format!("PresentedKey({})", key.id()));
    }

    #[test]
    fn every_character_comes_up() {
        let mut drawn = vec![0; 20_000];
        fill_base62(&mut drawn).unwrap();
        for character in BASE62 {
            // 322 are expected; fewer than 200 would be seven standard deviations away.
            assert!(drawn.iter().filter(|c| *c == character).count() > 200, "{}", char::from(*character));
        }
    }
}
