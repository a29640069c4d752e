//! The commands, a file each.

pub mod cert;
pub mod key;
