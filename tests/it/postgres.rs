//! The same promises on PostgreSQL, on a real server that the test starts for itself and stops again.
//!
//! Without PostgreSQL the test fails, it is not skipped; root installs Debian's package.

use crate::accounts::accounts_are_kept;
use crate::key_desk::{Desk, assert_noticed, create, id_of, noon, parse, rotate};
use ollama_gateway::config::secret::Secret;
use ollama_gateway::config::types;
use ollama_gateway::identity::key_ring::{KeyRefusal, KeyRing};
use ollama_gateway::identity::pepper::{Pepper, PepperError};
use ollama_gateway::store::{Store, StoreError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sqlx::Connection;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

/// A server of its own: a unix socket in its folder, and TLS on a free port of `localhost`.
struct Cluster {
    folder: tempfile::TempDir,
    programs: PathBuf,
    port: u16,
}

impl Cluster {
    fn start() -> Self {
        // The path of a unix socket has 107 characters at most: not below a deep TMPDIR.
        let folder = tempfile::Builder::new().prefix("ogw-pg-").tempdir_in("/tmp").unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let cluster = Self { folder, programs: programs(), port };
        cluster.write_certificates();
        if is_root() {
            // PostgreSQL does not run as root.
            done(Command::new("chown").args(["-R", "postgres:"]).arg(cluster.folder.path()));
        }
        done(
            cluster
                .program("initdb")
                .args(["--auth=trust", "--username=postgres", "--no-sync", "--pgdata"])
                .arg(cluster.data()),
        );
        done(
            cluster
                .program("pg_ctl")
                .args(["start", "--wait", "--options", &cluster.options(), "--log"])
                .arg(cluster.folder.path().join("log"))
                .arg("--pgdata")
                .arg(cluster.data()),
        );
        cluster
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn options(&self) -> String {
        let folder = self.folder.path().display();
        format!(
            "-c listen_addresses=127.0.0.1 -p {} -k {folder} -c fsync=off -c ssl=on -c ssl_cert_file={folder}/leaf.pem \
             -c ssl_key_file={folder}/leaf.key",
            self.port
        )
    }

    /// An authority that nobody knows, and the server's certificate for `localhost` by it.
    fn write_certificates(&self) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
        let folder = self.folder.path();
        std::fs::write(folder.join("authority.pem"), authority.pem()).unwrap();
        std::fs::write(folder.join("leaf.pem"), leaf.pem()).unwrap();
        std::fs::write(folder.join("leaf.key"), key.serialize_pem()).unwrap();
        std::fs::set_permissions(folder.join("leaf.key"), PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// A PostgreSQL program, as the user that it insists on.
    fn program(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let mut command = if is_root() { Command::new("runuser") } else { Command::new(&path) };
        if is_root() {
            command.args(["-u", "postgres", "--"]).arg(path);
        }
        command.current_dir("/");
        command
    }

    fn by_socket(&self, database: &str) -> String {
        let folder = self.folder.path().display();
        format!("postgres:///{database}?user=postgres&port={}&host={folder}", self.port)
    }

    fn by_tcp(&self, host: &str, parameters: &str) -> types::Store {
        url(format!("postgres://postgres@{host}:{}/postgres{parameters}", self.port))
    }

    /// A new, empty database.
    async fn database(&self, name: &str) -> types::Store {
        let mut connection = sqlx::PgConnection::connect(&self.by_socket("postgres")).await.unwrap();
        let statement = sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"));
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        url(self.by_socket(name))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let stopped = self.program("pg_ctl").args(["stop", "--mode=immediate", "--pgdata"]).arg(self.data()).output();
        assert!(std::thread::panicking() || stopped.is_ok(), "the server was not stopped");
    }
}

fn url(text: String) -> types::Store {
    types::Store::Postgres(Secret::new(text))
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|me| std::os::unix::fs::MetadataExt::uid(&me) == 0)
}

/// Where `initdb` and `pg_ctl` are; Debian does not put them on the path.
fn programs() -> PathBuf {
    if find().is_none() && is_root() {
        done(Command::new("apt-get").args(["install", "-y", "postgresql"]).env("DEBIAN_FRONTEND", "noninteractive"));
    }
    find().expect("PostgreSQL is missing: apt-get install postgresql (needs initdb and pg_ctl)")
}

fn find() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let debian = versions.map(|version| version.path().join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    debian.chain(std::env::split_paths(&path)).find(|folder| is_complete(folder))
}

fn is_complete(folder: &Path) -> bool {
    folder.join("initdb").is_file() && folder.join("pg_ctl").is_file()
}

fn done(command: &mut Command) {
    let status = command.stdout(std::process::Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_keeps_the_same_promises() {
    let cluster = Cluster::start();
    keys_are_made_rotated_and_noticed(&cluster.database("notices").await).await;
    accounts_are_kept(&Desk::with(cluster.database("accounts").await).await.store).await;
    gateways_take_turns(&cluster.database("turns").await).await;
    a_second_gateway_needs_the_same_pepper(&cluster.database("peppers").await).await;
    a_newer_schema_is_refused(&cluster, "newer").await;
    tcp_is_verified(&cluster).await;
    a_ring_outlives_its_server(cluster).await;
}

async fn keys_are_made_rotated_and_noticed(config: &types::Store) {
    let desk = Desk::with(config.clone()).await;
    let key = desk.create(None).await;
    let ring = Arc::new(desk.ring().await);
    let (watching, other) = (Arc::clone(&ring), Store::open(config, &desk.state).await.unwrap());
    let task = tokio::spawn(async move { watching.watch(other).await });
    assert_noticed(&desk, &ring, &key, Duration::from_secs(1)).await;
    task.abort();
    let active = desk.create(None).await;
    desk.run_at(noon(), rotate(&id_of(&active), "0s")).await.result.unwrap();
    assert_eq!(desk.run_at(noon(), rotate(&id_of(&active), "0s")).await.result.unwrap_err().exit_code(), 1);
    let ring = desk.ring().await;
    assert_eq!(ring.len(), 4);
    assert_eq!(ring.verify(&parse(&active), noon()).unwrap_err(), KeyRefusal::Expired);
}

async fn gateways_take_turns(config: &types::Store) {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    // Both migrate an empty database.
    let (one, two) = tokio::join!(Store::open(config, &state), Store::open(config, &state));
    let desk = Desk::with(config.clone()).await;
    drop((one.unwrap(), two.unwrap()));
    let desk = Arc::new(desk);
    desk.create(None).await;
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let desk = Arc::clone(&desk);
        writers.spawn(async move { desk.run_at(noon(), create("user", "w", None)).await.result.unwrap() });
    }
    writers.join_all().await;
    assert_eq!(desk.ring().await.len(), 9);
}

async fn a_second_gateway_needs_the_same_pepper(config: &types::Store) {
    let (first, second) = (Desk::with(config.clone()).await, Desk::with(config.clone()).await);
    let key = first.create(None).await;
    let error = Pepper::open(&second.state, &second.store).await.unwrap_err();
    assert!(matches!(error, PepperError::Missing { .. }), "{error}");
    std::fs::copy(first.state.join("pepper"), second.state.join("pepper")).unwrap();
    assert!(second.ring().await.verify(&parse(&key), noon()).is_ok());
}

async fn a_newer_schema_is_refused(cluster: &Cluster, name: &str) {
    let config = cluster.database(name).await;
    let desk = Desk::with(config.clone()).await;
    let mut connection = sqlx::PgConnection::connect(&cluster.by_socket(name)).await.unwrap();
    let row = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
               VALUES (9000, 'from the future', TRUE, '', 0)";
    sqlx::query(row).execute(&mut connection).await.unwrap();
    let error = Store::open(&config, &desk.state).await.unwrap_err();
    assert!(matches!(error, StoreError::Newer { version: 9000, .. }), "{error}");
}

async fn tcp_is_verified(cluster: &Cluster) {
    let root = tempfile::tempdir().unwrap();
    let state = root.path().join("state");
    let authority = format!("?sslrootcert={}/authority.pem", cluster.folder.path().display());
    Store::open(&cluster.by_tcp("localhost", &authority), &state).await.unwrap();
    for (host, parameters, what) in [
        ("localhost", "", "an authority that nobody knows"),
        ("localhost", "?sslmode=disable", "plain text"),
        ("127.0.0.1", authority.as_str(), "another name"),
    ] {
        let error = Store::open(&cluster.by_tcp(host, parameters), &state).await.expect_err(what);
        assert!(error.to_string().contains("sslrootcert=FILE"), "{what}: {error}");
    }
}

async fn a_ring_outlives_its_server(cluster: Cluster) {
    let desk = Desk::with(cluster.database("outlived").await).await;
    let key = desk.create(None).await;
    let ring: KeyRing = desk.ring().await;
    drop(cluster);
    let error = desk.store.keys_since(ollama_gateway::store::Revision::START).await.unwrap_err();
    assert!(!error.to_string().contains("postgres://"), "{error}");
    assert!(tokio::time::timeout(Duration::from_millis(100), ring.watch(desk.store.clone())).await.is_err());
    assert!(ring.verify(&parse(&key), noon()).is_ok());
}
