//! The audit log: who did what when, from where, with which outcome; a chain that shows every change of it.
//!
//! ```text
//! {"hash":"<64 hex>","seq":17,"time":"…","event":"request",…}
//! hash = SHA-256( hash of the line before, or 64 zeros · "{" · all that follows `"hash":"…",` in the line )
//! ```
//!
//! Guarantees: a record is in the file before [`Audit::record`] returns, so a process that is killed loses the one being
//! written at most; several processes (the service, a command) take turns by a lock on the file and go on with one
//! chain; a record that was torn is cut off by the next writer, who records that; no prompt, answer or secret has a
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
use aws_lc_rs::hmac;
use chain::{HASH_HEX, START, hash_of, render};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Its name in the state folder.
pub const FILE: &str = "audit.jsonl";
/// The end of the file that is read to find the last record: longer than any record.
const TAIL: u64 = 64 * 1024;
/// How often what was written is forced onto the disk.
const SYNC_EVERY: Duration = Duration::from_secs(1);

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
        let writer = Writer { file, end: u64::MAX, last: Last { seq: 0, hash: START.to_owned() } };
        Ok(Self {
            writer: Mutex::new(writer),
            prompts: prompts.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key)),
            well: AtomicBool::new(true),
            unsynced: AtomicBool::new(false),
        })
    }

    /// Writes a record. A fault is logged once, and remembered.
    pub fn record(&self, entry: &Entry<'_>, now: SystemTime) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let written = writer.append(entry, now);
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
        Some(tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Whether it could be written the last time; if not, it is tried again.
    #[must_use]
    pub fn is_well(&self, now: SystemTime) -> bool {
        if !self.well.load(Ordering::Acquire) {
            self.record(&Entry::act(Act::Resumed), now);
        }
        self.well.load(Ordering::Acquire)
    }

    /// Forces what was written onto the disk, every second, for ever. To be spawned once.
    pub async fn sync(self: std::sync::Arc<Self>) {
        loop {
            tokio::time::sleep(SYNC_EVERY).await;
            if self.unsynced.swap(false, Ordering::AcqRel) {
                let this = std::sync::Arc::clone(&self);
                // A fault shows itself at the next record.
                drop(tokio::task::spawn_blocking(move || this.sync_now()).await);
            }
        }
    }

    /// Forces what was written onto the disk.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn sync_now(&self) -> io::Result<()> {
        let file = self.writer.lock().unwrap_or_else(PoisonError::into_inner).file.try_clone()?;
        file.sync_data()
    }
}

impl Writer {
    fn append(&mut self, entry: &Entry<'_>, now: SystemTime) -> io::Result<()> {
        self.file.lock()?;
        let written = self.append_locked(entry, now);
        let unlocked = self.file.unlock();
        written.and(unlocked)
    }

    fn append_locked(&mut self, entry: &Entry<'_>, now: SystemTime) -> io::Result<()> {
        if self.file.metadata()?.len() != self.end {
            self.catch_up(now)?;
        }
        self.write(entry, now)
    }

    fn write(&mut self, entry: &Entry<'_>, now: SystemTime) -> io::Result<()> {
        let seq = self.last.seq.saturating_add(1);
        let rest = render(seq, now, entry);
        let hash = hash_of(&self.last.hash, &rest);
        let line = format!("{{\"hash\":\"{hash}\",{rest}\n");
        // Where only a part of it gets onto the disk, the next writer finds it torn.
        self.end = u64::MAX;
        self.file.write_all(line.as_bytes())?;
        self.end = self.file.metadata()?.len();
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
        if torn == 0 {
            return Ok(());
        }
        self.file.set_len(length.saturating_sub(torn as u64))?;
        self.write(&Entry::act(Act::Torn), now)
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
