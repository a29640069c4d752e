//! `restore FILE`: into an empty state folder, or not at all.
//!
//! Guarantees: names in the file are followed nowhere but into the state folder; every file's hash is compared; the keys
//! and their pepper are shown to belong together before it says that it is done.

use super::{BackupError, CONFIG, DATABASE, FORMAT, Hashing, MANIFEST, Manifest, STATE};
use crate::cli::audit::Accountant;
use crate::cli::{CommandError, init, service_user, tell};
use crate::config::types::{Config, Store as StoreConfig};
use crate::config::{self, Environment};
use crate::identity::pepper::Pepper;
use crate::store::{Revision, Store};
use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Component, Path, PathBuf};

/// Bytes of a manifest or a configuration.
const MOST_TEXT: u64 = 16 * 1024 * 1024;

/// Restores.
pub(in crate::cli) async fn run(config_file: &Path, file: &Path) -> Result<(), CommandError> {
    let (manifest, text) = read_texts(file)?;
    let name = config_file.display().to_string();
    let environment = Environment::from_process();
    let is_new = !config_file.exists();
    // A configuration that is there already says where to; it is not replaced.
    let loaded =
        if is_new { config::parse(&name, &text, &environment) } else { config::load(config_file, &environment) };
    let config = loaded.map_err(CommandError::Configuration)?;
    let target = Target::new(&config)?;
    let extracted = extract(file, &manifest, &target).map_err(CommandError::from);
    let verified = match extracted {
        Ok(()) => verify(&config).await,
        Err(error) => Err(error),
    };
    if verified.is_err() {
        target.empty();
    }
    let keys = verified?;
    if is_new {
        let written = init::write(config_file, &text, service_user::find());
        written.map_err(BackupError::file("write", config_file))?;
    }
    // Not before: the folder has to be empty, and stays so where it failed.
    Accountant::open(&config)?.record("restore", file.to_str(), &Ok::<_, CommandError>(()));
    tell(&format!("restored {} files of {}: {keys} keys, which open again", manifest.sha256.len(), manifest.created));
    Ok(())
}

/// Where the files go.
struct Target {
    state: PathBuf,
    database: Option<PathBuf>,
    owner: (u32, u32),
}

impl Target {
    fn new(config: &Config) -> Result<Self, CommandError> {
        let state = config.server.state.clone();
        service_user::prepare_state(&state, service_user::find())?;
        let failed = BackupError::file("look into", &state);
        let (first, found) =
            std::fs::read_dir(&state).and_then(|mut f| Ok((f.next(), state.metadata()?))).map_err(failed)?;
        if first.is_some() {
            return Err(BackupError::NotEmpty(state).into());
        }
        let database = match &config.store {
            StoreConfig::Sqlite(path) => Some(state.join(path)),
            StoreConfig::Postgres(_) => None,
        };
        Ok(Self { state, database, owner: (found.uid(), found.gid()) })
    }

    /// The place of a file of the backup; `None`: it belongs nowhere.
    fn place(&self, name: &str) -> Option<PathBuf> {
        if name == DATABASE {
            return self.database.clone();
        }
        let inner = Path::new(name.strip_prefix(STATE)?);
        let is_plain = inner.components().all(|part| matches!(part, Component::Normal(_)));
        is_plain.then(|| self.state.join(inner))
    }

    /// After a fault: as it was.
    fn empty(&self) {
        for entry in std::fs::read_dir(&self.state).into_iter().flatten().flatten() {
            let path = entry.path();
            drop(if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) });
        }
    }
}

fn damaged(file: &Path, why: impl Into<String>) -> BackupError {
    BackupError::Damaged { path: file.to_owned(), why: why.into() }
}

/// The manifest and the configuration, before anything is written.
fn read_texts(file: &Path) -> Result<(Manifest, String), BackupError> {
    let (mut manifest, mut config) = (None, None);
    each(file, |name, content| {
        let wanted = match name {
            MANIFEST => &mut manifest,
            CONFIG => &mut config,
            _ => return Ok(()),
        };
        let mut text = String::new();
        content.take(MOST_TEXT).read_to_string(&mut text)?;
        *wanted = Some(text);
        Ok(())
    })?;
    let manifest = manifest.ok_or_else(|| damaged(file, "it has no manifest.json: it was cut, or is another file"))?;
    let manifest: Manifest = serde_json::from_str(&manifest).map_err(|error| damaged(file, error.to_string()))?;
    if manifest.format != FORMAT {
        return Err(damaged(file, format!("it has the layout {}, and this program knows {FORMAT}", manifest.format)));
    }
    Ok((manifest, config.ok_or_else(|| damaged(file, "it has no configuration"))?))
}

/// Goes through the files in a tar.
fn each(file: &Path, mut take: impl FnMut(&str, &mut dyn Read) -> io::Result<()>) -> Result<(), BackupError> {
    let opened = File::open(file).map_err(BackupError::file("open", file))?;
    let mut tar = tar::Archive::new(opened);
    let mut through = || -> io::Result<()> {
        for entry in tar.entries()? {
            let mut entry = entry?;
            let name = entry.path()?.to_string_lossy().into_owned();
            take(&name, &mut entry)?;
        }
        Ok(())
    };
    through().map_err(|error| damaged(file, error.to_string()))
}

fn extract(file: &Path, manifest: &Manifest, target: &Target) -> Result<(), BackupError> {
    let mut found = BTreeMap::new();
    each(file, |name, content| {
        let Some(expected) = manifest.sha256.get(name) else {
            return if name == MANIFEST {
                Ok(())
            } else {
                Err(io::Error::other(format!("{name} is not in its manifest")))
            };
        };
        let mut content = Hashing::new(content);
        match target.place(name) {
            Some(path) => put(&path, &mut content, target.owner)?,
            None if name == CONFIG => drop(io::copy(&mut content, &mut io::sink())?),
            None => return Err(io::Error::other(format!("{name} is no place in a state folder"))),
        }
        let hash = content.hex();
        if hash != *expected {
            return Err(io::Error::other(format!("{name} was altered")));
        }
        found.insert(name.to_owned(), hash);
        Ok(())
    })?;
    if found == manifest.sha256 { Ok(()) } else { Err(damaged(file, "files of its manifest are missing")) }
}

/// All files are for their owner alone, whatever they were: the folder is 0700 anyway.
fn put(path: &Path, content: &mut impl Read, (user, group): (u32, u32)) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        chown(folder, Some(user), Some(group))?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::copy(content, &mut file)?;
    chown(path, Some(user), Some(group))?;
    file.sync_all()
}

/// Opens what was restored, as the service will.
async fn verify(config: &Config) -> Result<usize, CommandError> {
    let store = Store::open(&config.store, &config.server.state).await?;
    drop(Pepper::open(&config.server.state, &store).await?);
    let keys = store.keys_since(Revision::START).await?.keys.len();
    store.close().await;
    Ok(keys)
}
