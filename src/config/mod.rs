//! The configuration: file → raw → checked.

pub mod secret;
pub mod types;
