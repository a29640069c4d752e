//! A list of models that may be used, and whether a model is on it.
//!
//! Guarantees: a question costs a look at the names and a walk over the patterns with `*`, of which there are few, however
//! many names there are; a copy of the list shares it.

use super::model_name::{ModelName, ModelPattern};
use std::collections::HashSet;
use std::ops::Deref;
use std::sync::Arc;

/// The list, in the order in which it was written.
#[derive(Debug, Clone, Default)]
pub struct ModelList(Arc<Lists>);

#[derive(Debug, Default)]
struct Lists {
    all: Vec<ModelPattern>,
    names: HashSet<Box<str>>,
    patterns: Vec<ModelPattern>,
}

impl ModelList {
    /// Whether a name or a pattern of it fits.
    #[must_use]
    pub fn has(&self, model: &ModelName) -> bool {
        self.0.names.contains(model.canonical()) || self.0.patterns.iter().any(|pattern| pattern.matches(model))
    }
}

impl FromIterator<ModelPattern> for ModelList {
    fn from_iter<I: IntoIterator<Item = ModelPattern>>(patterns: I) -> Self {
        let all: Vec<_> = patterns.into_iter().collect();
        let (patterns, names): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|one| one.as_str().contains('*'));
        let names = names.iter().map(|name| Box::from(name.as_str())).collect();
        Self(Arc::new(Lists { all, names, patterns }))
    }
}

impl From<Vec<ModelPattern>> for ModelList {
    fn from(patterns: Vec<ModelPattern>) -> Self {
        patterns.into_iter().collect()
    }
}

impl Deref for ModelList {
    type Target = [ModelPattern];

    fn deref(&self) -> &[ModelPattern] {
        &self.0.all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_is_on_it_by_its_name_or_by_a_pattern() {
        let list: ModelList =
            ["qwen3:8b", "tiny", "llama3.2:*"].iter().map(|text| ModelPattern::parse(text).unwrap()).collect();
        for (name, on_it) in [
            ("qwen3:8b", true),
            ("library/QWEN3:8b", true),
            ("qwen3", false),
            ("tiny", true),
            ("tiny:latest", true),
            ("tiny:1b", false),
            ("llama3.2:3b", true),
            ("llama3.1:3b", false),
        ] {
            let name = ModelName::parse(name).unwrap();
            assert_eq!(list.has(&name), on_it, "{}", name.canonical());
            assert_eq!(list.iter().any(|pattern| pattern.matches(&name)), on_it, "{}", name.canonical());
        }
    }
}
