//! The audit log: who did what when, from where, with which outcome; a chain that shows every change of it.
//!
//! ```text
//! {"hash":"<64 hex>","seq":17,"time":"…","event":"request",…}
//! hash = SHA-256( hash of the line before, or 64 zeros · "{" · all that follows `"hash":"…",` in the line )
//! ```
//!
//! Guarantees: a record is in the file before [`Audit::record`] returns, so a process that is killed loses the one being
//! written at most; several processes (the service, a command) take turns by a lock on the file, which none keeps for
//! longer than a tenth of a second while others may wait, and go on with one chain; a record that was torn is cut off by
//! the next writer, who records that; the chain goes on over the files of the log, and a file that is deleted when its
//! time is over leaves a record of where it ended; no prompt, answer or secret has a field. Where the file cannot be
//! written, [`Audit::is_well`] says so, and no further request is served.
//! Does not: keep somebody who may write the file from writing it anew from some line on: keep the last hash that `audit
//! verify` prints elsewhere, or send the lines elsewhere. Answers `field.md` D-17, `threats.md` §6.3 (16.x).

mod chain;
mod entry;
mod files;
mod page;
mod together;
mod verify;
mod writer;

pub use chain::{Fault, Last};
pub use entry::{Act, Entry};
pub use files::{Closed, Content, Current, FILE, Files};
pub use page::{Page, Place};
pub use together::Soon;
pub use verify::Verified;

use crate::config::types::AuditFiles;
use crate::store::private_files::PrivateFileError;
use crate::telemetry::metrics::metrics;
use crate::telemetry::printable::hex;
use aws_lc_rs::hmac;
use chain::render;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use writer::{Due, Turn, Writer};

/// How often what was written is forced onto the disk: after so many turns.
const TURNS_A_SYNC: u32 = 10;
/// How long the file is kept from other processes: taking it for each record would cost more than writing it.
const TURN: Duration = Duration::from_millis(100);
/// Seconds from one look for files whose time is over to the next.
const LOOK: u32 = 3600;

/// The log, open.
#[derive(Debug)]
pub struct Audit {
    writer: Mutex<Writer>,
    prompts: Option<hmac::Key>,
    well: AtomicBool,
    unsynced: AtomicBool,
}

impl Audit {
    /// Opens the log of a state folder, or begins it. `prompts` is the key of the hashes of prompts, if they are wanted.
    ///
    /// # Errors
    /// Its file is not private, or cannot be made.
    pub fn open(state: &Path, prompts: Option<&[u8; 32]>) -> Result<Self, PrivateFileError> {
        Ok(Self {
            writer: Mutex::new(Writer::open(state)?),
            prompts: prompts.map(|key| hmac::Key::new(hmac::HMAC_SHA256, key)),
            well: AtomicBool::new(true),
            unsynced: AtomicBool::new(false),
        })
    }

    /// Writes a record. A fault is logged once, and remembered.
    pub fn record(&self, entry: &Entry<'_>, now: SystemTime) {
        let rendered = render(now, entry); // before anybody has to wait
        self.write(&[rendered], now);
    }

