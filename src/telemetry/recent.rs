//! The last security events, for the console.
//!
//! Guarantees: a bounded number of them, each with a bounded text that was made printable; no secret, as in the log.
//! Does not: survive a restart; the log does.

use super::clock;
use super::event::{About, SecurityEvent};
use super::printable::Printable;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// How many are kept.
const KEPT: usize = 50;
/// Bytes of a caller's name.
const MAX_PRINCIPAL: usize = 64;

static RECENT: Mutex<VecDeque<Recent>> = Mutex::new(VecDeque::new());

/// One event that happened.
#[derive(Debug, Clone)]
pub struct Recent {
    /// When.
    pub at: SystemTime,
    /// What.
    pub event: SecurityEvent,
    /// From where.
    pub client: Option<IpAddr>,
    /// By whom.
    pub principal: Option<String>,
    /// Why: a fixed word.
    pub reason: Option<&'static str>,
}

/// Keeps one.
pub(super) fn keep(event: SecurityEvent, about: &About<'_>) {
    let principal = about.principal.map(|text| Printable::new(text, MAX_PRINCIPAL).to_string());
    let recent = Recent { at: clock::now(), event, client: about.client, principal, reason: about.reason };
    let mut kept = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= KEPT {
        kept.pop_front();
    }
    kept.push_back(recent);
}

/// The last ones, the newest first.
#[must_use]
pub fn last(most: usize) -> Vec<Recent> {
    let kept = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.iter().rev().take(most).cloned().collect()
}
