//! What outlives the process: API keys now; users, tokens, usage and audit have room beside them.
//!
//! Guarantees: every call has a deadline; every statement is a static text with binds; what is read back is parsed as
//! strictly as what a user types; a schema newer than this program is refused, not guessed at.
//! Does not: serve the hot path. `identity::key_ring` keeps a copy in memory, and [`Changes`] tells it when to renew it.
//!
//! [`Store`] is an enum, not a trait object: there are two databases, and `match` makes the compiler ask for both.

mod accounts;
mod api_keys;
mod bans;
mod conversations;
mod error;
pub mod key_bounds;
pub mod key_record;
mod postgres;
pub mod private_files;
mod refresh_tokens;
mod spending;
mod sqlite;
pub mod timestamp;
mod usage;
pub mod user_record;
mod users;

pub use api_keys::Change;
pub use bans::{Ban, Banned, NobodyToBan};
pub use error::StoreError;
pub use refresh_tokens::NewRefresh;
pub use spending::Spending;
pub use usage::{UsageBy, UsageQuery, UsageRow, Used};
pub use users::Attempt;

use crate::config::types;
use futures_util::TryStreamExt;
use key_record::{KeyId, KeyRecord};
use sqlx::migrate::MigrateError;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use timestamp::Timestamp;

/// For one statement or one transaction.
const STATEMENT: Duration = Duration::from_secs(15);
/// For reading all keys.
const LOAD: Duration = Duration::from_secs(120);

/// The database. Cheap to clone: clones share their connections.
#[derive(Clone, Debug)]
pub struct Store(Database);

#[derive(Clone, Debug)]
enum Database {
    Sqlite(sqlite::Sqlite),
    Postgres(postgres::Postgres),
}

/// The same method of whichever database it is.
macro_rules! each {
    ($store:expr, $database:ident => $call:expr) => {
        match &$store.0 {
            Database::Sqlite($database) => $call,
            Database::Postgres($database) => $call,
        }
    };
}

use each;

/// A counter that grows with every change of the keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(i64);

impl Revision {
    /// Before the first change: everything is newer.
    pub const START: Self = Self(0);

    /// For log lines.
    #[must_use]
    pub const fn number(self) -> i64 {
        self.0
    }
}

/// What a copy of the database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// All of it.
    Whole,
    /// Nothing: it is on a database server.
    Nothing,
}

/// Keys that changed, and the revision that they stand for. It may hold some that changed since: never fewer.
#[derive(Debug)]
pub struct KeyChanges {
    /// To ask from the next time.
    pub revision: Revision,
    /// In the order of their creation.
    pub keys: Vec<Arc<KeyRecord>>,
}

/// A key takes the place of another one.
#[derive(Debug)]
pub struct Rotation<'a> {
    /// The one that goes.
    pub old: KeyId,
    /// Until when it still opens.
    pub old_expires_at: Timestamp,
    /// The one that comes; the rotation happens when it is made.
    pub new: &'a KeyRecord,
}

impl Store {
    /// Opens the store that the configuration names, makes it if it is not there, brings its schema up to date.
    ///
    /// # Errors
    /// It cannot be opened safely: see [`StoreError`].
    pub async fn open(config: &types::Store, state: &Path) -> Result<Self, StoreError> {
        private_files::ensure_folder(state)?;
        let database = match config {
            types::Store::Sqlite(path) => Database::Sqlite(sqlite::Sqlite::open(&state.join(path)).await?),
            types::Store::Postgres(url) => Database::Postgres(postgres::Postgres::open(url).await?),
        };
        Ok(Self(database))
    }

