//! What the gateway tells its operator: log lines, security events, the ids and times in them.
//!
//! Guarantees: nothing a client or Ollama sent can begin a line of its own, or do anything to a terminal.
//! Does not: know the record of a request (`pipeline::record`).

pub mod audit;
pub mod clock;
pub mod event;
mod json_text;
pub mod logs;
pub mod metrics;
pub mod printable;
pub mod recent;
pub mod request_id;
pub mod traces;
