//! Names of models, as Ollama reads them.

/// A model's name in its one spelling.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelName {
    canonical: String,
}

/// Why a text is no model's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotAName;

impl ModelName {
    /// Reads a name as Ollama would.
    ///
    /// # Errors
    /// [`NotAName`]
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        if text.is_empty() { Err(NotAName) } else { Ok(Self { canonical: text.to_owned() }) }
    }

    /// The spelling that is sent to Ollama.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }
}

/// Which models a role may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelPattern(String);

impl ModelPattern {
    /// Reads a name, or a pattern with `*`.
    ///
    /// # Errors
    /// [`NotAName`]
    pub fn parse(text: &str) -> Result<Self, NotAName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:/*".contains(c);
        if text.is_empty() || !text.chars().all(allowed) { Err(NotAName) } else { Ok(Self(text.to_owned())) }
    }
}
