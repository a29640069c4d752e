//! The audit log: who did what when, from where, with which outcome; a chain that shows every change of it.
//!
//! ```text
//! {"hash":"<64 hex>","seq":17,"time":"…","event":"request",…}
//! hash = SHA-256( hash of the line before, or 64 zeros · "{" · all that follows `"hash":"…",` in the line )
//! ```
//!
//! Guarantees: a record is in the file before [`Audit::record`] returns, so a process that is killed loses the one being
//! written at most; several processes (the service, a command) take turns by a lock on the file, which none keeps for
//! longer than a tenth of a second while others may wait, and go on with one chain; a record that was torn is cut off by the next writer, who records that; no prompt, answer or secret has a
//! field. Where the file cannot be written, [`Audit::is_well`] says so, and no further request is served.
//! Does not: keep somebody who may write the file from writing it anew from some line on: keep the last hash that `audit
//! verify` prints elsewhere, or send the lines elsewhere. Answers `field.md` D-17, `threats.md` §6.3 (16.x).

mod chain;
mod entry;
mod page;

pub use chain::{Fault, Last, Verified, verify};
pub use entry::{Act, Entry};
pub use page::Page;

use crate::store::private_files::{PrivateFileError, ensure_file};
use crate::telemetry::metrics::metrics;
use crate::telemetry::printable::hex;
use aws_lc_rs::hmac;
use chain::{HASH_HEX, START, line, render};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

/// Its name in the state folder.
pub const FILE: &str = "audit.jsonl";
/// The end of the file that is read to find the last record: longer than any record.
const TAIL: u64 = 64 * 1024;
/// How often what was written is forced onto the disk: after so many turns.
const TURNS_A_SYNC: u32 = 10;
/// How long the file is kept from other processes: taking it for each record would cost more than writing it.
const TURN: Duration = Duration::from_millis(100);
/// How long it is taken for each record alone after that: others get it between two.
const OTHERS: Duration = Duration::from_millis(5);

/// The log, open.
#[derive(Debug)]
pub struct Audit {
    writer: Mutex<Writer>,
    prompts: Option<hmac::Key>,
    well: AtomicBool,
    unsynced: AtomicBool,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file is not private, or cannot be made.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// It cannot be read or written.
    #[error("the audit log {path}: {source}", path = path.display())]
    System {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

#[derive(Debug)]
struct Writer {
    file: File,
    /// Where the file ended when it was last written here.
    end: u64,
    last: Last,
    turn: Turn,
}

/// Whether the file is ours at the moment.
#[derive(Debug, Clone, Copy)]
enum Turn {
    /// It is, since the last record.
    Ours,
    /// It is not, and nobody is known to wait.
    Free,
    /// It is for others too, until then; `None`: always.
    Others(Option<Instant>),
}

impl Audit {
    /// Opens the log of a state folder, or begins it. `prompts` is the key of the hashes of prompts, if they are wanted.
    ///
    /// # Errors
    /// [`AuditError`]
    pub fn open(state: &Path, prompts: Option<&[u8; 32]>) -> Result<Self, AuditError> {
        let path = state.join(FILE);
        ensure_file(&path)?;
        let system = |source| AuditError::System { path: path.clone(), source };
        let file = OpenOptions::new().read(true).append(true).open(&path).map_err(system)?;
        // Nothing is known of it yet: the first record reads where the chain stands.
        let writer =
            Writer { file, end: u64::MAX, last: Last { seq: 0, hash: START.to_owned() }, turn: Turn::Others(None) };
        Ok(Self {
            writer: Mutex::new(writer),
            prompts: prompts.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key)),
            well: AtomicBool::new(true),
            unsynced: AtomicBool::new(false),
        })
    }

    /// Writes a record. A fault is logged once, and remembered.
    pub fn record(&self, entry: &Entry<'_>, now: SystemTime) {
        let rendered = render(now, entry); // before anybody has to wait
        let written = self.writer().append(&rendered, now);
        if written.is_err() {
            metrics().audit_lost.increment();
        }
        let was_well = self.well.swap(written.is_ok(), Ordering::AcqRel);
        self.unsynced.store(true, Ordering::Release);
        if let Err(error) = written
            && was_well
        {
            tracing::error!(event = "audit_failed", %error, "the audit log cannot be written: no request is served until it can");
        }
    }

