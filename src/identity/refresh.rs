//! The text of a refresh token: as a key's, behind another prefix, so neither can be taken for the other.

use super::keys::{NoRandomness, PREFIX, PresentedKey};
use super::pepper::Pepper;
use crate::config::secret::Secret;
use crate::store::key_record::KeyHash;

/// What every refresh token begins with.
pub const REFRESH_PREFIX: &str = "ogr_";

/// A well-formed refresh token, known or not.
#[derive(Debug)]
pub struct RefreshToken(PresentedKey);

impl RefreshToken {
    /// Reads a token, exactly.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix(REFRESH_PREFIX)?;
        let key = Secret::new([PREFIX, rest].concat());
        PresentedKey::parse(key.expose()).ok().map(Self)
    }

    /// A new token.
    ///
    /// # Errors
    /// The operating system gave no random bytes.
    pub fn generate() -> Result<Self, NoRandomness> {
        PresentedKey::generate().map(Self)
    }

    /// Its public part.
    #[must_use]
    pub fn id(&self) -> String {
        self.0.id().to_string()
    }

    /// The whole text.
    #[must_use]
    pub fn reveal(&self) -> Secret {
        let key = self.0.reveal();
        let rest = key.expose().strip_prefix(PREFIX).unwrap_or_default();
        Secret::new([REFRESH_PREFIX, rest].concat())
    }

    /// What the store keeps of it.
    #[must_use]
    pub fn hash(&self, pepper: &Pepper) -> KeyHash {
        pepper.hash_refresh(&self.0)
    }
}

/// A random id: of a sign-in, or of a token.
///
/// # Errors
/// The operating system gave no random bytes.
pub(super) fn fresh_id() -> Result<String, NoRandomness> {
    PresentedKey::generate().map(|key| key.id().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_read_back_and_is_no_key() {
        let token = RefreshToken::generate().unwrap();
        let text = token.reveal();
        assert_eq!(RefreshToken::parse(text.expose()).unwrap().id(), token.id());
        assert!(PresentedKey::parse(text.expose()).is_err());
        assert!(RefreshToken::parse(PresentedKey::generate().unwrap().reveal().expose()).is_none());
    }
}
