//! The configuration: the file and the environment in, a checked [`Config`] or every fault at once out.
//!
//! Guarantees: nothing of a doubtful file is used; an unknown key is a fault, so a limit with a misspelt name cannot be
//! silently absent; each fault says where it is, and how to leave it. The process environment is read in
//! [`Environment::from_process`] and nowhere else.
//! Does not: open the files that a certificate is read from, or dial anything.
//! Answers the recipes' silent failure: a key that was never read (`threats.md` §6.1, API8 misconfiguration).
//!
//! ```text
//! text ─► toml with positions ─► raw (a key is asked for once) ─► check (a file a section) ─► Config | Faults
//! ```

mod check;
pub mod environment;
pub mod error;
mod quantity;
mod raw;
pub mod schema;
pub mod secret;
pub mod types;

use std::net::SocketAddr;
use std::path::Path;

use raw::Source;

pub use environment::Environment;
pub use error::{Fault, Faults, Place, Wrong};
pub use types::Config;

/// Bytes of a configuration file at most.
const MAX_FILE: u64 = 1024 * 1024;

/// Reads and checks a file.
///
/// # Errors
/// All faults of the file and of what the environment overrides.
pub fn load(path: &Path, environment: &Environment) -> Result<Config, Faults> {
    let name = path.display().to_string();
    match read(path) {
        Ok(text) => parse(&name, &text, environment),
        Err(wrong) => Err(Faults(vec![Fault::new(Place::File(name), "", wrong)])),
    }
}

/// The references to secrets in a text, whichever keys they stand at; none where it is no TOML.
#[must_use]
pub fn references(text: &str) -> Vec<secret::Reference> {
    let mut found = Vec::new();
    if let Ok(table) = text.parse::<toml::Table>() {
        collect(&toml::Value::Table(table), &mut found);
    }
    found
}

fn collect(value: &toml::Value, found: &mut Vec<secret::Reference>) {
    match value {
        toml::Value::String(text) => found.extend(secret::Reference::parse(text)),
        toml::Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        toml::Value::Table(table) => table.values().for_each(|value| collect(value, found)),
        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) | toml::Value::Datetime(_) => {}
    }
}

/// Checks a text; relative paths in it start from the folder of `file_name`.
///
/// # Errors
/// All faults of the text and of what the environment overrides.
pub fn parse(file_name: &str, text: &str, environment: &Environment) -> Result<Config, Faults> {
    let source = Source::new(file_name, text);
    let config = match source.document() {
        Ok(document) => check::document(source.root(&document), environment),
        Err(faults) => return Err(faults),
    };
    source.into_faults().map_or(Ok(config), Err)
}

/// Whether no public authority signs this name.
pub(crate) fn is_local_name(name: &str) -> bool {
    check::tls::is_local(name)
}

/// The configuration of `try`: this machine only, a certificate made here, the built-in roles and limits.
#[must_use]
pub fn for_trial(state: &Path, upstream: SocketAddr, admin: Option<SocketAddr>) -> Config {
    let source = Source::new("try", "");
    let mut config = check::document(source.nothing(), &Environment::default());
    config.server.names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
    config.server.https = vec![SocketAddr::from(([127, 0, 0, 1], 8443)), SocketAddr::from((TRIAL_V6, 8443))];
    config.server.http = Vec::new();
    config.server.state = state.to_path_buf();
    config.admin.listen = admin;
    config.tls.certificate = types::Certificate::SelfSigned;
    config.tls.acme = None;
    // A browser that trusts this certificate would go to https for every other server on localhost too.
    config.tls.hsts = String::new();
    config.upstream.address = upstream.to_string();
    config.upstream.host = upstream.to_string();
    config.store = types::Store::Sqlite(state.join(check::DATABASE_FILE));
    config
}

const TRIAL_V6: std::net::Ipv6Addr = std::net::Ipv6Addr::LOCALHOST;

fn read(path: &Path) -> Result<String, Wrong> {
    let size = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if size > MAX_FILE {
        return Err(Wrong::new("is larger than 1 MiB").hint("is this the configuration?"));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(&error))
}

fn unreadable(error: &std::io::Error) -> Wrong {
    let wrong = Wrong::new(format!("cannot be read: {}", secret::reason(error)));
    if error.kind() == std::io::ErrorKind::NotFound {
        wrong.hint("`--config FILE` names it; gateway.toml.example is one to start from")
    } else {
        wrong
    }
}
