//! The response side: what of Ollama's answers a caller gets.
//!
//! Three doors: [`whole`] for answers that are one JSON value, [`StreamSanitiser`] for streams, [`classify`] for refusals.
//! Guarantees: what passes was read and has the shape that the route answers; an error of Ollama's is replaced, whole or in
//! the middle of a stream; listings hold what the caller may see and nothing of the server's inside.
//! Does not: open sockets, read clocks, or touch headers. Answers `threats.md` §1 rows 2, 6, 7, 19, 27, 28 and §4.5.

mod anthropic;
mod catalogue;
mod ending;
mod frames;
mod inference;
mod native;
mod openai;
mod private;
#[cfg(test)]
mod recorded_tests;
mod rules;
#[cfg(test)]
mod rules_tests;
mod shape;
mod stream;
#[cfg(test)]
mod stream_tests;
mod texts;
mod upstream_fault;
mod usage;
mod whole;
#[cfg(test)]
mod whole_tests;

pub use private::Context;
pub use rules::{Channel, Field, OutputRules, Ruling};
pub use stream::{End, Outcome, Progress, StreamOptions, StreamSanitiser, UsageChunk};
pub use upstream_fault::{Ability, FaultFacts, UpstreamFault, classify, original};
pub use usage::{Finish, Usage};
pub use whole::{Full, View, Whole, apply_rules, whole};
