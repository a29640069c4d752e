//! Whether the running gateway confined itself: its own word, from the admin listener.

use super::{DEADLINE, Finding};
use crate::cli::plain_get::get;
use crate::config::types::{Config, Sandbox};

const CHECK: &str = "confinement";
const PARTS: [&str; 3] = ["files", "system_calls", "capabilities"];

/// Asks it, where it runs.
pub(super) async fn look(config: &Config) -> Vec<Finding> {
    if config.server.sandbox == Sandbox::Off {
        let found = "server.sandbox is false: the gateway gives nothing up by itself";
        return vec![Finding::warning(CHECK, found, "take it out, unless the unit or the container confines it")];
    }
    let Some(address) = config.admin.listen else { return Vec::new() };
    let Ok(answer) = get(address, "/metrics", DEADLINE).await else { return Vec::new() };
    let series = |part: &str| format!("ollama_gateway_confined{{part=\"{part}\"}} 1");
    let missing: Vec<_> = PARTS.into_iter().filter(|part| !answer.body.contains(&series(part))).collect();
    if missing.is_empty() {
        return vec![Finding::ok(CHECK, "the running gateway gave up files, system calls and capabilities")];
    }
    let found = format!("the running gateway is not confined in: {}", missing.join(", "));
    let remedy =
        "files need Linux 5.13 with Landlock, and a configuration without commands; run it by the unit in systemd/";
    vec![Finding::warning(CHECK, found, remedy)]
}
