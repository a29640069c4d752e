//! Files that are there whole or not at all.
//!
//! Guarantees: a reader sees the old bytes or the new ones, also after a power cut; a private file is never readable
//! by others, not even while it is written; what root writes
//! in the folder of another user belongs to that user. Answers: a key that a umask left world-readable, a half-written certificate.
//! Does not: make several files change together.

use crate::certificates::fault::CertificateFault;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The most that is read: a chain has a few KiB.
const MAX_BYTES: u64 = 1024 * 1024;

/// Who may read a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// 0600
    Owner,
    /// 0644
    Everybody,
}

/// Puts the bytes in place of what was there.
pub(crate) fn write(path: &Path, bytes: &[u8], access: Access) -> Result<(), CertificateFault> {
    replace(path, bytes, access).map_err(|reason| CertificateFault::Write { path: path.to_owned(), reason })
}

/// The bytes of a file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, CertificateFault> {
    read_whole(path).map_err(|reason| CertificateFault::Read { path: path.to_owned(), reason })
}

/// The bytes of a file that need not be there.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>, CertificateFault> {
    match read_whole(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(reason) if reason.kind() == ErrorKind::NotFound => Ok(None),
        Err(reason) => Err(CertificateFault::Read { path: path.to_owned(), reason }),
    }
}

fn read_whole(path: &Path) -> Result<Vec<u8>, Error> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Error::new(ErrorKind::InvalidInput, "not a file"));
    }
    let mut bytes = Vec::new();
    if file.take(MAX_BYTES + 1).read_to_end(&mut bytes)? as u64 > MAX_BYTES {
        return Err(Error::new(ErrorKind::FileTooLarge, "more than 1 MiB"));
    }
    Ok(bytes)
}

/// Makes the folder of a file, for its owner only, where it is missing.
pub(crate) fn folder_of(path: &Path) -> Result<(), Error> {
    let Some(folder) = path.parent() else { return Ok(()) };
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    folder_of(folder)?;
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    hand_over(folder)
}

/// Gives a file to the owner of its folder: what root's command writes must be the server's.
pub(crate) fn hand_over(path: &Path) -> Result<(), Error> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else { return Ok(()) };
    let (own, folder) = (std::fs::metadata(path)?, std::fs::metadata(folder)?);
    if own.uid() != 0 || folder.uid() == 0 {
        return Ok(());
    }
    std::os::unix::fs::chown(path, Some(folder.uid()), Some(folder.gid()))
}

fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(ErrorKind::InvalidInput, "not a file name"));
    };
    folder_of(path)?;
    let temporary = folder.join(format!(".{}.{}", name.to_string_lossy(), std::process::id()));
    let written = fill(&temporary, bytes, access).and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        drop(std::fs::remove_file(&temporary));
    }
    written?;
    File::open(folder)?.sync_all()
}

fn fill(path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
    // What a crash left behind might have another mode.
    drop(std::fs::remove_file(path));
    let mode = match access {
        Access::Owner => 0o600,
        Access::Everybody => 0o644,
    };
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(bytes)?;
    hand_over(path)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_with_its_own_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/deeper/key.pem");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for (text, access, expected) in [("a", Access::Everybody, 0o644), ("b", Access::Owner, 0o600)] {
            write(&path, text.as_bytes(), access).unwrap();
            assert_eq!((read(&path).unwrap(), mode(&path)), (text.as_bytes().to_vec(), expected));
        }
        assert_eq!(mode(path.parent().unwrap()), 0o700);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left over");
    }

    #[test]
    fn only_files_of_a_sane_size_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        std::fs::write(&path, vec![b'x'; 1024 * 1024 + 1]).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("more than 1 MiB"));
        assert!(read(folder.path()).unwrap_err().to_string().contains("not a file"));
        assert_eq!(read_if_there(&folder.path().join("none")).unwrap(), None);
    }

    #[test]
    fn what_root_writes_belongs_to_the_owner_of_the_folder() {
        const NOBODY: u32 = 65534;
        let folder = tempfile::tempdir().unwrap();
        if std::os::unix::fs::chown(folder.path(), Some(NOBODY), Some(NOBODY)).is_err() {
            return; // Only root can try this.
        }
        let path = folder.path().join("acme/request.json");
        write(&path, b"{}", Access::Owner).unwrap();
        for path in [path.as_path(), path.parent().unwrap()] {
            assert_eq!(std::fs::metadata(path).unwrap().uid(), NOBODY);
        }
    }
}
