//! The user that the service runs as: what root makes for it must be its own.
//!
//! Guarantees: nobody but root gives anything away; without such a user on the machine nothing is changed.

use super::CommandError;
use crate::store::private_files::ensure_folder;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

/// By the unit in `systemd/`.
const NAME: &str = "ollama-gateway";

/// User and group of the service, where root asks.
pub(super) fn find() -> Option<(u32, u32)> {
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let users = std::fs::read_to_string("/etc/passwd").ok().filter(|_| is_root)?;
    let line = users.lines().find_map(|line| line.strip_prefix(NAME)?.strip_prefix(':'))?;
    let mut fields = line.split(':').skip(1).map(|field| field.parse().ok());
    Some((fields.next()??, fields.next()??))
}

/// Makes the state folder, for the service where there is one; a folder that is there keeps its owner.
pub(super) fn prepare_state(state: &Path, service: Option<(u32, u32)>) -> Result<(), CommandError> {
    let is_new = !state.exists();
    ensure_folder(state).map_err(crate::store::StoreError::from)?;
    if let Some((user, group)) = service.filter(|_| is_new) {
        let error = |error| CommandError::System { doing: "giving the state folder to the service's user", error };
        chown(state, Some(user), Some(group)).map_err(error)?;
    }
    Ok(())
}
