//! `check`: all faults of a configuration, or what it says in short.
//!
//! Guarantees: reads only; the summary holds no secret.
//! Does not: dial Ollama, the database or a certificate authority, nor open certificate files.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

use crate::config::types::{Anonymous, Certificate, Config, EndpointSet, Role, Store};
use crate::config::{self, Environment};
use crate::ollama::endpoint::{Class, Endpoint};

/// What the command says, where, and how it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Report {
    /// For standard output; exit code 0.
    Sound(String),
    /// For standard error; exit code 2.
    Faulty(String),
}

impl Report {
    /// The exit code of the process.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Sound(_) => 0,
            Self::Faulty(_) => 2,
        }
    }
}

/// Checks the file of this path with this environment.
#[must_use]
pub fn run(path: &Path, environment: &Environment) -> Report {
    match config::load(path, environment) {
        Ok(config) => Report::Sound(format!("{}: ok\n{}", path.display(), summary(&config))),
        Err(faults) => Report::Faulty(format!("{faults}\n")),
    }
}

/// The policy in a few lines: what is served where, and who may call what.
fn summary(config: &Config) -> String {
    let optional =
        |address: Option<SocketAddr>| address.map_or_else(|| "off".to_owned(), |address| address.to_string());
    let lines = [
        ("names", config.server.names.join(", ")),
        ("https", listeners(&config.server.https)),
        ("http", listeners(&config.server.http)),
        ("admin", optional(config.admin.listen)),
        ("metrics", optional(config.admin.metrics)),
        ("certificate", certificate(config)),
        ("upstream", format!("http://{}", config.upstream.address)),
        ("store", store(&config.store)),
        ("origins", if config.cors.origins.is_empty() { "none".to_owned() } else { config.cors.origins.join(", ") }),
        ("anonymous", anonymous(config.auth.anonymous).to_owned()),
    ];
    let mut text = String::new();
    for (name, value) in lines.into_iter().chain(config.roles.values().map(|role| ("role", described(role)))) {
        // Writing to a string cannot fail.
        writeln!(text, "  {name:<12}{value}").unwrap_or_default();
    }
    text
}

fn listeners(addresses: &[SocketAddr]) -> String {
    if addresses.is_empty() {
        return "off".to_owned();
    }
    addresses.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(", ")
}

fn certificate(config: &Config) -> String {
    match (&config.tls.certificate, &config.tls.acme) {
        (Certificate::Acme, Some(acme)) => format!("ordered from {}", acme.directory),
        (Certificate::Acme, None) => "ordered".to_owned(),
        (Certificate::SelfSigned, _) => "self-signed".to_owned(),
        (Certificate::Files(files), _) => {
            files.iter().map(|files| files.chain.display().to_string()).collect::<Vec<_>>().join(", ")
        }
    }
}

fn store(store: &Store) -> String {
    match store {
        Store::Sqlite(path) => format!("sqlite, {}", path.display()),
        Store::Postgres(_) => "postgres".to_owned(),
    }
}

const fn anonymous(anonymous: Anonymous) -> &'static str {
    match anonymous {
        Anonymous::Deny => "refused",
        Anonymous::Allow => "served without a key, as the role anonymous",
    }
}

fn described(role: &Role) -> String {
    let mut text = format!("{} may call {}", role.name, callable(role.endpoints).join(", "));
    if !role.addresses.is_empty() {
        let addresses: Vec<_> = role.addresses.iter().map(ToString::to_string).collect();
        text = format!("{text}, from {}", addresses.join(", "));
    }
    text
}

/// Classes that are complete by their name, endpoints of the others by theirs.
fn callable(endpoints: EndpointSet) -> Vec<&'static str> {
    let classes = [
        (Class::Inference, "inference"),
        (Class::Catalogue, "catalogue"),
        (Class::Management, "management"),
        (Class::Egress, "egress"),
    ];
    let complete =
        |class: Class| Endpoint::ALL.iter().filter(|e| e.facts().class == class).all(|e| endpoints.contains(*e));
    let whole: Vec<_> = classes.into_iter().filter(|(class, _)| complete(*class)).collect();
    let named = |class: Class| class == Class::Public || whole.iter().any(|(complete, _)| *complete == class);
    let single: BTreeSet<_> = Endpoint::ALL
        .into_iter()
        .filter(|endpoint| endpoints.contains(*endpoint))
        .map(Endpoint::facts)
        .filter(|facts| !named(facts.class))
        .map(|facts| facts.name)
        .collect();
    whole.into_iter().map(|(_, name)| name).chain(single).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(text: &str) -> Report {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gateway.toml");
        std::fs::write(&path, text).unwrap();
        run(&path, &Environment::default())
    }

    #[test]
    fn a_sound_file_is_summed_up() {
        let text = "[server]\nnames = [\"ai.example.org\"]\n[roles.chat]\nendpoints = [\"chat\", \"catalogue\"]\n\
                    models = [\"qwen3:8b\"]\naddresses = [\"10.0.0.0/8\"]\n";
        let Report::Sound(text) = report(text) else { panic!("faulty") };
        assert!(text.contains("gateway.toml: ok\n  names       ai.example.org\n"), "{text}");
        assert!(text.contains("role        admin may call inference, catalogue, management\n"), "{text}");
        assert!(text.contains("role        chat may call catalogue, chat, from 10.0.0.0/8\n"), "{text}");
    }

    #[test]
    fn a_faulty_file_exits_with_2() {
        let report = report("[servers]\n");
        assert_eq!(report.exit_code(), 2);
        let Report::Faulty(text) = report else { panic!("sound") };
        assert!(text.contains("gateway.toml:1:2: servers: is not a key of this table"), "{text}");
    }
}
