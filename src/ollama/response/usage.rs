//! What an answer cost, as far as Ollama said it.
//!
//! Does not: guess. Where Ollama gives no figure (a crash, a cancel, its repeat abort: `ollama-facts.md` (f) 18) the field
//! is `None`, and [`Usage::pieces`] is a floor to charge by.

/// The figures of one answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Tokens of the prompt.
    pub prompt_tokens: Option<u64>,
    /// Tokens of the answer, thinking included.
    pub output_tokens: Option<u64>,
    /// How long Ollama says it took.
    pub total_duration_ns: Option<u64>,
    /// Why the answer ended.
    pub finish: Finish,
    /// Frames of text that came, each at least one token.
    pub pieces: u64,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Finish {
    /// It has not, or Ollama did not say.
    #[default]
    Unknown,
    /// The model was done.
    Stop,
    /// The token limit.
    Length,
    /// The model calls a tool.
    ToolCalls,
    /// The model was loaded or unloaded, nothing was generated.
    Load,
    /// Ollama stops after 30 equal tokens.
    Repeated,
    /// A content rule cut it.
    Filtered,
    /// It failed.
    Failed,
}

impl Finish {
    /// Reads the word of any of the three protocols, in its JSON spelling or bare.
    pub(super) fn of_word(word: &str) -> Self {
        match word.trim_matches('"') {
            "stop" | "end_turn" | "stop_sequence" | "completed" => Self::Stop,
            "length" | "max_tokens" | "incomplete" => Self::Length,
            "tool_calls" | "tool_use" => Self::ToolCalls,
            "load" | "unload" => Self::Load,
            "content_filter" | "refusal" => Self::Filtered,
            _ => Self::Unknown,
        }
    }
}

impl Usage {
    /// Ollama answers zeros where it counted nothing: they are no figures.
    pub(super) fn note(&mut self, prompt: Option<u64>, output: Option<u64>) {
        self.prompt_tokens = prompt.filter(|n| *n > 0).or(self.prompt_tokens);
        self.output_tokens = output.filter(|n| *n > 0).or(self.output_tokens);
    }
}
