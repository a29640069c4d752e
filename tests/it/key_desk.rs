//! The desk at which the tests of keys sit: a state folder, a store, and the commands, at a time of their choice.

use ollama_gateway::cli::key::{Console, CreateArguments, IdArgument, KeyCommand, KeyCommandError, KeyContext, run};
use ollama_gateway::config::types;
use ollama_gateway::identity::key_ring::{KeyRefusal, KeyRing, Reload};
use ollama_gateway::identity::keys::PresentedKey;
use ollama_gateway::identity::pepper::Pepper;
use ollama_gateway::store::Store;
use sqlx::ConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

/// A state folder and the store in it.
pub(crate) struct Desk {
    pub(crate) state: PathBuf,
    pub(crate) store: Store,
    _root: tempfile::TempDir,
}

/// What a command printed, and how it ended.
pub(crate) struct Ran {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) result: Result<(), KeyCommandError>,
}

/// Noon, 24 November 2026.
pub(crate) fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_521_600)
}

pub(crate) fn later(seconds: u64) -> SystemTime {
    noon() + Duration::from_secs(seconds)
}

impl Desk {
    pub(crate) async fn new() -> Self {
        Self::with(sqlite("gateway.db")).await
    }

    pub(crate) async fn with(config: types::Store) -> Self {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("state");
        let store = Store::open(&config, &state).await.unwrap();
        Self { state, store, _root: root }
    }

    pub(crate) async fn run_at(&self, now: SystemTime, command: KeyCommand) -> Ran {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let context = KeyContext { store: &self.store, state: &self.state, roles: vec!["admin", "user"], now };
        let result = run(&command, &context, Console { out: &mut out, err: &mut err }).await;
        Ran { out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap(), result: result.map(drop) }
    }

    /// The text of a new key.
    pub(crate) async fn create(&self, expires: Option<&str>) -> String {
        let ran = self.run_at(noon(), create("user", "laptop", expires)).await;
        ran.result.unwrap();
        ran.out.trim_end().to_owned()
    }

    pub(crate) async fn ring(&self) -> KeyRing {
        let pepper = Pepper::open(&self.state, &self.store).await.unwrap();
        KeyRing::load(pepper, &self.store).await.unwrap()
    }

    /// Changes the file behind the gateway's back.
    pub(crate) async fn alter(&self, statement: &'static str) {
        let file = SqliteConnectOptions::new().filename(self.state.join("gateway.db"));
        let mut connection = file.connect().await.unwrap();
        sqlx::query(statement).execute(&mut connection).await.unwrap();
    }

    /// The state of each key as `key list --json` shows it, oldest first.
    pub(crate) async fn states(&self, now: SystemTime) -> Vec<(String, String)> {
        let ran = self.run_at(now, KeyCommand::List { json: true }).await;
        let listed: Vec<serde_json::Value> = serde_json::from_str(&ran.out).unwrap();
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        listed.iter().map(|key| (text(&key["id"]), text(&key["state"]))).collect()
    }
}

pub(crate) fn create(role: &str, name: &str, expires: Option<&str>) -> KeyCommand {
    let expires = expires.map(ToOwned::to_owned);
    KeyCommand::Create(CreateArguments {
        role: role.to_owned(),
        name: name.to_owned(),
        expires,
        honey: false,
        address: vec![],
        model: vec![],
    })
}

pub(crate) fn rotate(id: &str, overlap: &str) -> KeyCommand {
    KeyCommand::Rotate { id: argument(id), overlap: overlap.to_owned() }
}

pub(crate) fn revoke(id: &str) -> KeyCommand {
    KeyCommand::Revoke { id: argument(id) }
}

fn argument(id: &str) -> IdArgument {
    id.parse().unwrap()
}

pub(crate) fn parse(text: &str) -> PresentedKey {
    PresentedKey::parse(text).unwrap()
}

pub(crate) fn id_of(text: &str) -> String {
    parse(text).id().to_string()
}

/// The configuration of a store in a file.
pub(crate) fn sqlite(file: &str) -> types::Store {
    types::Store::Sqlite(file.into())
}

/// A new key opens, a revoked one stops, both within the deadline.
pub(crate) async fn assert_noticed(desk: &Desk, ring: &KeyRing, key: &str, deadline: Duration) {
    let mut reloads = ring.reloads();
    let new = desk.create(None).await;
    assert_eq!(next(&mut reloads, deadline).await.keys, 2);
    assert!(ring.verify(&parse(&new), noon()).is_ok());
    assert!(ring.verify(&parse(key), noon()).is_ok());
    desk.run_at(noon(), revoke(&id_of(key))).await.result.unwrap();
    next(&mut reloads, deadline).await;
    assert_eq!(ring.verify(&parse(key), noon()).unwrap_err(), KeyRefusal::Revoked);
    assert!(ring.verify(&parse(&new), noon()).is_ok());
}

async fn next(reloads: &mut tokio::sync::watch::Receiver<Reload>, deadline: Duration) -> Reload {
    tokio::time::timeout(deadline, reloads.changed()).await.expect("the ring did not notice in time").unwrap();
    *reloads.borrow_and_update()
}

/// What is logged on this thread.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>, Arc<tokio::sync::Notify>);

impl Log {
    pub(crate) fn capture() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let lines = tracing_subscriber::fmt()
            .json()
            .with_max_level(tracing::Level::DEBUG)
            .with_writer(move || writer.clone())
            .finish();
        (log, tracing::subscriber::set_default(lines))
    }

    /// How many events have this name.
    pub(crate) fn count(&self, event: &str) -> usize {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        text.matches(&format!(r#""event":"{event}""#)).count()
    }

    pub(crate) async fn wait_for(&self, event: &str) {
        let seen = async {
            while self.count(event) == 0 {
                self.1.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), seen).await.expect("the event was not logged");
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        self.1.notify_one();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
