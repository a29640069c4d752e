//! What the stand-in writes: one text, cut into words as a model would send it, and vectors made of a hash.

use super::MODEL;
use serde_json::Value;
use std::hash::{DefaultHasher, Hash, Hasher};

const TEXT: &str = "This is ollama-gateway's built-in stand-in: no Ollama answered on 127.0.0.1:11434. \
    There is no model here, so the answer is always this one. Your request came over TLS, its key was known, its role \
    allowed it and its limits were not reached. Start Ollama and run the command again to talk to a model.";

const DIMENSIONS: usize = 64;
const MAX_DIMENSIONS: u64 = 1024;

/// Why a text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is complete.
    Stop,
    /// The caller's limit cut it.
    Length,
}

/// A text that was "generated".
#[derive(Debug)]
pub(super) struct Generation {
    /// Its words, each but the first with the space before it.
    pub(super) words: Vec<&'static str>,
    /// What the prompt counts.
    pub(super) prompt_tokens: usize,
    /// Why it ends.
    pub(super) ended: Ended,
}

impl Generation {
    /// Answers a prompt with at most so many words; a limit that is not positive is none.
    pub(super) fn new(prompt: &Value, limit: Option<&Value>) -> Self {
        let limit = limit.and_then(Value::as_u64).filter(|limit| *limit > 0);
        let all = words(TEXT);
        let kept = limit.map_or(all.len(), |limit| usize::try_from(limit).unwrap_or(usize::MAX).min(all.len()));
        let ended = if kept < all.len() { Ended::Length } else { Ended::Stop };
        Self { words: all.into_iter().take(kept).collect(), prompt_tokens: tokens(prompt), ended }
    }

    /// The whole text.
    pub(super) fn text(&self) -> String {
        self.words.concat()
    }

    /// What it counts.
    pub(super) fn tokens(&self) -> usize {
        self.words.len()
    }

    /// All that is paid for.
    pub(super) fn total_tokens(&self) -> usize {
        self.prompt_tokens.saturating_add(self.tokens())
    }
}

/// Splits before each space.
fn words(text: &'static str) -> Vec<&'static str> {
    let mut rest = text;
    let mut words = Vec::new();
    while let Some(next) = rest.get(1..).and_then(|tail| tail.find(' ')) {
        let (word, tail) = rest.split_at(next.saturating_add(1));
        words.push(word);
        rest = tail;
    }
    words.push(rest);
    words
}

/// The words of every text in it, and one for the prompt's own frame.
pub(super) fn tokens(prompt: &Value) -> usize {
    fn words(value: &Value) -> usize {
        match value {
            Value::String(text) => text.split_whitespace().count(),
            Value::Array(items) => items.iter().map(words).sum(),
            Value::Object(fields) => ["content", "text"].iter().filter_map(|name| fields.get(*name)).map(words).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
    }
    words(prompt).saturating_add(1)
}

/// Whether the name is one of the spellings of the one model.
pub(super) fn is_the_model(name: &str) -> bool {
    let name = name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("registry.ollama.ai/").unwrap_or(&name);
    let name = name.strip_prefix("library/").unwrap_or(name);
    name == MODEL || Some(name) == MODEL.strip_suffix(":latest")
}

/// The texts of an `input`: one, or several. Anything else is no input.
pub(super) fn inputs(input: &Value) -> Option<Vec<&str>> {
    match input {
        Value::String(text) => Some(vec![text]),
        Value::Array(texts) => texts.iter().map(Value::as_str).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => None,
    }
}

/// A vector of length 1 that is the same for the same text, and means nothing.
pub(super) fn embedding(text: &str, dimensions: Option<&Value>) -> Vec<f32> {
    let wanted =
        dimensions.and_then(Value::as_u64).filter(|wanted| *wanted > 0).map(|wanted| wanted.min(MAX_DIMENSIONS));
    let count = wanted.and_then(|wanted| usize::try_from(wanted).ok()).unwrap_or(DIMENSIONS);
    let raw: Vec<f32> = (0..count).map(|place| component(text, place)).collect();
    let norm = raw.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    raw.into_iter().map(|x| x / norm).collect()
}

fn component(text: &str, place: usize) -> f32 {
    let mut hasher = DefaultHasher::new();
    (text, place).hash(&mut hasher);
    let bits = (hasher.finish() >> 48) as u16;
    f32::from(bits) / f32::from(u16::MAX) - 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_the_text_and_a_limit_cuts_it() {
        let whole = Generation::new(&"a b".into(), None);
        assert_eq!((whole.text().as_str(), whole.ended, whole.prompt_tokens), (TEXT, Ended::Stop, 3));
        let cut = Generation::new(&Value::Null, Some(&2.into()));
        assert_eq!((cut.words, cut.ended), (vec!["This", " is"], Ended::Length));
        assert_eq!(Generation::new(&Value::Null, Some(&(-1).into())).ended, Ended::Stop);
    }

    #[test]
    fn every_spelling_of_the_model_is_the_model() {
        for name in ["stand-in", "Stand-In:latest", "library/stand-in", "registry.ollama.ai/library/stand-in:latest"] {
            assert!(is_the_model(name), "{name}");
        }
        assert!(!is_the_model("stand-in:7b") && !is_the_model("other/stand-in") && !is_the_model(""));
    }

    #[test]
    fn a_vector_has_length_one_and_follows_its_text() {
        let vector = embedding("a", Some(&4.into()));
        assert_eq!(vector.len(), 4);
        assert!((vector.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(
            (embedding("a", None) == embedding("a", None), embedding("a", None) == embedding("b", None)),
            (true, false)
        );
    }
}
