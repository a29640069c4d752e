//! `try`: the whole gateway on this machine alone, without a configuration.
//!
//! Guarantees: it listens on loopback only; what it makes (certificate, key, store) is in a folder of its own that is
//! removed at the end; the key is printed once; where no Ollama answers, a stand-in does, and says so.

use super::CommandError;
use super::open::open;
use super::serve::stop_signal;
use super::temporary_folder::Folder;
use crate::cli::key::{self, CreateArguments, KeyCommand, KeyContext};
use crate::config::Config;
use crate::config::types::LogFormat;
use crate::console::Console;
use crate::telemetry::{clock, logs};
use crate::{config, demo, server};
use std::io::Write as _;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Where a stock Ollama listens.
const OLLAMA: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 11434);

/// Serves until a stop signal.
pub(super) async fn run(port: u16) -> Result<(), CommandError> {
    let folder = Folder::make("try")?;
    let behind = Behind::find().await?;
    let config = configuration(folder.path(), behind.address(), port);
    logs::init(&config.log)?;
    let bound = server::bind(&config, &server::SocketNames::default())?.into_bound()?;
    let opened = open(config).await?;
    let mut reloads = opened.gateway.keys.reloads();
    let key = make_key(&opened.store, folder.path()).await?;
    // What is printed must work when it is pasted.
    drop(tokio::time::timeout(Duration::from_secs(5), reloads.changed()).await);
    let address = bound.https.first().and_then(|listener| listener.local_addr().ok());
    introduce(&Welcome {
        port: address.map_or(port, |address| address.port()),
        console: bound.admin.as_ref().and_then(|listener| listener.local_addr().ok()),
        certificate: &crate::certificates::self_signed::trust_file(folder.path()),
        key: &key,
        behind: &behind,
    })?;
    let console = Console::new(opened.store.clone(), &opened.gateway.policy().config);
    server::serve(opened.gateway, bound, console, stop_signal()?).await?;
    Ok(())
}

/// What answers behind the gateway.
enum Behind {
    Ollama,
    StandIn(demo::Demo),
}

impl Behind {
    async fn find() -> Result<Self, CommandError> {
        let asked = tokio::time::timeout(Duration::from_secs(2), is_ollama()).await;
        if matches!(asked, Ok(Ok(true))) {
            return Ok(Self::Ollama);
        }
        let demo =
            demo::start().await.map_err(|error| CommandError::System { doing: "starting the stand-in", error })?;
        Ok(Self::StandIn(demo))
    }

    fn address(&self) -> SocketAddr {
        match self {
            Self::Ollama => OLLAMA,
            Self::StandIn(demo) => demo.address,
        }
    }
}

async fn is_ollama() -> std::io::Result<bool> {
    let mut socket = TcpStream::connect(OLLAMA).await?;
    socket.write_all(b"GET /api/version HTTP/1.0\r\nHost: 127.0.0.1:11434\r\n\r\n").await?;
    let mut answer = Vec::new();
    socket.take(4096).read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.contains(" 200 ") && text.contains("\"version\""))
}

fn configuration(folder: &Path, upstream: SocketAddr, port: u16) -> Config {
    let mut config = config::for_trial(folder, upstream, Some(admin(port)));
    config.server.https = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, port))];
    // Machines without IPv6 are tried on too.
    if port != 0 && std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() {
        config.server.https.push(SocketAddr::from((Ipv6Addr::LOCALHOST, port)));
    }
    config.log.format = LogFormat::Text;
    config
}

/// 9443 beside 8443, or any port where that is taken.
fn admin(port: u16) -> SocketAddr {
    let beside = SocketAddr::from((Ipv4Addr::LOCALHOST, port.checked_add(1000).filter(|_| port != 0).unwrap_or(0)));
    if std::net::TcpListener::bind(beside).is_ok() { beside } else { SocketAddr::from((Ipv4Addr::LOCALHOST, 0)) }
}

async fn make_key(store: &crate::store::Store, state: &Path) -> Result<String, CommandError> {
    let wanted = CreateArguments {
        role: "admin".to_owned(),
        name: "try".to_owned(),
        expires: Some("30d".to_owned()),
        honey: false,
        address: Vec::new(),
        model: Vec::new(),
    };
    let context = KeyContext { store, state, roles: vec!["admin"], now: clock::now() };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    key::run(&KeyCommand::Create(wanted), &context, key::Console { out: &mut out, err: &mut err }).await?;
    Ok(String::from_utf8_lossy(&out).trim().to_owned())
}

struct Welcome<'a> {
    port: u16,
    console: Option<SocketAddr>,
    certificate: &'a Path,
    key: &'a str,
    behind: &'a Behind,
}

fn introduce(welcome: &Welcome<'_>) -> Result<(), CommandError> {
    let Welcome { port, key, .. } = welcome;
    let certificate = welcome.certificate.display();
    let (behind, model) = match welcome.behind {
        Behind::Ollama => ("the Ollama on 127.0.0.1:11434".to_owned(), "MODEL"),
        Behind::StandIn(_) => {
            ("a built-in stand-in, since no Ollama answers on 127.0.0.1:11434".to_owned(), demo::MODEL)
        }
    };
    let console = welcome.console.map_or_else(|| "none".to_owned(), |address| format!("http://{address}/console"));
    let text = format!(
        "ollama-gateway serves https://localhost:{port}\n\
         behind it: {behind}\n\
         key (shown once, role admin): {key}\n\
         console, with this key: {console}\n\n\
         Try it:\n\n\
         curl --cacert {certificate} https://localhost:{port}/api/health\n\n\
         curl --cacert {certificate} -H 'Authorization: Bearer {key}' https://localhost:{port}/api/tags\n\n\
         curl --cacert {certificate} -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n  \
         https://localhost:{port}/api/chat -d '{{\"model\":\"{model}\",\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n\n\
         curl --cacert {certificate} -H 'Authorization: Bearer {key}' -H 'Content-Type: application/json' \\\n  \
         https://localhost:{port}/v1/chat/completions \\\n  \
         -d '{{\"model\":\"{model}\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"Hello\"}}]}}'\n\n\
         Without the key, and on routes that the policy does not name, it answers 401, 403 or 404.\n\
         Ctrl-C stops it and removes everything that it made.\n"
    );
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| CommandError::System { doing: "writing to standard output", error })
}
