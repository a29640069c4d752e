//! The chain: how a line is written and read, and what can be wrong with one.

use super::entry::Entry;
use crate::telemetry::clock;
use crate::telemetry::json_text::Fields;
use crate::telemetry::printable::{hex, is_plain, write_escaped};
use aws_lc_rs::digest;
use std::fmt;
use std::time::SystemTime;

/// Characters of a hash.
const HASH_HEX: usize = 64;
/// What the first record follows.
const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// A longer line is none of ours.
pub(super) const MAX_LINE: u64 = 64 * 1024;

/// A place in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// The number of the last record; 0: there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

impl Last {
    /// Before the first record.
    pub(super) fn start() -> Self {
        Self { seq: 0, hash: START.to_owned() }
    }

    /// `None`: that is no hash.
    pub(super) fn at(seq: u64, hash: &str) -> Option<Self> {
        (hash.len() == HASH_HEX).then(|| Self { seq, hash: hash.to_owned() })
    }
}

/// What is wrong at a line of the file, counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It is no record at all.
    Unreadable {
        /// The line.
        line: u64,
    },
    /// Its text is not the one that was hashed.
    Changed {
        /// The line.
        line: u64,
        /// The number of the record.
        seq: u64,
    },
    /// Records before it are not there.
    Missing {
        /// The line.
        line: u64,
        /// The first one.
        from: u64,
        /// The last one.
        to: u64,
    },
    /// It is not at its place.
    OutOfOrder {
        /// The line.
        line: u64,
        /// The number of the record.
        seq: u64,
        /// The one that belongs here.
        expected: u64,
    },
    /// The log begins after it, and no record says that those before were deleted when their time was over.
    Unexplained {
        /// The number of the last one that is not there.
        to: u64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { line } => write!(f, "line {line} is no record"),
            Self::Changed { line, seq } => write!(f, "line {line} was changed (record {seq})"),
            Self::Missing { line, from, to } if from == to => write!(f, "before line {line}, record {from} is missing"),
            Self::Missing { line, from, to } => {
                write!(f, "before line {line}, the records {from} to {to} are missing")
            }
            Self::OutOfOrder { line, seq, expected } => {
                write!(f, "line {line} is not at its place: it is record {seq}, and {expected} belongs there")
            }
            Self::Unexplained { to } => {
                write!(f, "the records 1 to {to} are missing, and no record says that their time was over")
            }
        }
    }
}

/// All of a record but its place in the chain: what can be made before it is known.
pub(super) fn render(now: SystemTime, entry: &Entry<'_>) -> String {
    let mut json = Vec::with_capacity(512);
    let mut fields = Fields::new(&mut json);
    fields.text("time", &clock::rfc3339(now).to_string());
    entry.write(&mut fields);
    json.push(b'}');
    let json = String::from_utf8(json).unwrap_or_default(); // of strings, numbers and a closed enum
    if is_plain(json.as_bytes()) {
        return json;
    }
    let mut text = String::with_capacity(json.len());
    write_escaped(&mut text, &json).unwrap_or_default();
    text
}

/// Writes a record at its place after others, as a line; its hash.
pub(super) fn add_line(lines: &mut String, last: &Last, seq: u64, rendered: &str) -> String {
    let mut digits = itoa::Buffer::new();
    let seq = digits.format(seq);
    let hash = hash_of(&last.hash, &["\"seq\":", seq, ",", rendered]);
    lines.reserve(rendered.len().saturating_add(HASH_HEX + 48));
    for part in ["{\"hash\":\"", &hash, "\",\"seq\":", seq, ",", rendered, "\n"] {
        lines.push_str(part);
    }
    hash
}

/// Of the hash before, and of all that follows a record's own.
pub(super) fn hash_of(before: &str, rest: &[&str]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    [before, "{"].iter().chain(rest).for_each(|part| context.update(part.as_bytes()));
    hex(context.finish().as_ref())
}

/// The hash of a line, what it covers, and the number of its record.
pub(super) fn parts(line: &[u8]) -> Option<(&str, &str, u64)> {
    let line = std::str::from_utf8(line).ok()?;
    let (hash, rest) = line.strip_prefix("{\"hash\":\"")?.split_at_checked(HASH_HEX)?;
    let rest = rest.strip_prefix("\",")?;
    let seq = rest.strip_prefix("\"seq\":")?.split(',').next()?.parse().ok()?;
    Some((hash, rest, seq))
}
