//! The chain: how a line is written, and what is wrong with a file.

use super::entry::Entry;
use crate::telemetry::clock;
use crate::telemetry::printable::{hex, write_escaped};
use aws_lc_rs::digest;
use std::fmt;
use std::io::{self, BufRead, Read as _};
use std::time::SystemTime;

/// Characters of a hash.
pub(super) const HASH_HEX: usize = 64;
/// What the first record follows.
pub(super) const START: &str = "0000000000000000000000000000000000000000000000000000000000000000";
/// A longer line is none of ours.
const MAX_LINE: u64 = 64 * 1024;
/// Faults that are told.
const MAX_FAULTS: usize = 20;

/// Where the chain stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Last {
    /// The number of the last record; 0: there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
}

/// What was found in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Where the chain stands.
    pub last: Last,
    /// Whole lines.
    pub lines: u64,
    /// What is wrong; at most 20 of it.
    pub faults: Vec<Fault>,
    /// Whether the last line was torn: its process was killed while it wrote.
    pub torn: bool,
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
        }
    }
}

/// All of a record but its place in the chain: what can be made before it is known.
pub(super) fn render(now: SystemTime, entry: &Entry<'_>) -> String {
    let mut text = format!("\"time\":\"{}\",", clock::rfc3339(now));
    // Strings, numbers and a closed enum can always be written.
    let json = serde_json::to_string(entry).unwrap_or_default();
    write_escaped(&mut text, json.strip_prefix('{').unwrap_or_default()).unwrap_or_default();
    text
}

/// A record at its place: its line, and its hash.
pub(super) fn line(last: &Last, seq: u64, rendered: &str) -> (String, String) {
    let rest = format!("\"seq\":{seq},{rendered}");
    let hash = hash_of(&last.hash, &rest);
    (format!("{{\"hash\":\"{hash}\",{rest}\n"), hash)
}

fn hash_of(before: &str, rest: &str) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    [before, "{", rest].iter().for_each(|part| context.update(part.as_bytes()));
    hex(context.finish().as_ref())
}

/// Reads a file from its beginning.
///
/// # Errors
/// It cannot be read.
pub fn verify(from: impl io::Read) -> io::Result<Verified> {
    let mut reader = io::BufReader::new(from);
    let mut found =
        Verified { last: Last { seq: 0, hash: START.to_owned() }, lines: 0, faults: Vec::new(), torn: false };
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)?;
        if length == 0 || found.faults.len() >= MAX_FAULTS {
            return Ok(found);
        }
        let Some(whole) = line.strip_suffix(b"\n") else {
            found.torn = true;
            return Ok(found);
        };
        found.lines = found.lines.saturating_add(1);
        found.look_at(whole);
    }
}

impl Verified {
    fn look_at(&mut self, line: &[u8]) {
        let at = self.lines;
        let Some((hash, rest, seq)) = parts(line) else {
            // The next line cannot follow this one; it is judged by its number alone.
            self.faults.push(Fault::Unreadable { line: at });
            self.last.seq = self.last.seq.saturating_add(1);
            self.last.hash.clear();
            return;
        };
        let expected = self.last.seq.saturating_add(1);
        // After a fault of place nothing can be said of the text: what it followed is not here.
        let follows = self.last.hash.is_empty() || hash_of(&self.last.hash, rest) == hash;
        if seq > expected {
            self.faults.push(Fault::Missing { line: at, from: expected, to: seq.saturating_sub(1) });
        } else if seq < expected {
            self.faults.push(Fault::OutOfOrder { line: at, seq, expected });
            return;
        } else if !follows {
            self.faults.push(Fault::Changed { line: at, seq });
        }
        self.last = Last { seq, hash: hash.to_owned() };
    }
}

/// The hash of a line, what it covers, and the number of its record.
fn parts(line: &[u8]) -> Option<(&str, &str, u64)> {
    let line = std::str::from_utf8(line).ok()?;
    let (hash, rest) = line.strip_prefix("{\"hash\":\"")?.split_at_checked(HASH_HEX)?;
    let rest = rest.strip_prefix("\",")?;
    let seq = rest.strip_prefix("\"seq\":")?.split(',').next()?.parse().ok()?;
    Some((hash, rest, seq))
}

#[cfg(test)]
mod tests {
    use super::super::{Act, Audit, FILE};
    use super::*;
    use std::time::UNIX_EPOCH;

    /// Five records, as lines.
    fn lines() -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let audit = Audit::open(folder.path(), None).unwrap();
        for object in ["a", "b\u{1b}[2J", "c\nd", "e", "f"] {
            audit.record(&Entry { object: Some(object), ..Entry::act(Act::Request) }, UNIX_EPOCH);
        }
        let text = std::fs::read_to_string(folder.path().join(FILE)).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn faults(lines: &[String]) -> Vec<String> {
        let text = lines.concat().len();
        let found = verify(lines.join("\n").as_bytes().chain(b"\n".as_slice())).unwrap();
        assert!(text > 0 && !found.torn);
        found.faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_whole_chain_is_whole_and_a_fault_is_named_by_its_line() {
        let good = lines();
        assert_eq!((good.len(), faults(&good)), (5, vec![]));
        assert!(good.iter().all(|line| line.is_ascii()), "no control character is written as it is");
        let mut changed = good.clone();
        changed[2] = changed[2].replace("c\\nd", "x");
        assert_eq!(faults(&changed), ["line 3 was changed (record 3)"]);
        let mut deleted = good.clone();
        deleted.remove(1);
        assert_eq!(faults(&deleted), ["before line 2, record 2 is missing"]);
        let mut swapped = good.clone();
        swapped.swap(1, 2);
        let told =
            ["before line 2, record 2 is missing", "line 3 is not at its place: it is record 2, and 4 belongs there"];
        assert_eq!(faults(&swapped), told);
        let mut doubled = good.clone();
        doubled.insert(2, good[1].clone());
        assert_eq!(faults(&doubled), ["line 3 is not at its place: it is record 2, and 3 belongs there"]);
        let mut foreign = good.clone();
        foreign[0] = "{}".to_owned();
        assert_eq!(faults(&foreign), ["line 1 is no record"]);
    }

    /// Any single character, anywhere.
    #[test]
    fn no_character_can_be_changed() {
        let good = lines();
        let line = good[1].clone();
        for at in 0..line.len() {
            let mut bytes = line.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(text) = String::from_utf8(bytes) else { continue };
            let changed = [good[0].clone(), text, good[2].clone()];
            assert!(!faults(&changed).is_empty(), "character {at}");
        }
    }
}