    /// The keyed hash of a request's body, where hashes are wanted: it shows that two are the same, and which one it was to
    /// whoever has it and the key.
    #[must_use]
    pub fn hash_prompt(&self, body: &[u8]) -> Option<String> {
        let tag = hmac::sign(self.prompts.as_ref()?, body);
        Some(hex(tag.as_ref()))
    }

    /// Whether it could be written the last time; if not, it is tried again.
    #[must_use]
    pub fn is_well(&self, now: SystemTime) -> bool {
        if !self.well.load(Ordering::Acquire) {
            self.record(&Entry::act(Act::Resumed), now);
        }
        self.well.load(Ordering::Acquire)
    }

    /// Keeps the file for this process, in turns, and forces what was written onto the disk every second, for ever. To be
    /// spawned once.
    pub async fn sync(self: std::sync::Arc<Self>) {
        self.writer().turn = Turn::Free;
        for turn in (1..=TURNS_A_SYNC).cycle() {
            tokio::time::sleep(TURN).await;
            drop(self.writer().give_way()); // a fault shows itself at the next record
            if turn == TURNS_A_SYNC && self.unsynced.swap(false, Ordering::AcqRel) {
                let this = std::sync::Arc::clone(&self);
                drop(tokio::task::spawn_blocking(move || this.sync_now()).await);
            }
        }
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forces what was written onto the disk.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn sync_now(&self) -> io::Result<()> {
        let file = self.writer().file.try_clone()?;
        file.sync_data()
    }
}

impl Writer {
    fn append(&mut self, rendered: &str, now: SystemTime) -> io::Result<()> {
        match self.turn {
            Turn::Ours => self.append_locked(rendered, now), // whoever takes no turns is seen at once too
            Turn::Free => {
                self.file.lock()?;
                self.turn = Turn::Ours;
                self.append_locked(rendered, now)
            }
            Turn::Others(until) => {
                self.file.lock()?;
                let written = self.append_locked(rendered, now);
                let unlocked = self.file.unlock();
                if until.is_some_and(|until| Instant::now() >= until) {
                    self.turn = Turn::Free;
                }
                written.and(unlocked)
            }
        }
    }

    fn append_locked(&mut self, rendered: &str, now: SystemTime) -> io::Result<()> {
        if self.file.metadata()?.len() != self.end {
            self.catch_up(now)?;
        }
        self.write(rendered)
    }

    /// The end of a turn.
    fn give_way(&mut self) -> io::Result<()> {
        if let Turn::Ours = self.turn {
            self.turn = Turn::Others(Some(Instant::now() + OTHERS));
            self.file.unlock()?;
        }
        Ok(())
    }

    fn write(&mut self, rendered: &str) -> io::Result<()> {
        let seq = self.last.seq.saturating_add(1);
        let (line, hash) = line(&self.last, seq, rendered);
        // Where only a part of it gets onto the disk, the next writer finds it torn.
        let end = std::mem::replace(&mut self.end, u64::MAX);
        if let Err(error) = self.file.write_all(line.as_bytes()) {
            self.give_way()?; // whoever writes next looks at what is there
            return Err(error);
        }
        self.end = end.saturating_add(line.len() as u64);
        self.last = Last { seq, hash };
        Ok(())
    }

    /// Finds the last whole record, and cuts off one that was torn.
    fn catch_up(&mut self, now: SystemTime) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let tail = self.tail(length)?;
        let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at.saturating_add(1));
        let torn = tail.len().saturating_sub(whole);
        let lines = tail.get(..whole.saturating_sub(1)).unwrap_or_default();
        let line = lines.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
        self.last = last_of(line).ok_or_else(|| io::Error::other("its last line is no record: see `audit verify`"))?;
        self.end = length;
        if torn == 0 {
            return Ok(());
        }
        self.end = length.saturating_sub(torn as u64);
        self.file.set_len(self.end)?;
        self.write(&render(now, &Entry::act(Act::Torn)))
    }

    fn tail(&mut self, length: u64) -> io::Result<Vec<u8>> {
        self.file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        (&self.file).take(TAIL).read_to_end(&mut tail)?;
        Ok(tail)
    }
}

/// Where the chain stands after a line; before the first one, at its start.
fn last_of(line: &[u8]) -> Option<Last> {
    if line.is_empty() {
        return Some(Last { seq: 0, hash: START.to_owned() });
    }
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    let hash = value.get("hash")?.as_str().filter(|hash| hash.len() == HASH_HEX)?;
    Some(Last { seq: value.get("seq")?.as_u64()?, hash: hash.to_owned() })
}
