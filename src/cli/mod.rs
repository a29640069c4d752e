//! Stub.
pub mod cert;
