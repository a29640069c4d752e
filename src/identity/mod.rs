//! Who calls: API keys now.
//!
//! ```text
//! header ─► keys::PresentedKey::parse ─► key_ring::KeyRing::verify ─► KeyRecord (role, principal)
//!           charset, length, checksum     HMAC, constant time, state
//! ```
//!
//! Guarantees: nothing is looked up for what cannot be a key; no database is asked while a request waits; a stolen
//! database opens no door (the pepper is a file beside it, and no key can be had from its HMAC).
//! Does not: read headers (`pipeline::authenticate`), count failures (`limits`), or know what a role may do.

pub mod accounts;
pub mod banning;
pub mod cli_signature;
pub mod conversations;
pub mod issue;
mod key_map;
pub mod key_ring;
pub mod keys;
pub mod oidc;
pub mod passwords;
pub mod pepper;
pub mod refresh;
pub mod second_factor;
pub mod sign_in;
pub mod tokens;
