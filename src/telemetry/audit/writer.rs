//! Who may write, where the chain stands, and how a file is closed and another begun.
//!
//! ```text
//! due ─► the next file as a draft: its first record follows the last one ─► on the disk
//!     ─► audit.jsonl gets its second name, audit-N.jsonl ─► the draft gets the name audit.jsonl
//! ```
//!
//! Guarantees: nobody writes but under the lock of the file that has the log's name at that moment, so nothing is ever
//! written to a closed one; a process that is killed at any step leaves a log that goes on; what is deleted was named by a
//! record on the disk before.

use super::chain::{Last, add_line, render};
use super::entry::{Act, Entry};
use super::files::{self, FILE, Placed, closed, closed_at, first_of, is_at, last_line, tail_of};
use crate::config::types::AuditFiles;
use crate::store::private_files::{PrivateFileError, ensure_file};
use crate::store::timestamp::Timestamp;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How long the file is taken for each record alone after a turn: others get it between two.
const OTHERS: Duration = Duration::from_millis(5);
/// Rounds of looking for the file that has the name.
const ROUNDS: usize = 16;
/// The next file before it has its name. A backup leaves out what ends like this.
const DRAFT: &str = "audit.jsonl.tmp";

#[derive(Debug)]
pub(super) struct Writer {
    state: PathBuf,
    path: PathBuf,
    file: File,
    /// Where the file ended when it was last written here.
    end: u64,
    last: Last,
    /// The time of the file's first record, once it was looked for: it is asked for every second.
    began: Option<Timestamp>,
    pub(super) turn: Turn,
}

/// Whether the file is ours at the moment.
#[derive(Debug, Clone, Copy)]
pub(super) enum Turn {
    /// It is, since the last record.
    Ours,
    /// It is not, and nobody is known to wait.
    Free,
    /// It is for others too, until then; `None`: always.
    Others(Option<Instant>),
}

impl Writer {
    /// Nothing is known of the file yet: the first record reads where the chain stands.
    pub(super) fn open(state: &Path) -> Result<Self, PrivateFileError> {
        let path = state.join(FILE);
        let file = open(&path)?;
        let (state, last, turn) = (state.to_owned(), Last::start(), Turn::Others(None));
        Ok(Self { state, path, file, end: u64::MAX, last, began: None, turn })
    }

    pub(super) fn append(&mut self, rendered: &[String], now: SystemTime) -> io::Result<()> {
        match self.turn {
            Turn::Ours => self.append_locked(rendered, now), // whoever takes no turns is seen at once too
            Turn::Free => {
                self.take()?;
                self.turn = Turn::Ours;
                self.append_locked(rendered, now)
            }
            Turn::Others(until) => {
                let written = self.alone(|writer| writer.append_locked(rendered, now));
                if until.is_some_and(|until| Instant::now() >= until) {
                    self.turn = Turn::Free;
                }
                written
            }
        }
    }

    /// With the file taken, for this one act where it is not ours anyway.
    pub(super) fn alone<T>(&mut self, act: impl FnOnce(&mut Self) -> io::Result<T>) -> io::Result<T> {
        if let Turn::Ours = self.turn {
            return act(self);
        }
        self.take()?;
        let done = act(self);
        let unlocked = self.file.unlock();
        done.and_then(|done| unlocked.map(|()| done))
    }

    /// Locks the file that has the log's name: another process may have closed the one that is open here.
    fn take(&mut self) -> io::Result<()> {
        for _ in 0..ROUNDS {
            self.file.lock()?;
            if is_at(&self.file, &self.path)? {
                return Ok(());
            }
            self.follow()?;
        }
        Err(io::Error::other("another file has its name each time that it is taken"))
    }

    /// Goes on with the file that has the name now. What the old one ended with is kept in mind: should the new one be
    /// empty, nobody who knows the chain has begun it.
    fn follow(&mut self) -> io::Result<()> {
        let tail = tail_of(&self.file, self.file.metadata()?.len())?;
        if let Some(placed) = Placed::of(last_line(&tail).0) {
            self.last = placed.last;
        }
        self.file = open(&self.path).map_err(io::Error::other)?;
        (self.end, self.began) = (u64::MAX, None);
        Ok(())
    }

    fn append_locked(&mut self, rendered: &[String], now: SystemTime) -> io::Result<()> {
        self.catch_up(now)?;
        self.write(rendered)
    }

    /// The end of a turn.
    pub(super) fn give_way(&mut self) -> io::Result<()> {
        if let Turn::Ours = self.turn {
            self.turn = Turn::Others(Some(Instant::now() + OTHERS));
            self.file.unlock()?;
        }
        Ok(())
    }

