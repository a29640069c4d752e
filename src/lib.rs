//! The front door of an Ollama server.

pub mod certificates;
pub mod cli;
pub mod config;
pub mod demo;
pub mod gateway;
pub mod identity;
pub mod limits;
pub mod ollama;
pub mod pipeline;
pub mod rejection;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod upstream;
