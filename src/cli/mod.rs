//! Stub.

pub mod key;
