//! The state folder and the files in it: for the gateway's user alone.
//!
//! Guarantees: what is made here is never readable by anybody else, not even for an instant (the mode is given when
//! the file is created, not afterwards); what is found with wider modes is refused, with the command that mends it.
//! A file that root makes, by a command, belongs to the folder's owner: the service can still read it.
//! Answers `threats.md` §6 (13.3, modes of key files).

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

/// Why a folder or a file cannot be trusted with secrets.
#[derive(Debug, thiserror::Error)]
pub enum PrivateFileError {
    /// Group or others have rights on it.
    #[error("{path} can be used by other users (mode {found:04o}): chmod {wanted:04o} {path}", path = path.display())]
    TooOpen {
        /// Which.
        path: PathBuf,
        /// Its mode.
        found: u32,
        /// What it must be.
        wanted: u32,
    },
    /// A file where a folder should be, or the other way round.
    #[error("{path} is not a {wanted}: move it away, or name another path", path = path.display())]
    WrongKind {
        /// Which.
        path: PathBuf,
        /// `folder` or `file`
        wanted: &'static str,
    },
    /// The operating system refused.
    #[error("cannot {doing} {path}: {source}", path = path.display())]
    System {
        /// What was tried.
        doing: &'static str,
        /// With which.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl PrivateFileError {
    fn system(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::System { doing, path, source }
    }
}

/// Makes the folder, 0700, or checks the one that is there.
///
/// # Errors
/// It is open to others, is no folder, or cannot be made.
pub fn ensure_folder(path: &Path) -> Result<(), PrivateFileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(PrivateFileError::system("make the folder", path))?;
    let found = metadata(path)?;
    if !found.is_dir() {
        return Err(PrivateFileError::WrongKind { path: path.to_owned(), wanted: "folder" });
    }
    refuse_open_mode(path, &found, 0o700)
}

/// Makes an empty file, 0600, or checks the one that is there.
///
/// A file that exists is not opened: closing it again would drop the locks that `SQLite` holds on it in this process.
///
/// # Errors
/// It is open to others, is no file, or cannot be made.
pub fn ensure_file(path: &Path) -> Result<(), PrivateFileError> {
    match create_new(path) {
        Ok(_) => give_to_owner_of_folder(path),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => check_file(path),
        Err(error) => Err(PrivateFileError::system("make the file", path)(error)),
    }
}

/// Whether the file exists; if it does, that nobody else can use it.
///
/// # Errors
/// It is open to others, is no file, or cannot be looked at.
pub fn check_file(path: &Path) -> Result<(), PrivateFileError> {
    let found = metadata(path)?;
    if !found.is_file() {
        return Err(PrivateFileError::WrongKind { path: path.to_owned(), wanted: "file" });
    }
    refuse_open_mode(path, &found, 0o600)
}

/// Writes a file, 0600, whole or not at all; one that is there already stays as it is.
///
/// # Errors
/// The operating system refused.
pub fn write_once(path: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    let draft = path.with_extension(format!("{}.new", std::process::id()));
    let written = write_draft(&draft, content).and_then(|()| link(&draft, path)).and_then(|()| sync_folder_of(path));
    // The draft is of no use to anybody now, whatever came of it.
    let removed = std::fs::remove_file(&draft).map_err(PrivateFileError::system("remove", &draft));
    written.and(removed)
}

fn write_draft(draft: &Path, content: &[u8]) -> Result<(), PrivateFileError> {
    let write = |mut file: File| file.write_all(content).and_then(|()| file.sync_all());
    create_new(draft).and_then(write).map_err(PrivateFileError::system("write", draft))?;
    give_to_owner_of_folder(draft)
}

/// A hard link, unlike a rename, does not replace: of two processes that start at once, one wins and both read its file.
fn link(draft: &Path, path: &Path) -> Result<(), PrivateFileError> {
    match std::fs::hard_link(draft, path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(PrivateFileError::system("write", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The name of a file is on the disk only when its folder is.
fn sync_folder_of(path: &Path) -> Result<(), PrivateFileError> {
    let folder = path.parent().unwrap_or(path);
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(PrivateFileError::system("write", folder))
}

fn create_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn metadata(path: &Path) -> Result<Metadata, PrivateFileError> {
    path.metadata().map_err(PrivateFileError::system("look at", path))
}

fn refuse_open_mode(path: &Path, found: &Metadata, wanted: u32) -> Result<(), PrivateFileError> {
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(PrivateFileError::TooOpen { path: path.to_owned(), found: mode, wanted })
}

fn give_to_owner_of_folder(path: &Path) -> Result<(), PrivateFileError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let (folder, file) = (metadata(folder)?, metadata(path)?);
    if folder.uid() == file.uid() {
        return Ok(());
    }
    chown(path, Some(folder.uid()), Some(folder.gid())).map_err(PrivateFileError::system("give its owner to", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn makes_the_folder_and_refuses_an_open_one() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("state");
        ensure_folder(&folder).unwrap();
        assert_eq!(mode(&folder), 0o700);
        std::fs::set_permissions(&folder, PermissionsExt::from_mode(0o750)).unwrap();
        let text = ensure_folder(&folder).unwrap_err().to_string();
        assert!(text.contains(&format!("chmod 0700 {}", folder.display())), "{text}");
    }

    #[test]
    fn refuses_a_file_for_a_folder() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state");
        std::fs::write(&path, "").unwrap();
        assert!(ensure_folder(&path).is_err());
    }

    #[test]
    fn writes_once() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("pepper");
        write_once(&path, b"first").unwrap();
        write_once(&path, b"second").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 1, "no draft is left");
    }
}
