//! The process environment, read once: what overrides the file, and what `env:NAME` refers to.
//!
//! Guarantees: nothing else reads it, so a test gives a map; `Debug` shows names only, since values may be secrets.

use std::collections::BTreeMap;
use std::fmt;

use super::error::{Fault, Place, Wrong};
use super::raw::Source;

/// Names and values.
#[derive(Clone, Default)]
pub struct Environment(pub BTreeMap<String, String>);

impl Environment {
    /// The environment of this process; what is not UTF-8 is left out.
    #[must_use]
    pub fn from_process() -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self(std::env::vars_os().filter_map(text).collect())
    }

    /// The value of a variable. One that is set to nothing counts as not set: that is what compose files pass for
    /// a variable they do not know.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    /// The parsed value of a variable; what is wrong with it is noted and counts as not set.
    pub(super) fn read<T>(
        &self,
        source: &Source<'_>,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, Wrong>,
    ) -> Option<T> {
        match parse(self.get(name)?) {
            Ok(value) => Some(value),
            Err(wrong) => {
                source.note(Fault::new(Place::Environment, name, wrong));
                None
            }
        }
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
