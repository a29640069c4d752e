//! The tokens of a request, as its record shows them.
//!
//! Guarantees: what Ollama counted stands as it is; where it gave no figure (a client that left, a crash, a route that
//! counts nothing: `ollama-facts.md` (f) 18), what was sent and what came make an estimate, and the record says so. A call
//! that Ollama did not take cost none. Does not: charge anybody; that is [`super::budget`], by the same measure.

use super::record::Record;
use crate::ollama::response::Usage;

/// Tokens of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tokens {
    /// Of the prompt.
    pub(super) prompt: Option<u64>,
    /// Of the answer.
    pub(super) output: Option<u64>,
    /// Who says so; `None`: there are none to speak of.
    pub(super) by: Option<&'static str>,
}

impl Tokens {
    pub(super) fn of(record: &Record) -> Self {
        Self::told_or_estimated(&record.usage, record.prompt_estimate)
    }

    /// `sent`: what the prompt costs by its length, where one was sent to a model.
    fn told_or_estimated(usage: &Usage, sent: Option<u64>) -> Self {
        let seen = sent.is_some().then_some(usage.pieces).filter(|pieces| *pieces > 0);
        let (prompt, output) = (usage.prompt_tokens.or(sent), usage.output_tokens.or(seen));
        let told = (prompt, output) == (usage.prompt_tokens, usage.output_tokens);
        let by = (prompt.is_some() || output.is_some()).then_some(if told { "ollama" } else { "estimate" });
        Self { prompt, output, by }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLD: Usage = Usage {
        prompt_tokens: Some(7),
        output_tokens: Some(9),
        total_duration_ns: None,
        finish: crate::ollama::response::Finish::Stop,
        pieces: 4,
    };

    #[test]
    fn what_ollama_counts_stands_and_the_rest_is_estimated() {
        let of = |usage: Usage, sent| {
            let Tokens { prompt, output, by } = Tokens::told_or_estimated(&usage, sent);
            (prompt, output, by)
        };
        assert_eq!(of(TOLD, Some(5)), (Some(7), Some(9), Some("ollama")));
        assert_eq!(of(Usage { output_tokens: None, ..TOLD }, Some(5)), (Some(7), Some(4), Some("estimate")));
        assert_eq!(of(Usage { pieces: 3, ..Usage::default() }, Some(5)), (Some(5), Some(3), Some("estimate")));
        assert_eq!(of(Usage { prompt_tokens: Some(7), ..Usage::default() }, Some(5)), (Some(7), None, Some("ollama")));
        assert_eq!(of(Usage::default(), Some(5)), (Some(5), None, Some("estimate")));
        assert_eq!(of(Usage::default(), None), (None, None, None));
    }
}
