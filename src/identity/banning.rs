//! A ban as a person writes it: by command, or on the console.
//!
//! Guarantees: who, how long and why are read in one way wherever they are typed; what names nobody is not repeated, since
//! it may be a whole key.

use super::keys::PREFIX;
use crate::store::timestamp::Timestamp;
use crate::store::{Ban, Banned};

/// Characters of a reason.
const MOST_REASON: usize = 200;

/// What is wrong with one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WrongBan {
    /// It names nobody.
    Who,
    /// No duration, or one that is over at once.
    Time,
    /// Too long a reason, or one that cannot be printed.
    Why,
}

/// An address, a network, a user, or the id of a key with or without its prefixes.
///
/// # Errors
/// [`WrongBan::Who`]
pub fn who(text: &str) -> Result<Banned, WrongBan> {
    let id = text.strip_prefix("key:").unwrap_or(text);
    let id = id.strip_prefix(PREFIX).unwrap_or(id);
    text.parse().or_else(|_| format!("key:{id}").parse()).map_err(|_| WrongBan::Who)
}

/// One ban.
///
/// # Errors
/// [`WrongBan`]
pub fn ban((text, time): (&str, &str), why: &str, now: Timestamp) -> Result<Ban, WrongBan> {
    let ends_at = now.later(time).ok_or(WrongBan::Time)?;
    if why.chars().count() > MOST_REASON || why.chars().any(char::is_control) {
        return Err(WrongBan::Why);
    }
    Ok(Ban { who: who(text)?, why: why.to_owned(), made_at: now, ends_at })
}
