//! The rules: what each key may be, what it is where it is not written, and what does not go together.
//!
//! Guarantees: every section is read, whatever is wrong with another; what comes out is used only where nothing was noted.
//! A limit that can never be reached is a fault, since somebody counts on it.

mod address;
mod audit;
mod auth;
mod bans;
mod budgets;
mod client;
mod console;
mod cors;
mod limits;
mod models;
mod origin;
mod queue;
mod roles;
mod server;
mod store;
pub(super) mod tls;
mod traces;
mod upstream;
mod validation;

use std::sync::Arc;

use super::Environment;
use super::error::Wrong;
use super::quantity::quoted;
use super::raw::Section;
use super::types::{Config, Log, LogFormat, Usage};

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 60 * 60);

pub(super) use store::DATABASE_FILE;

/// Reads the whole file.
pub(super) fn document(mut root: Section<'_>, environment: &Environment) -> Config {
    let mut admin = root.section("admin");
    let (server, listeners) = server::listeners(root.section("server"), &mut admin);
    let upstream = upstream::upstream(root.section("upstream"));
    let cors = cors::cors(root.section("cors"), environment);
    let limits = limits::limits(root.section("limits"), &server, environment);
    let bans = bans::bans(root.section("bans"));
    let queue = queue::queue(root.section("queue"));
    let models = models::models(root.section("models"));
    let validation = validation::validation(root.section("validation"));
    let roles = roles::roles(root.section("roles"));
    let tls = tls::tls(root.section("tls"), (&server, &roles), environment);
    let admin = console::admin(admin, listeners, &roles, environment);
    let auth = auth::auth(root.section("auth"), (&server, &roles), environment);
    let store = store::store(root.section("store"), &server.state, environment);
    let log = log(root.section("log"));
    let traces = traces::traces(root.section("traces"), environment);
    let usage = usage(root.section("usage"));
    let audit = audit::audit(root.section("audit"));
    let roles = roles.into_iter().map(|(name, role)| (name, Arc::new(role))).collect();
    Config {
        server,
        admin,
        tls,
        upstream,
        cors,
        limits,
        queue,
        models,
        bans,
        auth,
        roles,
        validation,
        store,
        log,
        audit,
        usage,
        traces,
    }
}

fn usage(mut usage: Section<'_>) -> Usage {
    let retention = usage.duration("retention", 400 * DAY, 36_500 * DAY);
    if !retention.as_secs().is_multiple_of(DAY.as_secs()) {
        usage.fault_of("retention", Wrong::new("is no number of whole days").hint("\"400d\""));
    }
    Usage { retention }
}

fn log(mut log: Section<'_>) -> Log {
    let format = log.choice("format", &[("json", LogFormat::Json), ("text", LogFormat::Text)], LogFormat::Json);
    let level = log.read("level", "info".to_owned(), |item| {
        let text = item.text()?;
        let malformed = Wrong::new(format!("{} is no log filter", quoted(text)));
        if is_filter(text) {
            Ok(text.to_owned())
        } else {
            Err(malformed.hint("\"info\", or \"info,ollama_gateway::server=debug\""))
        }
    });
    Log { format, level }
}

/// A level, then others for single modules. The filter's own parser takes any other word for a module that is to be
/// shown, and shows nothing else: a misspelt level would switch the log off.
fn is_filter(text: &str) -> bool {
    let level = |text: &str| matches!(text, "error" | "warn" | "info" | "debug" | "trace");
    let module =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':'));
    let directive = |text: &str| text.split_once('=').is_some_and(|(name, its)| module(name) && level(its));
    let mut parts = text.split(',');
    parts.next().is_some_and(level) && parts.all(directive)
}
