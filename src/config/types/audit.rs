//! What is recorded of requests and acts, and how long.
//!
//! Guarantees: every bound is there and greater than nothing. Does not: promise that a record is deleted to the second: a
//! file is deleted whole, when the newest record in it is old enough.

use std::num::NonZeroU32;
use std::time::Duration;

/// `[audit]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Audit {
    /// What is recorded.
    pub policy: AuditPolicy,
    /// In which files, and how long.
    pub files: AuditFiles,
}

/// What is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditPolicy {
    /// Nothing.
    Off,
    /// Who did what, and no word of what was said.
    On,
    /// The same with a keyed hash of each request's body.
    WithPromptHash,
}

/// When a file of the log is closed, and when a closed one is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditFiles {
    /// Bytes after which it is closed.
    pub size: u64,
    /// Time after its first record after which it is closed.
    pub age: Duration,
    /// Time after its last record after which it is deleted.
    pub retention: Duration,
    /// Closed ones at most: the oldest is deleted before its time. `None`: as many as there are.
    pub most: Option<NonZeroU32>,
}
