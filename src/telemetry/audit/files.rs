//! The files of a log: one that is written, and those before it, which are closed.
//!
//! ```text
//! audit-000000000001.jsonl     closed: named by the number of its first record, never written again
//! audit-000000004711.jsonl
//! audit.jsonl                  the one that is written
//! ```
//!
//! Guarantees: [`Files::of`] sees the log of one moment, whatever is closed, begun or written meanwhile: no record is
//! missed, none is met twice, none is met half. Does not: check the chain.

use super::chain::{Last, MAX_LINE};
use crate::store::timestamp::Timestamp;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The name of the one that is written, in the state folder.
pub const FILE: &str = "audit.jsonl";
/// Rounds of looking for the file that has the name: each one more takes a file that was begun just then.
const ROUNDS: usize = 16;

/// A file that nothing is written to any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Where it is.
    pub path: PathBuf,
    /// The number of its first record.
    pub first: u64,
}

/// Where it lies under its number: long enough that names sort as numbers do.
pub(super) fn closed_at(state: &Path, first: u64) -> PathBuf {
    state.join(format!("audit-{first:012}.jsonl"))
}

/// Those of a state folder, oldest first.
pub(super) fn closed(state: &Path) -> io::Result<Vec<Closed>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(state)? {
        let entry = entry?;
        if let Some(first) = entry.file_name().to_str().and_then(number_in) {
            found.push(Closed { path: entry.path(), first });
        }
    }
    found.sort_by_key(|file| file.first);
    Ok(found)
}

fn number_in(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("audit-")?.strip_suffix(".jsonl")?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten()
}

/// A file's path, and what is in it.
pub type Content = (PathBuf, io::Result<Box<dyn Read>>);

/// A log as it is at one moment.
#[derive(Debug)]
pub struct Files {
    /// The closed ones, oldest first.
    pub closed: Vec<Closed>,
    /// The one that is written.
    pub current: Current,
}

/// The file that is written, open: it is this one even if it is closed a moment later.
#[derive(Debug)]
pub struct Current {
    /// Under which name it was found.
    pub path: PathBuf,
    /// The number of its first record; `None`: it has none yet.
    pub first: Option<u64>,
    file: File,
    length: u64,
}

impl Files {
    /// The log of a state folder.
    ///
    /// # Errors
    /// There is none, or it cannot be read.
    pub fn of(state: &Path) -> io::Result<Self> {
        let path = state.join(FILE);
        let mut file = File::open(&path)?;
        for _ in 0..ROUNDS {
            // Nobody is in the middle of a line, nor of closing the file.
            file.lock_shared()?;
            if is_at(&file, &path)? {
                let length = file.metadata()?.len();
                let closed = closed(state);
                file.unlock()?;
                let first = first_of(&file)?.map(|record| record.last.seq);
                // One that was being closed when its process was killed has both names.
                let before = |closed: &Closed| first.is_none_or(|first| closed.first < first);
                let closed = closed?.into_iter().filter(before).collect();
                return Ok(Self { closed, current: Current { path, first, file, length } });
            }
            file = File::open(&path)?;
        }
        Err(io::Error::other("another file has its name each time that it is looked at"))
    }

    /// Whether that is the name of a file of a log.
    #[must_use]
    pub fn has_name(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        path.parent() == self.current.path.parent()
            && name.is_some_and(|name| name == FILE || number_in(name).is_some())
    }

    /// What is in them, file by file, oldest first; a closed one is opened when it is its turn.
    pub fn contents(self) -> impl Iterator<Item = Content> {
        let opened = |closed: Closed| {
            let file = File::open(&closed.path).map(|file| Box::new(file) as Box<dyn Read>);
            (closed.path, file)
        };
        let current = (self.current.path.clone(), Ok(Box::new(self.current.content()) as Box<dyn Read>));
        self.closed.into_iter().map(opened).chain(std::iter::once(current))
    }
}

impl Current {
    /// Its bytes.
    #[must_use]
    pub const fn length(&self) -> u64 {
        self.length
    }

    /// What was in it when it was looked at.
    #[must_use]
    pub fn content(self) -> impl Read {
        self.file.take(self.length)
    }

    /// The file itself.
    pub(super) const fn file(&self) -> &File {
        &self.file
    }
}

/// Whether the file has this name.
pub(super) fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let own = file.metadata()?;
    match path.metadata() {
        Ok(found) => Ok((found.dev(), found.ino()) == (own.dev(), own.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// A record's place in the chain, and its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) last: Last,
    pub(super) time: Option<Timestamp>,
}

impl Placed {
    /// `None`: it is no record.
    pub(super) fn of(line: &[u8]) -> Option<Self> {
        let value: serde_json::Value = serde_json::from_slice(line).ok()?;
        let last = Last::at(value.get("seq")?.as_u64()?, value.get("hash")?.as_str()?)?;
        let time = value.get("time").and_then(serde_json::Value::as_str).and_then(Timestamp::parse_rfc3339);
        Some(Self { last, time })
    }
}

/// The first record of a file; `None`: there is none yet, or what is there is none.
pub(super) fn first_of(file: &File) -> io::Result<Option<Placed>> {
    let mut head = vec![0; usize::try_from(MAX_LINE).unwrap_or(usize::MAX)];
    let mut filled = 0;
    while let Some(rest) = head.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, filled as u64)? {
            0 => break,
            more => filled = filled.saturating_add(more),
        }
    }
    let head = head.get(..filled).unwrap_or_default();
    let end = head.iter().position(|byte| *byte == b'\n');
    Ok(end.and_then(|end| Placed::of(head.get(..end)?)))
}

/// The end of a file, longer than any record.
pub(super) fn tail_of(mut file: &File, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(length.saturating_sub(MAX_LINE)))?;
    let mut tail = Vec::new();
    file.take(MAX_LINE).read_to_end(&mut tail)?;
    Ok(tail)
}

/// The last whole line of a file's end; empty: there is none. And the bytes after it.
pub(super) fn last_line(tail: &[u8]) -> (&[u8], usize) {
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
    let lines = tail.get(..whole.saturating_sub(1)).unwrap_or_default();
    (lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default(), tail.len().saturating_sub(whole))
}

/// The last record of a file that is closed.
pub(super) fn last_of(path: &Path) -> io::Result<Placed> {
    let file = File::open(path)?;
    let tail = tail_of(&file, file.metadata()?.len())?;
    Placed::of(last_line(&tail).0)
        .ok_or_else(|| io::Error::other(format!("{}: its last line is no record", path.display())))
}
