//! The integration tests: the real binary, a stand-in Ollama behind it, raw and real clients in front of it.
//!
//! One binary, so that it is linked once. `harness/` is the ground; every other file is one topic.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test that meets something unexpected must fail at once"
)]

mod harness;

mod config;
mod demo;
mod errors;
mod hostile;
mod key_desk;
mod keys;
mod limits;
mod logs;
mod matrix;
mod pages;
mod postgres;
mod queue;
mod smuggling;
mod stand_in;
mod streaming;
