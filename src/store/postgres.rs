//! PostgreSQL: the store of several gateways.
//!
//! Guarantees: over TCP the server's certificate is verified, name included, whatever `sslmode` the URL or the
//! environment says (the driver's own default falls back to plain text in silence); a unix socket needs none.
//! Does not: create the database.

use super::accounts::account_queries;
use super::api_keys::api_key_queries;
use super::bans::ban_queries;
use super::error::StoreError;
use super::spending::spending_queries;
use super::usage::usage_queries;
use crate::config::secret::Secret;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{PgPool, PgTransaction};
use std::str::FromStr;
use std::time::Duration;

static MIGRATIONS: Migrator = sqlx::migrate!("src/store/migrations/postgres");

/// How long a statement waits for a connection.
const ACQUIRE: Duration = Duration::from_secs(5);

/// The pool.
#[derive(Clone, Debug)]
pub(super) struct Postgres {
    pool: PgPool,
}

impl Postgres {
    /// Connects and brings the schema up to date.
    pub(super) async fn open(url: &Secret) -> Result<Self, StoreError> {
        let options = options(url)?;
        let pool = PgPoolOptions::new().max_connections(4).acquire_timeout(ACQUIRE).connect_with(options).await;
        let store = Self { pool: pool.map_err(|source| StoreError::Open { store: LABEL.to_owned(), source })? };
        // sqlx holds an advisory lock meanwhile: gateways that start at once take turns.
        MIGRATIONS.run(&store.pool).await.map_err(|source| super::migrate_error(store.label(), source))?;
        Ok(store)
    }

    /// How messages name it: never by its URL.
    pub(super) fn label(&self) -> String {
        LABEL.to_owned()
    }

    /// Ends all connections.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Writers take turns at the row of the revision, so that revisions become visible in their order.
    async fn begin(&self) -> Result<PgTransaction<'static>, sqlx::Error> {
        self.pool.begin().await
    }

    const fn reader(&self) -> &PgPool {
        &self.pool
    }

    /// What [`super::Changes`] asks.
    pub(super) async fn revision(&self) -> Result<i64, sqlx::Error> {
        sqlx::query_scalar(super::api_keys::REVISION).fetch_one(&self.pool).await
    }
}

api_key_queries!(Postgres);
ban_queries!(Postgres);
account_queries!(Postgres);
spending_queries!(Postgres);
usage_queries!(Postgres);

const LABEL: &str = "PostgreSQL";

/// The parameters of the URL that mean something. `sslmode` is read by others too, so it may stand there.
const PARAMETERS: [&str; 10] =
    ["host", "hostaddr", "port", "dbname", "user", "password", "sslmode", "sslrootcert", "sslcert", "sslkey"];

fn options(url: &Secret) -> Result<PgConnectOptions, StoreError> {
    if !is_understood(url.expose()) {
        return Err(StoreError::Url);
    }
    let options = PgConnectOptions::from_str(url.expose()).map_err(|_| StoreError::Url)?;
    let mode = if is_unix_socket(&options) { PgSslMode::Disable } else { PgSslMode::VerifyFull };
    Ok(options.ssl_mode(mode).application_name("ollama-gateway"))
}

/// The driver would log a parameter that it does not know, with its value.
fn is_understood(url: &str) -> bool {
    let scheme = ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme));
    let query = url.split_once('?').map_or("", |(_, query)| query);
    let mut names = query.split('&').filter_map(|pair| pair.split('=').next()).filter(|name| !name.is_empty());
    scheme && names.all(|name| PARAMETERS.contains(&name))
}

fn is_unix_socket(options: &PgConnectOptions) -> bool {
    options.get_socket().is_some() || options.get_host().starts_with('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(url: &str) -> PgSslMode {
        options(&Secret::new(url.to_owned())).unwrap().get_ssl_mode()
    }

    #[test]
    fn tcp_is_verified_whatever_the_url_says() {
        for url in
            ["postgres://u:p@db/x", "postgres://u:p@db/x?sslmode=disable", "postgresql://u@127.0.0.1/x?sslmode=prefer"]
        {
            assert!(matches!(mode(url), PgSslMode::VerifyFull), "{url}");
        }
    }

    #[test]
    fn a_unix_socket_needs_no_tls() {
        for url in ["postgres:///x?user=u&host=/run/postgresql", "postgres://u@%2Frun%2Fpostgresql/x"] {
            assert!(matches!(mode(url), PgSslMode::Disable), "{url}");
        }
    }

    #[test]
    fn a_bad_url_is_not_shown() {
        for url in
            ["mysql://u:hunter2@db/x", "hunter2", "postgres://u:hunter2@db:port/x", "postgres://db/x?passwd=hunter2"]
        {
            let error = options(&Secret::new(url.to_owned())).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }
}
