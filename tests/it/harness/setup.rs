//! The configuration of one test's gateway, and the folder it lives in.

use super::{DEADLINE, Gateway, Ollama, package_file, within};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use tempfile::TempDir;
use tokio::process::Command;

/// A gateway that is not started yet: sections and their lines.
///
/// What is there at first: two names, HTTPS on a port of the system's choice, a certificate made here, the stand-in as
/// upstream, the roles `user` and `admin` for all models, and limits that no test meets by accident. Clones share the
/// folder.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    folder: Arc<TempDir>,
    sections: BTreeMap<String, BTreeMap<String, String>>,
    environment: Vec<(String, String)>,
}

impl Setup {
    /// In front of this stand-in.
    pub(crate) fn before(ollama: &Ollama) -> Self {
        Self::before_address(ollama.address)
    }

    /// In front of any address.
    pub(crate) fn before_address(upstream: SocketAddr) -> Self {
        let folder = Arc::new(TempDir::new().unwrap());
        let state = folder.path().join("state");
        make_private(&state);
        let mut setup = Self { folder, sections: BTreeMap::new(), environment: Vec::new() };
        for (section, key, value) in [
            ("server", "names", "[\"localhost\", \"127.0.0.1\"]".to_owned()),
            ("server", "https", "[\"127.0.0.1:0\"]".to_owned()),
            ("server", "http", "[]".to_owned()),
            ("server", "state", format!("{:?}", state.display().to_string())),
            ("admin", "listen", "\"127.0.0.1:0\"".to_owned()),
            ("tls", "certificate", "\"self-signed\"".to_owned()),
            ("upstream", "url", format!("\"http://{upstream}\"")),
            ("limits", "general", "{ rate = \"100000/second\", burst = 10000 }".to_owned()),
            ("limits", "chat", "{ rate = \"100000/second\", burst = 10000 }".to_owned()),
            ("limits", "health", "{ rate = \"100000/second\", burst = 10000 }".to_owned()),
            ("limits", "authentication_failures", "{ rate = \"100000/second\", burst = 10000 }".to_owned()),
            ("bans", "failures", "\"off\"".to_owned()),
            ("bans", "unknown_routes", "\"off\"".to_owned()),
            ("queue", "slots", "1000".to_owned()),
            ("roles.user", "endpoints", "[\"inference\", \"catalogue\"]".to_owned()),
            ("roles.user", "models", "[\"*\"]".to_owned()),
            ("roles.admin", "endpoints", "[\"inference\", \"catalogue\", \"management\", \"egress\"]".to_owned()),
            ("roles.admin", "models", "[\"*\"]".to_owned()),
        ] {
            setup.put(section, key, &value);
        }
        setup
    }

    /// Sets a key of a section to a value, written as TOML.
    pub(crate) fn set(mut self, section: &str, key: &str, toml: &str) -> Self {
        self.put(section, key, toml);
        self
    }

    /// Takes a key out.
    pub(crate) fn unset(mut self, section: &str, key: &str) -> Self {
        if let Some(keys) = self.sections.get_mut(section) {
            keys.remove(key);
        }
        self
    }

    /// A variable of the environment that the gateway is started with.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Serves plain HTTP too.
    pub(crate) fn with_http(self) -> Self {
        self.set("server", "http", "[\"127.0.0.1:0\"]")
    }

    /// Sets a key in place: for a reload.
    pub(crate) fn put(&mut self, section: &str, key: &str, toml: &str) {
        self.sections.entry(section.to_owned()).or_default().insert(key.to_owned(), toml.to_owned());
    }

    /// The file as it would be written now.
    pub(crate) fn toml(&self) -> String {
        let mut toml = String::new();
        for (section, keys) in &self.sections {
            toml.push_str(&format!("[{section}]\n"));
            for (key, value) in keys {
                toml.push_str(&format!("{key} = {value}\n"));
            }
            toml.push('\n');
        }
        toml
    }

    /// Writes the file.
    pub(crate) fn write(&self) {
        std::fs::write(self.config(), self.toml()).unwrap();
    }

    /// The path of the file.
    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("gateway.toml")
    }

    /// The state folder.
    pub(crate) fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// Any other file of the test's folder.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command of the binary with this configuration to its end: exit code, standard output, standard error.
    pub(crate) async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        self.write();
        let output = within("a command of the binary", self.command(arguments).output()).await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
    }

    /// A new key of this role, made by the real command.
    pub(crate) async fn key(&self, role: &str) -> String {
        self.key_with(role, &[]).await
    }

    /// The same with further arguments.
    pub(crate) async fn key_with(&self, role: &str, more: &[&str]) -> String {
        let name = format!("{role}-of-a-test");
        let mut arguments = vec!["key", "create", "--role", role, "--name", &name];
        arguments.extend_from_slice(more);
        let (code, stdout, stderr) = self.run(&arguments).await;
        assert_eq!(code, 0, "key create failed: {stderr}");
        let key = stdout.strip_suffix('\n').expect("a line");
        assert!(!key.is_empty() && !key.contains(char::is_whitespace), "not the key alone: {stdout:?}");
        key.to_owned()
    }

    /// Starts it and waits until it serves.
    pub(crate) async fn start(self) -> Gateway {
        self.write();
        Gateway::start(self).await
    }

    /// A command of the binary with this configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ollama-gateway"));
        command.args(arguments).arg("--config").arg(self.config()).current_dir(self.folder.path());
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command
    }
}

/// The longest that any test waits for the start.
pub(crate) const START: std::time::Duration = DEADLINE;

fn make_private(folder: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(folder).unwrap();
}

/// The clients' scripts of the package.
pub(crate) fn clients(name: &str) -> PathBuf {
    package_file("tests/clients").join(name)
}
