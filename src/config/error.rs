//! What is wrong with a configuration, where, and how to leave it.
//!
//! Guarantees: a fault names its place and its key in the file's own words, and never holds the value of a secret.

use std::fmt;

/// Every fault that was found, in the order of the file; those of the environment come last. Not empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it is.
    pub place: Place,
    /// The key as it would be written on the left of a `=`, from the root; empty: the file as a whole.
    pub key: String,
    /// What is wrong, to be read after the key.
    pub text: String,
    /// The way out.
    pub hint: Option<String>,
}

/// Where a fault is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The file as a whole.
    File(String),
    /// A line and column of it, both from 1; columns count characters.
    Line {
        /// The file as it was named.
        file: String,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
    },
    /// A variable of the environment; the key is its name.
    Environment,
}

impl Place {
    /// The line, where there is one.
    #[must_use]
    pub const fn line(&self) -> Option<usize> {
        match self {
            Self::Line { line, .. } => Some(*line),
            Self::File(_) | Self::Environment => None,
        }
    }
}

/// What is wrong with a value, before it is known where the value stood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    text: String,
    hint: Option<String>,
}

impl Wrong {
    /// What is wrong, to be read after the key.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None }
    }

    /// The same with the way out.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// The same with this way out, if it has none yet.
    #[must_use]
    pub fn or_hint(self, hint: impl FnOnce() -> String) -> Self {
        Self { hint: self.hint.or_else(|| Some(hint())), ..self }
    }
}

impl Fault {
    /// A fault of a key.
    #[must_use]
    pub fn new(place: Place, key: impl Into<String>, wrong: Wrong) -> Self {
        Self { place, key: key.into(), text: wrong.text, hint: wrong.hint }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => f.write_str(file),
            Self::Line { file, line, column } => write!(f, "{file}:{line}:{column}"),
            Self::Environment => f.write_str("environment"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            let separator = if at == 0 { "" } else { "\n" };
            write!(f, "{separator}{fault}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Fault {}
impl std::error::Error for Faults {}
