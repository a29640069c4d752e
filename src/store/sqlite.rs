//! `SQLite` in the state folder: the store of a single gateway.
//!
//! Guarantees: the file and its `-wal` and `-shm` are 0600 (`SQLite` gives them the mode of the file); one writer in this
//! process, and `BEGIN IMMEDIATE` between processes, so that a writer waits for its turn instead of failing half-way;
//! readers cannot write; a commit is on the disk before it is reported (a revocation survives a power cut).
//! Does not: work on a network file system, whose locks are not reliable.

use super::accounts::account_queries;
use super::api_keys::api_key_queries;
use super::bans::ban_queries;
use super::error::StoreError;
use super::private_files::{ensure_file, ensure_folder};
use super::spending::spending_queries;
use super::usage::usage_queries;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqliteConnection, SqlitePool, SqliteTransaction};
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};
use std::time::Duration;

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/sqlite");

/// How long a writer waits for another process.
const BUSY: Duration = Duration::from_secs(5);
/// How long a start waits for another process that starts.
const OPENING_TURN: Duration = Duration::from_secs(10);

/// The pools.
#[derive(Clone, Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Sqlite {
    /// Makes or opens the file and brings its schema up to date.
    pub(super) async fn open(path: &Path) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent() {
            ensure_folder(folder)?;
        }
        ensure_file(path)?;
        // Two that start at once: SQLite does not wait when it switches to WAL, and sqlx takes no lock when it migrates.
        let _turn = opening_turn(path).await?;
        let store = Self::connect(path).await.map_err(|source| open_error(path, source))?;
        MIGRATIONS.run(&store.writer).await.map_err(|source| super::migrate_error(store.label(), source))?;
        Ok(store)
    }

    async fn connect(path: &Path) -> Result<Self, sqlx::Error> {
        let writing = options(path).journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full);
        let writer = SqlitePoolOptions::new().max_connections(1).acquire_timeout(BUSY).connect_with(writing).await?;
        let readers =
            SqlitePoolOptions::new().max_connections(4).acquire_timeout(BUSY).connect_lazy_with(reading(path));
        Ok(Self { path: path.to_owned(), writer, readers })
    }

    /// How messages name it.
    pub(super) fn label(&self) -> String {
        self.path.display().to_string()
    }

    /// The last process to close folds the `-wal` into the file.
    pub(super) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// One read transaction: what is committed meanwhile is not in the copy, and nobody waits for it.
    pub(super) async fn copy_to(&self, file: &Path) -> Result<(), sqlx::Error> {
        let mut connection = options(&self.path).connect().await?;
        sqlx::query("VACUUM INTO ?").bind(file.to_string_lossy().into_owned()).execute(&mut connection).await?;
        Ok(())
    }

    async fn begin(&self) -> Result<SqliteTransaction<'static>, sqlx::Error> {
        self.writer.begin_with("BEGIN IMMEDIATE").await
    }

    const fn reader(&self) -> &SqlitePool {
        &self.readers
    }

    /// A connection of its own: `data_version` tells what others have committed since this connection last asked.
    pub(super) async fn changes(&self) -> Result<SqliteChanges, sqlx::Error> {
        let connection = reading(&self.path).connect().await?;
        Ok(SqliteChanges { connection, seen: None })
    }
}

api_key_queries!(Sqlite);
ban_queries!(Sqlite);
account_queries!(Sqlite);
spending_queries!(Sqlite);
usage_queries!(Sqlite);

/// Notices commits of other connections and processes without reading a table.
pub(super) struct SqliteChanges {
    connection: SqliteConnection,
    seen: Option<(i64, i64)>,
}

impl SqliteChanges {
    /// The revision of the keys now.
    pub(super) async fn revision(&mut self) -> Result<i64, sqlx::Error> {
        let version: i64 = sqlx::query_scalar("PRAGMA data_version").fetch_one(&mut self.connection).await?;
        if let Some((seen, revision)) = self.seen
            && seen == version
        {
            return Ok(revision);
        }
        // Read after the version: a commit in between shows as a change of version the next time.
        let revision = sqlx::query_scalar(super::api_keys::REVISION).fetch_one(&mut self.connection).await?;
        self.seen = Some((version, revision));
        Ok(revision)
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        .pragma("temp_store", "MEMORY")
}

fn reading(path: &Path) -> SqliteConnectOptions {
    options(path).pragma("query_only", "ON")
}

fn open_error(path: &Path, source: sqlx::Error) -> StoreError {
    StoreError::Open { store: path.display().to_string(), source }
}

/// The lock of openings: held until the file is dropped, also when the process dies.
async fn opening_turn(database: &Path) -> Result<File, StoreError> {
    let path = database.with_extension("lock");
    ensure_file(&path)?;
    let file = OpenOptions::new().write(true).open(&path).map_err(|error| open_error(&path, sqlx::Error::Io(error)))?;
    let wait = async {
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(Duration::from_millis(20)).await,
                Err(TryLockError::Error(error)) => return Err(open_error(&path, sqlx::Error::Io(error))),
            }
        }
    };
    match tokio::time::timeout(OPENING_TURN, wait).await {
        Ok(turn) => turn?,
        Err(_) => return Err(slow_opening(database)),
    }
    Ok(file)
}

fn slow_opening(database: &Path) -> StoreError {
    let store = database.display().to_string();
    StoreError::Slow { store, doing: "waiting for another process that opens it", seconds: OPENING_TURN.as_secs() }
}
