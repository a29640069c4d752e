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

mod accounting;
mod accounts;
mod acme;
mod admin;
mod audit;
mod audit_files;
mod backup;
mod bans;
mod blobs;
mod browser;
mod budgets;
mod cli_login;
mod clients;
mod config;
mod console;
mod console_browser;
mod console_pages;
mod content;
mod conversations;
mod corpus;
mod cors;
mod demo;
mod deploy;
mod differential;
mod doctor;
mod errors;
mod explain;
mod field;
mod fields;
mod fuzz_entries;
mod headers;
mod heartbeat;
mod hostile;
mod house_rules;
mod http2;
mod incident;
mod key_desk;
mod keys;
mod leaks;
mod leaving;
mod limits;
mod logs;
mod matrix;
mod metrics;
mod misbehaving;
mod models;
mod oidc;
mod pages;
mod postgres;
mod principals;
mod probe;
mod queue;
mod rates;
mod rejections;
mod reload;
mod rights;
mod sandbox;
mod setting_up;
mod shutdown;
mod sign_in;
mod sign_on;
mod silence;
mod slow;
mod smuggling;
mod stand_in;
mod streaming;
mod tls;
mod tls_clients;
mod tls_records;
mod tls_scan;
mod token_command;
mod tokens;
mod traces;
mod transcription;
mod trial;
mod upgrade;
mod usage;
mod wedged;
