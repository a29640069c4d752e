//! `backup FILE`: online, consistent.

use super::{BackupError, CONFIG, DATABASE, FORMAT, Hashing, MANIFEST, Manifest, STATE};
use crate::cli::{CommandError, tell};
use crate::config::types::{Certificate, Config, Store as StoreConfig};
use crate::store::{Copied, Store};
use crate::telemetry::audit::{Current, FILE, Files};
use crate::telemetry::clock;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Writes the backup.
pub(in crate::cli) async fn run(config_file: &Path, config: &Config, file: &Path) -> Result<(), CommandError> {
    let state = &config.server.state;
    let store = Store::open(&config.store, state).await?;
    refuse_inside(file, state)?;
    let copy = Draft(state.join(format!("backup-{}.tmp", std::process::id())));
    let copied = store.copy_to(&copy.0).await?;
    store.close().await;
    let mut parts = vec![(CONFIG.to_owned(), Source::At(config_file.to_owned()))];
    if copied == Copied::Whole {
        parts.push((DATABASE.to_owned(), Source::At(copy.0.clone())));
    }
    parts.extend(state_files(config).map_err(BackupError::file("read", state))?);
    let new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let written = write(new.map_err(BackupError::file("write", file))?, parts);
    if written.is_err() {
        drop(std::fs::remove_file(file));
    }
    let count = written.map_err(BackupError::file("write", file))?;
    tell(&format!(
        "wrote {count} files to {}: whoever has it has the keys' hashes and the certificates",
        file.display()
    ));
    warn(config, copied);
    Ok(())
}

/// Where a part of it comes from.
enum Source {
    At(PathBuf),
    /// The audit log's file that is written: as it was when the closed ones were looked for, so that one chain is copied.
    Open(Current),
}

/// What is not in it, said each time.
fn warn(config: &Config, copied: Copied) {
    if copied == Copied::Nothing {
        tell("the keys are in PostgreSQL, and not in this file: back it up with pg_dump");
    }
    if let Certificate::Files(files) = &config.tls.certificate {
        for chain in files.iter().map(|files| files.chain.display()) {
            tell(&format!("the certificate is kept elsewhere ({chain}), and not in this file"));
        }
    }
}

/// The copy of the database, as long as it is needed.
struct Draft(PathBuf);

impl Drop for Draft {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

fn refuse_inside(file: &Path, state: &Path) -> Result<(), BackupError> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    let folder = folder.canonicalize().map_err(BackupError::file("find the folder of", file))?;
    let state = state.canonicalize().map_err(BackupError::file("find", state))?;
    if folder.starts_with(&state) { Err(BackupError::Inside(file.to_owned())) } else { Ok(()) }
}

/// Everything in the state folder but the database, which is copied in another way.
fn state_files(config: &Config) -> io::Result<Vec<(String, Source)>> {
    let state = &config.server.state;
    let database = match &config.store {
        StoreConfig::Sqlite(path) => state.join(path),
        StoreConfig::Postgres(_) => state.join("gateway.db"),
    };
    let with = |end: &str| PathBuf::from(format!("{}{end}", database.display()));
    let of_database = [with(""), with("-wal"), with("-shm"), with("-journal"), database.with_extension("lock")];
    let log = match Files::of(state) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        log => Some(log?),
    };
    let mut files = Vec::new();
    collect(state, &mut files)?;
    if let Some(log) = &log {
        // What was closed since then is the one that is open here.
        files.retain(|path| !log.has_name(path));
        files.extend(log.closed.iter().map(|closed| closed.path.clone()));
    }
    files.sort();
    let is_draft = |path: &Path| path.extension().is_some_and(|extension| extension == "tmp");
    let kept = files.into_iter().filter(|path| !of_database.contains(path) && !is_draft(path));
    let named = kept.filter_map(|path| {
        let inner = path.strip_prefix(state).ok()?.to_str()?;
        Some((format!("{STATE}{inner}"), Source::At(path.clone())))
    });
    let mut named: Vec<_> = named.collect();
    named.extend(log.map(|log| (format!("{STATE}{FILE}"), Source::Open(log.current))));
    Ok(named)
}

/// Plain files only: a socket or a link is nothing to restore.
fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn write(file: File, parts: Vec<(String, Source)>) -> io::Result<usize> {
    let mut tar = tar::Builder::new(file);
    let (mut sha256, count) = (BTreeMap::new(), parts.len());
    for (name, source) in parts {
        let hash = append(&mut tar, &name, source)?;
        sha256.insert(name, hash);
    }
    let manifest = Manifest {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        created: clock::rfc3339(clock::now()).to_string(),
        sha256,
    };
    let text = serde_json::to_vec_pretty(&manifest)?;
    tar.append_data(&mut header(text.len() as u64, 0o600), MANIFEST, text.as_slice())?;
    tar.into_inner()?.sync_all()?;
    Ok(count)
}

/// As much of the file as it has now: one that grows meanwhile (a log) is cut there.
fn append<W: Write>(tar: &mut tar::Builder<W>, name: &str, source: Source) -> io::Result<String> {
    let (length, mode, content): (u64, u32, Box<dyn Read>) = match source {
        Source::At(path) => {
            let opened = File::open(path)?;
            let found = opened.metadata()?;
            (found.len(), found.permissions().mode() & 0o777, Box::new(opened.take(found.len())))
        }
        Source::Open(log) => (log.length(), 0o600, Box::new(log.content())),
    };
    let mut content = Hashing::new(content);
    tar.append_data(&mut header(length, mode), name, &mut content)?;
    Ok(content.hex())
}

fn header(size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_size(size);
    header.set_mode(mode);
    header.set_mtime(clock::unix_seconds(clock::now()));
    header
}