    /// Adds a key.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn insert_key(&self, key: &KeyRecord) -> Result<(), StoreError> {
        each!(self, db => self.bounded("adding a key", db.insert_key(key)).await)
    }

    /// Puts a key in the place of another one, whole or not at all: [`Change::NotMade`] where the old one is unknown,
    /// revoked, expired or replaced already.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn rotate_key(&self, rotation: &Rotation<'_>) -> Result<Change, StoreError> {
        each!(self, db => self.bounded("rotating a key", db.replace_key(rotation)).await)
    }

    /// Revokes a key: [`Change::NotMade`] where it is unknown or revoked already.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn revoke_key(&self, id: KeyId, at: Timestamp) -> Result<Change, StoreError> {
        each!(self, db => self.bounded("revoking a key", db.revoke_key(id, at)).await)
    }

    /// One key.
    ///
    /// # Errors
    /// The store does not answer, or holds a damaged row.
    pub async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, StoreError> {
        let row = each!(self, db => self.bounded("reading a key", db.key_row(id.as_str())).await)?;
        row.map(|row| api_keys::RowReader::default().read(row, || self.label())).transpose()
    }

    /// All keys that changed after a revision; after [`Revision::START`]: all.
    ///
    /// # Errors
    /// The store does not answer, or holds a damaged row.
    pub async fn keys_since(&self, since: Revision) -> Result<KeyChanges, StoreError> {
        // The revision first: what is committed between the two statements is then read twice, not missed.
        let revision = Revision(each!(self, db => self.bounded("reading its revision", db.current_revision()).await)?);
        let load = self.load(since);
        let keys = tokio::time::timeout(LOAD, load).await.map_err(|_| self.slow("reading the keys", LOAD))??;
        Ok(KeyChanges { revision, keys })
    }

    async fn load(&self, since: Revision) -> Result<Vec<Arc<KeyRecord>>, StoreError> {
        let mut rows = each!(self, db => db.key_rows(since.0));
        let mut reader = api_keys::RowReader::default();
        let mut keys = Vec::new();
        while let Some(row) = rows.try_next().await.map_err(|source| self.failed("reading the keys", source))? {
            keys.push(Arc::new(reader.read(row, || self.label())?));
        }
        Ok(keys)
    }

    /// A value of the whole store.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn fact(&self, name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        each!(self, db => self.bounded("reading a fact", db.fact(name)).await)
    }

    /// Sets a value of the whole store, unless another process was first: read it back.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn claim_fact(&self, name: &'static str, value: &[u8]) -> Result<(), StoreError> {
        each!(self, db => self.bounded("writing a fact", db.claim_fact(name, value)).await)
    }

    /// Writes a consistent copy of the database to a file that is not there yet, while others go on; nothing where the
    /// database is a server's, which has its own tools for that.
    ///
    /// # Errors
    /// The store does not answer, or the file cannot be written.
    pub async fn copy_to(&self, file: &Path) -> Result<Copied, StoreError> {
        let doing = "copying it";
        match &self.0 {
            Database::Sqlite(db) => match tokio::time::timeout(LOAD, db.copy_to(file)).await {
                Ok(done) => done.map(|()| Copied::Whole).map_err(|source| self.failed(doing, source)),
                Err(_) => Err(self.slow(doing, LOAD)),
            },
            Database::Postgres(_) => Ok(Copied::Nothing),
        }
    }

    /// Bans somebody; a longer ban that is there already stays.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn put_ban(&self, ban: &Ban) -> Result<Change, StoreError> {
        each!(self, db => self.bounded("writing a ban", db.put_ban(ban)).await)
    }

    /// Lifts a ban: [`Change::NotMade`] where there is none.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn remove_ban(&self, who: &Banned) -> Result<Change, StoreError> {
        each!(self, db => self.bounded("lifting a ban", db.remove_ban(&who.to_string())).await)
    }

    /// The bans that last at `now`, and the revision that they stand for.
    ///
    /// # Errors
    /// The store does not answer, or holds a damaged row.
    pub async fn bans(&self, now: Timestamp) -> Result<(Revision, Vec<Ban>), StoreError> {
        let revision = self.bans_revision().await?;
        let rows = each!(self, db => self.bounded("reading the bans", db.bans(now.seconds())).await)?;
        let bans = rows.into_iter().map(|row| bans::read(row, &self.label())).collect::<Result<_, _>>()?;
        Ok((revision, bans))
    }

    /// The revision of the bans now.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn bans_revision(&self) -> Result<Revision, StoreError> {
        each!(self, db => self.bounded("asking for its revision", db.bans_revision()).await).map(Revision)
    }

    /// Adds to what was spent, and tells the totals, row by row.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn add_spending(&self, rows: &[Spending]) -> Result<Vec<i64>, StoreError> {
        each!(self, db => self.bounded("adding to what was spent", db.add_spending(rows)).await)
    }

    /// What was spent in the periods that last at `now`, in seconds since 1970. Others are forgotten.
    ///
    /// # Errors
    /// The store does not answer, or holds a damaged row.
    pub async fn spending(&self, now: u64) -> Result<Vec<Spending>, StoreError> {
        let doing = "reading what was spent";
        let rows = each!(self, db => self.bounded(doing, db.spending(spending::whole(now))).await)?;
        rows.into_iter().map(|row| spending::read(row, &self.label())).collect()
    }

    /// Watches for changes, also those of other processes.
    ///
    /// # Errors
    /// The store cannot be reached.
    pub async fn changes(&self) -> Result<Changes, StoreError> {
        let feed = match &self.0 {
            Database::Sqlite(db) => Feed::Sqlite(self.bounded("watching it", db.changes()).await?),
            Database::Postgres(db) => Feed::Postgres(db.clone()),
        };
        Ok(Changes { store: self.clone(), feed })
    }

    /// Ends all connections, after what is under way.
    pub async fn close(&self) {
        each!(self, db => db.close().await);
    }

    /// How messages name it: a path or a kind, never a URL.
    #[must_use]
    pub fn label(&self) -> String {
        each!(self, db => db.label())
    }

    async fn bounded<T>(
        &self,
        doing: &'static str,
        work: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, StoreError> {
        match tokio::time::timeout(STATEMENT, work).await {
            Ok(done) => done.map_err(|source| self.failed(doing, source)),
            Err(_) => Err(self.slow(doing, STATEMENT)),
        }
    }

    fn failed(&self, doing: &'static str, source: sqlx::Error) -> StoreError {
        StoreError::Query { store: self.label(), doing, source }
    }

    fn slow(&self, doing: &'static str, limit: Duration) -> StoreError {
        StoreError::Slow { store: self.label(), doing, seconds: limit.as_secs() }
    }
}

/// Tells the revision of the keys, cheaply: to be asked every [`Changes::interval`].
pub struct Changes {
    store: Store,
    feed: Feed,
}

enum Feed {
    Sqlite(sqlite::SqliteChanges),
    Postgres(postgres::Postgres),
}

impl Changes {
    /// The revision now.
    ///
    /// # Errors
    /// The store does not answer: make new [`Changes`] later.
    pub async fn revision(&mut self) -> Result<Revision, StoreError> {
        let doing = "asking for its revision";
        let number = match &mut self.feed {
            Feed::Sqlite(db) => self.store.bounded(doing, db.revision()).await?,
            Feed::Postgres(db) => self.store.bounded(doing, db.revision()).await?,
        };
        Ok(Revision(number))
    }

    /// How often to ask: well under the second within which a revoked key must stop.
    #[must_use]
    pub const fn interval(&self) -> Duration {
        match self.feed {
            Feed::Sqlite(_) => Duration::from_millis(250),
            Feed::Postgres(_) => Duration::from_millis(500),
        }
    }
}

fn migrate_error(store: String, source: MigrateError) -> StoreError {
    if let MigrateError::VersionMissing(version) = source {
        return StoreError::Newer { store, version };
    }
    StoreError::Migrate { store, source }
}