    fn write(&self, rendered: &[String], now: SystemTime) {
        let written = self.writer().append(rendered, now);
        if written.is_err() {
            metrics().audit_lost.add(rendered.len() as u64);
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

    /// Keeps the file for this process, in turns; every second, forces what was written onto the disk and closes a file
    /// that is large or old enough; deletes those whose time is over. For ever; to be spawned once.
    pub async fn keep(self: Arc<Self>, files: impl Fn() -> AuditFiles) {
        self.writer().turn = Turn::Free;
        let mut upkeep = Upkeep::default();
        for turn in (1..=TURNS_A_SYNC).cycle() {
            tokio::time::sleep(TURN).await;
            drop(self.writer().give_way()); // a fault shows itself at the next record
            if turn == TURNS_A_SYNC {
                let (this, files) = (Arc::clone(&self), files());
                let done = tokio::task::spawn_blocking(move || {
                    if this.unsynced.swap(false, Ordering::AcqRel) {
                        drop(this.sync_now()); // as above
                    }
                    upkeep.run(&this, &files, crate::telemetry::clock::now());
                    upkeep
                });
                upkeep = done.await.unwrap_or_default();
            }
        }
    }

    /// Closes the file that is written, where it has records of its own, and begins another.
    ///
    /// # Errors
    /// What the operating system says; or the file ends with what is no record.
    pub fn close_file(&self, now: SystemTime) -> io::Result<Option<PathBuf>> {
        self.writer().alone(|writer| writer.close_where_due(Due::Now, now))
    }

    fn close_file_where_due(&self, files: &AuditFiles, now: SystemTime) -> io::Result<Option<PathBuf>> {
        self.writer().alone(|writer| writer.close_where_due(Due::By(files), now))
    }

    /// Deletes the oldest closed file, where it need not be kept any longer.
    ///
    /// # Errors
    /// What the operating system says; or a file ends with what is no record.
    pub fn delete_oldest_file(&self, files: &AuditFiles, now: SystemTime) -> io::Result<Option<PathBuf>> {
        self.writer().alone(|writer| writer.delete_oldest(files, now))
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forces what was written onto the disk.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn sync_now(&self) -> io::Result<()> {
        let file = self.writer().clone_file()?;
        file.sync_data()
    }
}

/// What has to be done now and then, and what was said of it.
#[derive(Debug, Default)]
struct Upkeep {
    /// Seconds until closed files are looked at.
    next_look: u32,
    /// Whether the last try failed: it is told once.
    failed: bool,
}

impl Upkeep {
    fn run(&mut self, audit: &Audit, files: &AuditFiles, now: SystemTime) {
        let done = self.close_and_delete(audit, files, now);
        if let Err(error) = &done
            && !self.failed
        {
            tracing::error!(event = "audit_files_not_kept", %error, "a file of the audit log cannot be closed or deleted");
        }
        self.failed = done.is_err();
    }

    fn close_and_delete(&mut self, audit: &Audit, files: &AuditFiles, now: SystemTime) -> io::Result<()> {
        if let Some(closed) = audit.close_file_where_due(files, now)? {
            tracing::info!(event = "audit_file_closed", audit_file = %closed.display(), "the audit log goes on in a new file");
            self.next_look = 0;
        }
        if let Some(left) = self.next_look.checked_sub(1) {
            self.next_look = left;
            return Ok(());
        }
        // One a second, so that no request waits long.
        match audit.delete_oldest_file(files, now)? {
            Some(deleted) => {
                tracing::info!(event = "audit_file_deleted", audit_file = %deleted.display(), "its time was over");
            }
            None => self.next_look = LOOK,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;
    use std::time::UNIX_EPOCH;

    const DAY: Duration = Duration::from_secs(86_400);
    const FILES: AuditFiles =
        AuditFiles { size: 1 << 20, age: DAY, retention: Duration::from_secs(10 * 86_400), most: None };

    pub(super) fn log() -> (tempfile::TempDir, Audit) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let audit = Audit::open(folder.path(), None).unwrap();
        (folder, audit)
    }

    fn on(day: u32) -> SystemTime {
        UNIX_EPOCH + DAY * day
    }

    /// The chain is whole; it begins after this record.
    fn begins(folder: &tempfile::TempDir) -> u64 {
        let mut found = Verified::default();
        for (path, content) in Files::of(folder.path()).unwrap().contents() {
            found.read(&path, content.unwrap()).unwrap();
        }
        found.explain_beginning(folder.path());
        assert_eq!(found.faults, []);
        found.first.seq
    }

    #[test]
    fn a_file_is_closed_when_it_is_large_or_old_and_deleted_when_its_last_record_is_older() {
        let (folder, audit) = log();
        let mut upkeep = Upkeep::default();
        for day in 0..20 {
            audit.record(&Entry::act(Act::Request), on(day));
            upkeep.next_look = 0;
            upkeep.run(&audit, &FILES, on(day));
            assert!(!upkeep.failed);
        }
        let closed = files::closed(folder.path()).unwrap();
        // One a day from the second day on, but for those whose last record is older than ten days.
        let days: Vec<_> =
            closed.iter().map(|file| files::last_of(&file.path).unwrap().time.unwrap().seconds() / 86_400).collect();
        assert_eq!(days, (9..20).collect::<Vec<_>>());
        assert!(begins(&folder) > 8);
        let small = AuditFiles { size: 100, ..FILES };
        audit.record(&Entry::act(Act::Request), on(19));
        assert!(audit.close_file_where_due(&FILES, on(19)).unwrap().is_none(), "neither large nor old");
        assert!(audit.close_file_where_due(&small, on(19)).unwrap().is_some());
        let few = AuditFiles { most: NonZeroU32::new(3), ..FILES };
        while audit.delete_oldest_file(&few, on(19)).unwrap().is_some() {}
        assert_eq!(files::closed(folder.path()).unwrap().len(), 3);
        begins(&folder);
        // A clock that was set back makes nothing old.
        assert!(audit.delete_oldest_file(&FILES, on(0)).unwrap().is_none());
    }

    #[test]
    fn killed_between_the_record_and_the_deletion_the_next_one_deletes() {
        let (folder, audit) = log();
        (0..2).for_each(|_| audit.record(&Entry::act(Act::Request), on(0)));
        let closed = audit.close_file(on(0)).unwrap().unwrap();
        let content = std::fs::read(&closed).unwrap();
        assert_eq!(audit.delete_oldest_file(&FILES, on(11)).unwrap(), Some(closed.clone()));
        assert_eq!(begins(&folder), 2);
        std::fs::write(&closed, content).unwrap();
        assert_eq!(begins(&folder), 0, "it is there still, and fits");
        assert!(audit.delete_oldest_file(&FILES, on(11)).unwrap().is_some());
        assert_eq!(begins(&folder), 2);
        assert!(audit.delete_oldest_file(&FILES, on(99)).unwrap().is_none(), "the one that is written stays");
    }
}
