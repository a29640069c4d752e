//! Whether a log is whole: each line of each file, and what is not there any more.
//!
//! Guarantees: each change, deletion and change of order is named by its file and line; a log that begins after its first
//! record is whole only where it has the record that says so, written before the file was deleted.

use super::chain::{Fault, Last, MAX_LINE, hash_of, parts};
use serde_json::Value;
use std::io::{self, BufRead as _, Read};
use std::path::{Path, PathBuf};

/// Faults that are told.
const MAX_FAULTS: usize = 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// What the first record follows.
    pub first: Last,
    /// Where the chain stands.
    pub last: Last,
    /// Whole lines.
    pub lines: u64,
    /// What is wrong, by its file; at most 20 of it.
    pub faults: Vec<(PathBuf, Fault)>,
    /// Whether the last line was torn: its process was killed while it wrote.
    pub torn: bool,
    /// Where files ended that were deleted when their time was over.
    deleted: Vec<Last>,
    /// A hash that has to be met, and whether it was.
    expected: Option<String>,
    met: bool,
    /// The file that is read, and its whole lines.
    file: PathBuf,
    line: u64,
}

impl Default for Verified {
    fn default() -> Self {
        Self {
            first: Last::start(),
            last: Last::start(),
            lines: 0,
            faults: Vec::new(),
            torn: false,
            deleted: Vec::new(),
            expected: None,
            met: false,
            file: PathBuf::new(),
            line: 0,
        }
    }
}

impl Verified {
    /// Nothing is read yet; the record with this hash has to be there.
    #[must_use]
    pub fn expecting(hash: Option<&str>) -> Self {
        Self { expected: hash.map(str::to_owned), ..Self::default() }
    }

    /// Whether it is, or none was asked for. The end of a deleted file counts: the record of its deletion has it.
    #[must_use]
    pub fn is_expected_there(&self) -> bool {
        let Some(hash) = &self.expected else { return true };
        self.met || self.deleted.iter().any(|end| end.hash == *hash)
    }

    /// Reads a file; the next one of the same log follows it.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn read(&mut self, file: &Path, from: impl Read) -> io::Result<()> {
        let mut reader = io::BufReader::new(from);
        let (before, lines) = (std::mem::replace(&mut self.file, file.to_owned()), std::mem::take(&mut self.line));
        if std::mem::take(&mut self.torn) {
            // A file is closed after a whole line.
            self.faults.push((before, Fault::Unreadable { line: lines.saturating_add(1) }));
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            let length = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut line)?;
            if length == 0 || self.faults.len() >= MAX_FAULTS {
                return Ok(());
            }
            let Some(whole) = line.strip_suffix(b"\n") else {
                self.torn = true;
                return Ok(());
            };
            self.line = self.line.saturating_add(1);
            self.lines = self.lines.saturating_add(1);
            let fault = self.fault_of(whole);
            self.faults.extend(fault.map(|fault| (self.file.clone(), fault)));
        }
    }

    /// To be asked of a whole log when all is read: whether a record says why it begins where it does.
    pub fn explain_beginning(&mut self, state: &Path) {
        if self.first.seq > 0 && !self.deleted.contains(&self.first) {
            self.faults.push((state.to_owned(), Fault::Unexplained { to: self.first.seq }));
        }
    }

    fn fault_of(&mut self, text: &[u8]) -> Option<Fault> {
        let line = self.line;
        let Some((hash, rest, seq)) = parts(text) else {
            // The next line cannot follow this one; it is judged by its number alone.
            self.last.seq = self.last.seq.saturating_add(1);
            self.last.hash.clear();
            return Some(Fault::Unreadable { line });
        };
        self.met |= self.expected.as_deref() == Some(hash);
        let of_chain = of_chain(rest, text);
        if let (1, Some((Kind::Continued, after))) = (self.lines, &of_chain) {
            (self.first, self.last) = (after.clone(), after.clone());
        }
        let expected = self.last.seq.saturating_add(1);
        // After a fault of place nothing can be said of the text: what it followed is not here.
        let follows = self.last.hash.is_empty() || hash_of(&self.last.hash, &[rest]) == hash;
        if seq < expected {
            return Some(Fault::OutOfOrder { line, seq, expected });
        }
        self.last = Last { seq, hash: hash.to_owned() };
        if seq > expected {
            return Some(Fault::Missing { line, from: expected, to: seq.saturating_sub(1) });
        }
        if let Some((Kind::Deleted, end)) = of_chain {
            self.deleted.push(end);
        }
        (!follows).then_some(Fault::Changed { line, seq })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Continued,
    Deleted,
}

/// What a record says of the chain itself, if it is one that does.
fn of_chain(rest: &str, line: &[u8]) -> Option<(Kind, Last)> {
    // Cheap, and true of each such record: a text of a client's cannot hold a quotation mark that is not escaped.
    let kind = match () {
        () if rest.contains("\"event\":\"continued\"") => Kind::Continued,
        () if rest.contains("\"event\":\"deleted\"") => Kind::Deleted,
        () => return None,
    };
    let value: Value = serde_json::from_slice(line).ok()?;
    let place = Last::at(value.get("through")?.as_u64()?, value.get("head")?.as_str()?)?;
    Some((kind, place))
}

#[cfg(test)]
mod tests {
    use super::super::{Act, Audit, Entry, FILE};
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
        let mut found = Verified::default();
        found.read(Path::new(FILE), lines.join("\n").as_bytes().chain(b"\n".as_slice())).unwrap();
        assert!(text > 0 && !found.torn);
        found.faults.iter().map(|(_, fault)| fault.to_string()).collect()
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
