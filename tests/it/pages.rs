//! The pages and the units say what is so: the README's configuration loads, its links lead somewhere, it names every
//! security event, and the unit's sandbox is as tight as it was made.

use ollama_gateway::config::types::Challenge;
use ollama_gateway::config::{self, Environment};
use ollama_gateway::telemetry::event::SecurityEvent;
use std::path::Path;
use std::process::Command;

const README: &str = include_str!("../../README.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn the_configuration_of_the_readme_loads() {
    let block = README.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    if let Err(faults) = config::parse("README.md", block, &Environment::default()) {
        panic!("{faults}");
    }
    assert!(block.lines().count() <= 10, "ten lines are promised to be enough");
}

/// What is promised to be ten lines is a configuration.
#[test]
fn the_configuration_of_a_bare_address_loads() {
    let page = std::fs::read_to_string(root().join("docs/bare-ip.md")).unwrap();
    let block = page.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let config =
        config::parse("bare-ip.md", block, &Environment::default()).unwrap_or_else(|faults| panic!("{faults}"));
    let acme = config.tls.acme.expect("from an authority");
    assert_eq!(
        (acme.challenges.as_slice(), acme.profile.as_deref()),
        (&[Challenge::TlsAlpn01][..], Some("shortlived"))
    );
    assert!(block.lines().count() <= 10 && config.server.http.is_empty());
}

#[test]
fn the_links_of_every_page_lead_somewhere() {
    for page in [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CHANGELOG.md",
        "certs/README.md",
        "docs/bare-ip.md",
        "docs/upgrade.md",
    ] {
        let text = std::fs::read_to_string(root().join(page)).unwrap();
        let file = root().join(page);
        let folder = file.parent().unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(link.starts_with("https://") || folder.join(link).exists(), "{page}: {link}");
        }
    }
}

#[test]
fn the_readme_names_every_security_event() {
    let missing = SecurityEvent::ALL.iter().filter(|event| !README.contains(&format!("`{}`", event.name())));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&SecurityEvent>::new());
}

/// Needs `systemd-analyze`, which is part of systemd; there is nothing to check where it is missing.
#[test]
fn the_sandbox_of_the_unit_leaves_little_open() {
    let unit = root().join("systemd/ollama-gateway.service");
    let analyze =
        Command::new("systemd-analyze").args(["security", "--offline=yes", "--threshold=20"]).arg(unit).output();
    if let Ok(output) = analyze {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
