//! Secrets: values that cannot be printed, and references to where they are.
//!
//! Guarantees: `Debug` shows `[secret]`; there is no `Display` and no `Serialize`; the bytes are wiped on drop.
//! Answers `threats.md` §4.5 (keys in logs).

use zeroize::Zeroizing;

/// A value that cannot be printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the value over.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}
