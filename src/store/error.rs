//! What can go wrong with the store. Each text says what, where, and the way out; none holds a secret.

use super::private_files::PrivateFileError;
use sqlx::migrate::MigrateError;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The state folder or the file of the database.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The URL is none. It is not shown: it may hold a password.
    #[error(
        "store.url (or DATABASE_URL) is no PostgreSQL URL: write postgres://USER:PASSWORD@HOST/DATABASE, or for a unix \
         socket postgres:///DATABASE?user=USER&host=/var/run/postgresql"
    )]
    Url,
    /// It could not be opened.
    #[error("cannot open the store {store}: {source}{}", hint(source))]
    Open {
        /// Which.
        store: String,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// A newer gateway has changed the schema.
    #[error(
        "the store {store} was made by a newer ollama-gateway (schema {version}): install that version again, or restore \
         a backup made by this one"
    )]
    Newer {
        /// Which.
        store: String,
        /// The first version of the schema that is not known here.
        version: i64,
    },
    /// The schema could not be brought up to date.
    #[error("cannot bring the schema of the store {store} up to date, nothing was changed: {source}")]
    Migrate {
        /// Which.
        store: String,
        /// What the driver said.
        source: MigrateError,
    },
    /// A statement failed.
    #[error("the store {store} failed at {doing}: {source}")]
    Query {
        /// Which.
        store: String,
        /// At what.
        doing: &'static str,
        /// What the driver said.
        source: sqlx::Error,
    },
    /// It took too long.
    #[error(
        "the store {store} gave no answer in {seconds} s at {doing}: see whether it runs and whether its disk is full"
    )]
    Slow {
        /// Which.
        store: String,
        /// At what.
        doing: &'static str,
        /// How long it had.
        seconds: u64,
    },
    /// A row that this program cannot have written.
    #[error("the store {store} holds a damaged key, row {row:?}: restore a backup, or delete the row")]
    Damaged {
        /// Which.
        store: String,
        /// The id as it is there.
        row: String,
    },
}

/// The commonest reasons why PostgreSQL is not reached.
fn hint(error: &sqlx::Error) -> &'static str {
    if matches!(error, sqlx::Error::PoolTimedOut) {
        " (does the server run, and is its address right?)"
    } else if is_tls(error) {
        " (over TCP the server must offer TLS with a certificate for its host name; a private authority is named by \
         sslrootcert=FILE in the URL; on one machine use the unix socket)"
    } else {
        ""
    }
}

fn is_tls(error: &sqlx::Error) -> bool {
    let sqlx::Error::Io(error) = error else { return matches!(error, sqlx::Error::Tls(_)) };
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}
