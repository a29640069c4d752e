//! `backup` and `restore`: everything that cannot be made anew, in one tar file.
//!
//! ```text
//! config/gateway.toml      the configuration
//! database/gateway.db      a consistent copy (SQLite only)
//! state/…                  the pepper, certificates, and whatever else is in the state folder
//! manifest.json            last: the SHA-256 of each of them, so that a file that was cut or altered is refused
//! ```
//!
//! Guarantees: the file is 0600 and whole, or not there; a restore touches nothing but an empty state folder, and a
//! fault on the way leaves it empty. Does not: hold a PostgreSQL database, or certificate files that are kept elsewhere.

pub(super) mod restore;
pub(super) mod write;

use crate::telemetry::printable::hex;
use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::PathBuf;

const CONFIG: &str = "config/gateway.toml";
const DATABASE: &str = "database/gateway.db";
const STATE: &str = "state/";
const MANIFEST: &str = "manifest.json";
/// The layout above.
const FORMAT: u32 = 1;

/// What a backup holds, to compare it with.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    format: u32,
    version: String,
    created: String,
    sha256: BTreeMap<String, String>,
}

/// Why there is no backup, or why it was not restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The file.
    #[error("cannot {doing} {path}: {error}", path = path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// With which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It would become a part of itself.
    #[error("{0} is in the state folder, which is what is backed up: name a place elsewhere")]
    Inside(PathBuf),
    /// Something is there.
    #[error("{0} is not empty: a backup is restored into an empty folder; move it away first")]
    NotEmpty(PathBuf),
    /// It is none.
    #[error("{path} is no whole backup: {why}", path = path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl BackupError {
    fn file(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::File { doing, path, error }
    }
}

/// Passes bytes on and remembers their hash.
struct Hashing<R> {
    inner: R,
    context: Context,
}

impl<R> Hashing<R> {
    fn new(inner: R) -> Self {
        Self { inner, context: Context::new(&SHA256) }
    }

    fn hex(self) -> String {
        hex(self.context.finish().as_ref())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.context.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}
