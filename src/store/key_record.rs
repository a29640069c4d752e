//! What is kept of an API key: everything but the key.
//!
//! Guarantees: an id is 12 base62 characters and a name is 1 to 64 printable ones, also when they come from the
//! store, so neither can carry SQL, a line break or a terminal escape into a log line. A record holds no secret:
//! its hash is useless without the pepper, which is not in the store.
//! Does not: decide who may call (see `identity::key_ring`).

use super::key_bounds::{KeyBounds, PublicKey};
use super::timestamp::Timestamp;
use std::fmt;
use std::sync::Arc;

/// The public part of a key: it names the key in lists, logs and commands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; Self::LENGTH]);

impl KeyId {
    /// Characters of an id.
    pub const LENGTH: usize = 12;

    /// Reads an id: base62, exactly [`Self::LENGTH`].
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; Self::LENGTH] = text.as_bytes().try_into().ok()?;
        bytes.iter().all(u8::is_ascii_alphanumeric).then_some(Self(bytes))
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What people call a key: 1 to 64 printable characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName(Box<str>);

impl KeyName {
    /// Characters at most.
    pub const MAX_CHARS: usize = 64;

    /// Reads a name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let length = text.chars().count();
        let fits = (1..=Self::MAX_CHARS).contains(&length) && text.trim() == text;
        (fits && text.chars().all(is_printable)).then(|| Self(text.into()))
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Not a control character, and none that hides or reorders the text around it.
fn is_printable(c: char) -> bool {
    let invisible = matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !invisible
}

/// HMAC-SHA-256 of a key under the pepper. Not shown: it would let a thief of the pepper test guesses.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// Takes the bytes over.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes. Compare them in constant time.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hash]")
    }
}

/// One key.
#[derive(Debug, Clone)]
pub struct KeyRecord {
    /// Its id.
    pub id: KeyId,
    /// The first key of its chain of rotations, or itself. Limits count by this one: rotation gives no fresh budget.
    pub principal: KeyId,
    /// What people call it.
    pub name: KeyName,
    /// The role that its caller has. Shared between records: there are few roles and there may be a million keys.
    pub role: Arc<str>,
    /// What a presented key is compared with.
    pub hash: KeyHash,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// The key that rotation made in its place.
    pub replaced_by: Option<KeyId>,
    /// What narrows it further than its role.
    pub bounds: KeyBounds,
    /// Where it is an SSH key: what its signatures are verified with.
    pub public_key: Option<PublicKey>,
}

/// What a key is good for at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyState {
    /// It opens the door.
    Active,
    /// It does for a while yet: another one has taken its place.
    Rotating,
    /// Its time is over.
    Expired,
    /// It was taken back.
    Revoked,
}

impl KeyState {
    /// Whether a key in this state opens the door.
    #[must_use]
    pub const fn opens(self) -> bool {
        match self {
            Self::Active | Self::Rotating => true,
            Self::Expired | Self::Revoked => false,
        }
    }

    /// As lists show it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Rotating => "rotating",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl KeyRecord {
    /// What it is good for at `now`. A key is expired from its very second of expiry on.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|end| end <= now) {
            KeyState::Expired
        } else if self.replaced_by.is_some() {
            KeyState::Rotating
        } else {
            KeyState::Active
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_twelve_base62_characters() {
        assert!(KeyId::parse("abcDEF012345").is_some());
        for text in ["", "abcDEF01234", "abcDEF0123456", "abcDEF01234_", "abcDEF01234 ", "abcDEF0123é", "'; DROP TABL"]
        {
            assert_eq!(KeyId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_is_printable_and_bounded() {
        for text in ["a", "Ana's laptop", "größe 7", "日本", &"x".repeat(64)] {
            assert!(KeyName::parse(text).is_some(), "{text}");
        }
        for text in ["", " ", " a", "a\n", "a\u{1b}[31m", "a\u{202e}b", "a\u{200b}b", "a\u{85}b", &"x".repeat(65)] {
            assert_eq!(KeyName::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn debug_shows_no_hash() {
        assert_eq!(format!("{:?}", KeyHash::new([7; 32])), "[hash]");
    }
}
