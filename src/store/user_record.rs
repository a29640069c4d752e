//! What is kept of a user, and of the refresh tokens of a sign-in.
//!
//! Guarantees: a name is 1 to 64 characters of a small alphabet, also when it comes from the store, so it can stand in a
//! log line, a path and a token's `sub` as it is, and never looks like the subject of a key. No record holds a secret
//! that opens anything by itself: passwords are slow hashes, refresh tokens are HMACs, TOTP secrets are sealed.

use super::key_record::KeyHash;
use super::timestamp::Timestamp;
use std::fmt;
use std::sync::Arc;

/// What a user signs in with: `a-z 0-9 . _ - @ +`, at most 64, a letter or a digit first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(Arc<str>);

impl UserName {
    /// Reads a name. Upper case is refused, not folded: two names differ for everybody or for nobody.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let allowed =
            |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'.' | b'_' | b'-' | b'@' | b'+');
        (first && text.len() <= 64 && text.bytes().all(allowed)).then(|| Self(text.into()))
    }

    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its characters, shared.
    #[must_use]
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One user.
#[derive(Debug, Clone)]
pub struct UserRecord {
    /// The name.
    pub name: UserName,
    /// The role.
    pub role: Arc<str>,
    /// The text of a slow hash.
    pub password: PasswordHash,
    /// When the user was made.
    pub created_at: Timestamp,
    /// Tokens issued before are void.
    pub valid_from: Timestamp,
    /// Since when the user may not sign in, by an administrator's word.
    pub locked_at: Option<Timestamp>,
    /// Failed sign-ins since the last good one.
    pub failures: u32,
    /// No sign-in is looked at before.
    pub retry_at: Timestamp,
    /// The sealed secret of the second factor.
    pub totp: Option<Vec<u8>>,
    /// The last time step whose code was used: no code is taken twice.
    pub totp_step: i64,
}

impl UserRecord {
    /// Whether the user may sign in, in a word.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> &'static str {
        match (self.locked_at, self.retry_at > now) {
            (Some(_), _) => "locked",
            (None, true) => "waiting",
            (None, false) => "active",
        }
    }
}

/// The text of a slow hash. Not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(String);

impl PasswordHash {
    /// Takes the text over.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hash]")
    }
}

/// One refresh token and its family.
#[derive(Debug, Clone)]
pub struct RefreshRecord {
    /// Its id.
    pub id: String,
    /// The family's id.
    pub family: String,
    /// Whose it is: the `sub` of the tokens it gets.
    pub subject: String,
    /// What a presented one is compared with.
    pub hash: KeyHash,
    /// From when on it is refused.
    pub expires_at: Timestamp,
    /// When it was used. A second use is a theft.
    pub used_at: Option<Timestamp>,
    /// When the sign-in happened.
    pub family_created_at: Timestamp,
    /// When the family was revoked.
    pub family_revoked_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_be_mistaken() {
        for text in ["ana", "ana.b@example.org", "7of9", "a+b-c_d", &"x".repeat(64)] {
            assert!(UserName::parse(text).is_some(), "{text}");
        }
        for text in ["", "Ana", "key:abc", "a b", "-a", ".a", "a\n", "é", "a/b", &"x".repeat(65)] {
            assert_eq!(UserName::parse(text), None, "{text:?}");
        }
    }
}
