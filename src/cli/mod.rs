//! Stub.

pub mod check;