    pub(super) fn clone_file(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    fn write(&mut self, rendered: &[String]) -> io::Result<()> {
        let (mut lines, mut last) = (String::new(), self.last.clone());
        for record in rendered {
            let seq = last.seq.saturating_add(1);
            let hash = add_line(&mut lines, &last, seq, record);
            last = Last { seq, hash };
        }
        // Where only a part of it gets onto the disk, the next writer finds it torn.
        let end = std::mem::replace(&mut self.end, u64::MAX);
        if let Err(error) = self.file.write_all(lines.as_bytes()) {
            self.give_way()?; // whoever writes next looks at what is there
            return Err(error);
        }
        self.end = end.saturating_add(lines.len() as u64);
        self.last = last;
        Ok(())
    }

    /// Finds the last whole record where somebody else wrote, and cuts off one that was torn.
    fn catch_up(&mut self, now: SystemTime) -> io::Result<()> {
        let length = self.file.seek(SeekFrom::End(0))?; // what it is, for less than all that is known of a file costs
        if length == self.end {
            return Ok(());
        }
        let tail = tail_of(&self.file, length)?;
        let (line, torn) = last_line(&tail);
        let found = match Placed::of(line) {
            None if !line.is_empty() => return Err(io::Error::other("its last line is no record: see `audit verify`")),
            found => found,
        };
        let end = length.saturating_sub(torn as u64);
        if torn > 0 {
            self.file.set_len(end)?;
        }
        self.end = end;
        match found {
            Some(placed) => self.last = placed.last,
            None => self.begin(now)?,
        }
        if torn > 0 { self.write(&[render(now, &Entry::act(Act::Torn))]) } else { Ok(()) }
    }

    /// An empty file: of a new log, or of one whose last file was taken away from under it. Then its chain goes on, so
    /// that what is gone is seen to be gone.
    fn begin(&mut self, now: SystemTime) -> io::Result<()> {
        if let Some(file) = closed(&self.state)?.last() {
            let known = files::last_of(&file.path)?.last;
            if known.seq > self.last.seq {
                self.last = known;
            }
        }
        self.began = None;
        if self.last.seq == 0 {
            return Ok(());
        }
        let after = self.last.clone();
        self.write(&[render(now, &Entry::of_chain(Act::Continued, None, &after))])
    }

    /// Closes the file where it is due, and begins the next one; the file has to be taken.
    pub(super) fn close_where_due(&mut self, due: Due<'_>, now: SystemTime) -> io::Result<Option<PathBuf>> {
        self.catch_up(now)?;
        let is_due = match due {
            Due::By(files) => self.end >= files.size || self.age(now)? >= files.age,
            Due::Now => true,
        };
        if !is_due {
            return Ok(None);
        }
        let Some(first) = first_of(&self.file)? else { return Ok(None) };
        // One record, which may be no more than what it follows, is no file to close.
        if self.last.seq <= first.last.seq {
            return Ok(None);
        }
        let to = closed_at(&self.state, first.last.seq);
        self.close(&to, now)?;
        Ok(Some(to))
    }

    /// How long ago the file's first record was written; nothing, where there is none.
    fn age(&mut self, now: SystemTime) -> io::Result<Duration> {
        if self.began.is_none() {
            self.began = first_of(&self.file)?.and_then(|first| first.time);
        }
        Ok(self.began.map_or(Duration::ZERO, |began| Timestamp::from(now).since(began)))
    }

    fn close(&mut self, to: &Path, now: SystemTime) -> io::Result<()> {
        self.file.sync_data()?;
        let (draft, end, last) = self.draft(to, now)?;
        match std::fs::hard_link(&self.path, to) {
            // Whoever began to close it before was killed.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_at(&self.file, to)? => {}
            other => other?,
        }
        std::fs::rename(self.state.join(DRAFT), &self.path)?;
        // From here on this is the log, taken as the old one was.
        let old = std::mem::replace(&mut self.file, draft);
        (self.end, self.last, self.began) = (end, last, None);
        old.unlock()?;
        // Before anything is written to it: a power cut must not bring back the old name.
        File::open(&self.state)?.sync_all()
    }

    /// The next file, taken and on the disk, with what it follows as its first record.
    fn draft(&self, closes: &Path, now: SystemTime) -> io::Result<(File, u64, Last)> {
        let path = self.state.join(DRAFT);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = open(&path).map_err(io::Error::other)?;
        file.lock()?;
        let name = closes.file_name().and_then(|name| name.to_str());
        let rendered = render(now, &Entry::of_chain(Act::Continued, name, &self.last));
        let seq = self.last.seq.saturating_add(1);
        let mut line = String::new();
        let hash = add_line(&mut line, &self.last, seq, &rendered);
        file.write_all(line.as_bytes())?;
        file.sync_all()?;
        Ok((file, line.len() as u64, Last { seq, hash }))
    }

    /// Deletes the oldest closed file where nothing in it has to be kept; the file that is written has to be taken.
    pub(super) fn delete_oldest(&mut self, keep: &AuditFiles, now: SystemTime) -> io::Result<Option<PathBuf>> {
        self.catch_up(now)?;
        let first = first_of(&self.file)?.map(|record| record.last.seq);
        let closed = closed(&self.state)?;
        let closed: Vec<_> = closed.iter().filter(|file| first.is_none_or(|first| file.first < first)).collect();
        let Some(oldest) = closed.first() else { return Ok(None) };
        let last = files::last_of(&oldest.path)?;
        let is_old = last.time.is_some_and(|time| Timestamp::from(now).since(time) > keep.retention);
        let too_many = keep.most.is_some_and(|most| closed.len() > usize::try_from(most.get()).unwrap_or(usize::MAX));
        if !is_old && !too_many {
            return Ok(None);
        }
        let name = oldest.path.file_name().and_then(|name| name.to_str());
        self.write(&[render(now, &Entry::of_chain(Act::Deleted, name, &last.last))])?;
        self.file.sync_data()?;
        std::fs::remove_file(&oldest.path)?;
        Ok(Some(oldest.path.clone()))
    }
}

/// When a file is closed.
#[derive(Debug, Clone, Copy)]
pub(super) enum Due<'a> {
    /// Where it is as large or as old as this.
    By(&'a AuditFiles),
    /// Now.
    Now,
}

/// Made if it is not there; private, or refused.
fn open(path: &Path) -> Result<File, PrivateFileError> {
    ensure_file(path)?;
    let opened = OpenOptions::new().read(true).append(true).open(path);
    opened.map_err(|source| PrivateFileError::System { doing: "open", path: path.to_owned(), source })
}
