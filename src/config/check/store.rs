//! `[store]`, and the variable that overrides it.

use std::path::Path;

use sqlx::postgres::{PgConnectOptions, PgSslMode};

use crate::config::Environment;
use crate::config::error::Wrong;
use crate::config::quantity::quoted;
use crate::config::raw::Section;
use crate::config::secret::{Reference, Secret};
use crate::config::types::Store;

/// The SQLite database in the state folder.
pub(in crate::config) const DATABASE_FILE: &str = "gateway.db";

const FORMS: &str =
    "\"sqlite\", \"sqlite:/path/gateway.db\", or a reference to a postgres:// URL such as \"env:DATABASE_URL\"";

pub(super) fn store(mut store: Section<'_>, state: &Path, environment: &Environment) -> Store {
    let default = Store::Sqlite(state.join(DATABASE_FILE));
    let told = environment.read(store.source(), "DATABASE_URL", |text| database(text, state));
    let overridden = environment.get("DATABASE_URL").is_some();
    let written = store.item("url").and_then(|item| {
        item.read(|item| match item.text()? {
            // What is overridden need not be there.
            text if overridden && Reference::parse(text).is_ok() => Ok(None),
            text => url(text, state, environment).map(Some),
        })
    });
    told.or(written.flatten()).unwrap_or(default)
}

/// What stands in the file: no password.
fn url(text: &str, state: &Path, environment: &Environment) -> Result<Store, Wrong> {
    if is_sqlite(text) {
        return database(text, state);
    }
    if is_postgres(text) {
        let authority = text.split("://").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default();
        let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
        if user.contains(':') || text.contains("password=") {
            let hint = "url = \"env:DATABASE_URL\", \"file:/path\", \"credential:NAME\" or \"command:PROGRAM\"";
            return Err(Wrong::new("holds a password, which does not belong here").hint(hint));
        }
        return database(text, state);
    }
    match Reference::parse(text) {
        Ok(reference) => database(reference.resolve(environment)?.expose(), state),
        Err(_) => Err(Wrong::new("is no database").hint(FORMS)),
    }
}

/// What the environment or a secret says. It is not repeated in a fault.
fn database(text: &str, state: &Path) -> Result<Store, Wrong> {
    if is_sqlite(text) {
        return sqlite(text, state);
    }
    if is_postgres(text) {
        return postgres(text).map(|url| Store::Postgres(Secret::new(url)));
    }
    Err(Wrong::new("is no database").hint("\"sqlite:/path/gateway.db\" or \"postgres://…\""))
}

fn is_sqlite(text: &str) -> bool {
    text == "sqlite" || text.starts_with("sqlite:")
}

fn is_postgres(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

fn sqlite(text: &str, state: &Path) -> Result<Store, Wrong> {
    let path = text.strip_prefix("sqlite").and_then(|rest| rest.strip_prefix(':')).unwrap_or_default();
    let path = path.strip_prefix("//").unwrap_or(path);
    if path.contains(":memory:") || path.contains("mode=memory") {
        return Err(Wrong::new("is forgotten when the process ends").hint("\"sqlite\" is a file in server.state"));
    }
    if path.contains('?') {
        return Err(Wrong::new(format!("{} has options", quoted(text))).hint("the path alone: they are set here"));
    }
    // An absolute path stays what it is.
    Ok(Store::Sqlite(state.join(if path.is_empty() { DATABASE_FILE } else { path })))
}

/// A URL that says that the server's certificate is checked, unless the connection does not leave this machine. It is read
/// by the parser that will be used, and said last, where it holds whatever else the URL says.
fn postgres(text: &str) -> Result<String, Wrong> {
    let options = parse(text)?;
    if options.get_socket().is_some() || options.get_host().starts_with('/') {
        return Ok(text.to_owned());
    }
    if text.contains("sslmode=") || text.contains("ssl-mode=") {
        let unchecked =
            || Wrong::new("does not check who the server is").hint("sslmode=verify-full; it is the default");
        return if is_checked(&options) { Ok(text.to_owned()) } else { Err(unchecked()) };
    }
    let url = format!("{text}{}sslmode=verify-full", if text.contains('?') { '&' } else { '?' });
    if is_checked(&parse(&url)?) { Ok(url) } else { Err(not_postgres()) }
}

fn parse(url: &str) -> Result<PgConnectOptions, Wrong> {
    if url.contains('#') {
        return Err(not_postgres());
    }
    url.parse().map_err(|_| not_postgres())
}

fn is_checked(options: &PgConnectOptions) -> bool {
    matches!(options.get_ssl_mode(), PgSslMode::VerifyFull | PgSslMode::VerifyCa)
}

fn not_postgres() -> Wrong {
    Wrong::new("is no postgres:// URL")
        .hint("postgres://user@host/database, or postgres://user@%2Frun%2Fpostgresql/database for a Unix socket")
}
