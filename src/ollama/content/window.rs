//! An answer that comes in pieces, with what must not be in it taken out.

use super::{ContentRules, RuleId};
use crate::config::types::OnOutputMatch;

/// What stands where a match was.
const REMOVED: &str = "[removed]";

/// A stream of text on its way to the client: one for each field and choice of an answer.
#[derive(Debug, Clone)]
pub struct Window {
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
    pub const fn new(action: OnOutputMatch) -> Self {
        Self { action, held: String::new(), state: State::Open }
    }

    /// Takes the next piece of the answer, and gives what of it and of what was held can be released.
    #[must_use]
    pub fn push(&mut self, rules: &ContentRules, text: &str) -> Piece {
        if self.action == OnOutputMatch::Ignore || rules.is_empty() {
            return Piece { text: text.to_owned(), ..Piece::default() };
        }
        if self.state == State::Cut {
            return Piece { cut: true, ..Piece::default() };
        }
        self.held.push_str(text);
        self.release(rules, End::Open)
    }

    /// The answer has ended: gives what was held.
    #[must_use]
    pub fn finish(&mut self, rules: &ContentRules) -> Piece {
        if self.state == State::Cut {
            return Piece { cut: true, ..Piece::default() };
        }
        self.release(rules, End::Reached)
    }

    fn release(&mut self, rules: &ContentRules, end: End) -> Piece {
        let mut piece = Piece::default();
        while let Some((range, rule)) = rules.find_at(&self.held) {
            let whole = range.end < self.held.len() || end == End::Reached;
            // A match at the very end may grow with what follows, as long as it fits the window.
            if !whole
                && matches!(rule, RuleId::Pattern(_))
                && rules.pending(&self.held) >= self.held.len() - range.start
            {
                let safe = self.held.len() - rules.pending(&self.held);
                piece.text.extend(self.held.drain(..safe.min(range.start)));
                return piece;
            }
            piece.found.push(rule);
            let matched = self.held.get(range.clone()).unwrap_or_default().to_owned();
            piece.text.extend(self.held.drain(..range.start));
            self.held.drain(..matched.len());
            match self.action {
                OnOutputMatch::Replace => piece.text.push_str(REMOVED),
                OnOutputMatch::Log | OnOutputMatch::Ignore => piece.text.push_str(&matched),
                OnOutputMatch::Cut => {
                    self.state = State::Cut;
                    self.held.clear();
                    piece.cut = true;
                    return piece;
                }
            }
        }
        let pending = if end == End::Reached { 0 } else { rules.pending(&self.held) };
        let safe = self.held.len() - pending;
        piece.text.extend(self.held.drain(..safe));
        piece
    }
}

/// Whether more can follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Reached,
}
