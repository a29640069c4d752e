//! An answer that comes in pieces, with what must not be in it taken out.

use super::{ContentRules, RuleId};
use crate::config::types::OnOutputMatch;
use std::sync::Arc;

/// What stands where a match was.
const REMOVED: &str = "[removed]";

/// A stream of text on its way to the client: one for each field and choice of an answer.
#[derive(Debug, Clone)]
pub struct Window {
    rules: Arc<ContentRules>,
    action: OnOutputMatch,
    held: String,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Cut,
}

/// What may be released.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Piece {
    /// The text, with matches replaced.
    pub text: String,
    /// The rules that matched.
    pub found: Vec<RuleId>,
    /// Whether the answer ends here.
    pub cut: bool,
}

impl Window {
    /// A window with nothing in it.
    #[must_use]
    pub const fn new(rules: Arc<ContentRules>, action: OnOutputMatch) -> Self {
        Self { rules, action, held: String::new(), state: State::Open }
    }

    /// Takes the next piece of the answer, and gives what of it and of what was held can be released.
    #[must_use]
    pub fn push(&mut self, text: &str) -> Piece {
        if self.action == OnOutputMatch::Ignore || self.rules.is_empty() {
            return Piece { text: text.to_owned(), ..Piece::default() };
        }
        if self.state == State::Cut {
            return Piece { cut: true, ..Piece::default() };
        }
        self.held.push_str(text);
        self.release(End::Open)
    }

    /// The answer has ended: gives what was held.
    #[must_use]
    pub fn finish(&mut self) -> Piece {
        if self.state == State::Cut {
            return Piece { cut: true, ..Piece::default() };
        }
        self.release(End::Reached)
    }

    /// Releases up to what must wait. A match is acted on once it begins before that: then no more text can change it.
    fn release(&mut self, end: End) -> Piece {
        let held = std::mem::take(&mut self.held);
        let mut piece = Piece::default();
        let mut rest = held.as_str();
        loop {
            let waiting = if end == End::Reached { 0 } else { self.rules.pending(rest) };
            let safe = rest.len() - waiting;
            let Some((range, rule)) = self.rules.find_at(rest).filter(|(range, _)| range.start < safe) else {
                let (released, waits) = rest.split_at_checked(safe).unwrap_or((rest, ""));
                piece.text.push_str(released);
                waits.clone_into(&mut self.held);
                return piece;
            };
            piece.text.push_str(rest.get(..range.start).unwrap_or_default());
            piece.found.push(rule);
            match self.action {
                OnOutputMatch::Replace => piece.text.push_str(REMOVED),
                OnOutputMatch::Log | OnOutputMatch::Ignore => {
                    piece.text.push_str(rest.get(range.clone()).unwrap_or_default());
                }
                OnOutputMatch::Cut => {
                    self.state = State::Cut;
                    piece.cut = true;
                    return piece;
                }
            }
            rest = rest.get(range.end..).unwrap_or_default();
        }
    }
}

/// Whether more can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Reached,
}
