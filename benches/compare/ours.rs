//! The gateway of a bench: its program, its folder, its keys.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The program that is measured: the one that was built with this bench, or `GATEWAY`.
pub(crate) fn program() -> String {
    std::env::var("GATEWAY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_ollama-gateway").to_owned())
}

/// A state folder, private as it has to be.
pub(crate) fn state(folder: &Path) -> PathBuf {
    let state = folder.join("state");
    fs::create_dir_all(&state).unwrap();
    fs::set_permissions(&state, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    state
}

/// A new key.
pub(crate) fn key(config: &Path, role: &str, name: &str) -> String {
    let mut command = Command::new(program());
    command.args(["key", "create", "--role", role, "--name", name, "--config"]).arg(config);
    let told = command.stderr(Stdio::null()).output().unwrap();
    assert!(told.status.success(), "no key");
    String::from_utf8(told.stdout).unwrap().trim().to_owned()
}

/// Limits that no bench reaches.
pub(crate) const RATE: &str = "{ rate = \"100000/second\", burst = 10000 }";
