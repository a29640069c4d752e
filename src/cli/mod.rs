//! The commands: what an administrator types.
//!
//! Guarantees (scripts rely on them): `--config FILE` everywhere, exit 0 done, 1 failed, 2 wrong usage or configuration;
//! results on standard output, everything else on standard error; no stack traces.

mod arguments;
pub mod audit;
mod backup;
pub mod ban;
pub mod cert;
pub mod check;
mod doctor;
pub mod explain;
mod generated;
pub mod health;
pub mod init;
pub mod key;
mod open;
mod plain_get;
pub mod probe;
mod serve;
mod service_user;
mod temporary_folder;
pub mod token;
mod trial;
pub mod usage;
pub mod user;

pub use arguments::{Arguments, Command, ConfigCommand};
use generated::{completions, man, schema_text};

use crate::config::{Environment, Faults};
use clap::Parser as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

/// Wrong usage, or a configuration with faults.
const WRONG: u8 = 2;

/// Why a command ends without having done what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration.
    #[error("{0}")]
    Configuration(Faults),
    /// The configuration cannot be used.
    #[error(transparent)]
    Policy(#[from] crate::gateway::PolicyFault),
    /// The store.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// The pepper.
    #[error(transparent)]
    Pepper(#[from] crate::identity::pepper::PepperError),
    /// The certificates.
    #[error(transparent)]
    Certificates(#[from] crate::certificates::CertificateFault),
    /// The listeners.
    #[error(transparent)]
    Serve(#[from] crate::server::ServeFault),
    /// The logs.
    #[error(transparent)]
    Logs(#[from] crate::telemetry::logs::LogError),
    /// A new configuration wants what the process gave up.
    #[error(transparent)]
    Sandbox(#[from] crate::server::sandbox::Outside),
    /// A certificate command.
    #[error(transparent)]
    Cert(#[from] cert::CertCommandFault),
    /// A key command.
    #[error(transparent)]
    Key(#[from] key::KeyCommandError),
    /// A ban command.
    #[error(transparent)]
    Ban(#[from] ban::BanCommandError),
    /// The audit log.
    #[error(transparent)]
    AuditLog(#[from] crate::store::private_files::PrivateFileError),
    /// `explain`
    #[error(transparent)]
    Explain(#[from] explain::ExplainError),
    /// An audit command.
    #[error(transparent)]
    Audit(#[from] audit::AuditCommandError),
    /// `usage`
    #[error(transparent)]
    Usage(#[from] usage::UsageCommandError),
    /// A user command.
    #[error(transparent)]
    User(#[from] user::UserCommandError),
    /// A token command.
    #[error(transparent)]
    Token(#[from] token::TokenCommandError),
    /// `init`
    #[error(transparent)]
    Init(#[from] init::InitError),
    /// `backup`, `restore`
    #[error(transparent)]
    Backup(#[from] backup::BackupError),
    /// `health`
    #[error("{0}")]
    Unhealthy(String),
    /// The system.
    #[error("{doing}: {error}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
}

impl CommandError {
    fn exit_code(&self) -> u8 {
        match self {
            Self::Configuration(_) | Self::Policy(_) => WRONG,
            Self::Key(error) => error.exit_code(),
            Self::Ban(error) => error.exit_code(),
            Self::User(error) => error.exit_code(),
            Self::Token(error) => error.exit_code(),
            Self::Audit(error) => error.exit_code(),
            Self::Explain(error) => error.exit_code(),
            Self::Init(init::InitError::NobodyToAsk) => WRONG,
            Self::Store(_)
            | Self::Pepper(_)
            | Self::Certificates(_)
            | Self::Cert(_)
            | Self::Serve(_)
            | Self::Logs(_)
            | Self::AuditLog(_)
            | Self::Sandbox(_)
            | Self::Usage(_)
            | Self::Init(init::InitError::Exists(_))
            | Self::Backup(_)
            | Self::Unhealthy(_)
            | Self::System { .. } => 1,
        }
    }
}

/// Does what the arguments say.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(&arguments) {
        Ok(code) => code,
        Err(error) => {
            tell(&error.to_string());
            ExitCode::from(error.exit_code())
        }
    }
}

fn start(arguments: &Arguments) -> Result<ExitCode, CommandError> {
    // Before there is a thread: what the process gives up, all of its threads give up.
    let serves = matches!(arguments.command, Command::Serve);
    let prepared = serves.then(|| serve::prepare(&arguments.config)).transpose()?;
    let runtime = runtime().map_err(|error| CommandError::System { doing: "starting the runtime", error })?;
    let done = runtime.block_on(run(arguments, prepared));
    // Work that a stop cut off is not waited for.
    runtime.shutdown_background();
    done
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("gateway").build()
}

async fn run(arguments: &Arguments, prepared: Option<serve::Prepared>) -> Result<ExitCode, CommandError> {
    let config = arguments.config.as_path();
    match &arguments.command {
        Command::Serve => match prepared {
            Some(prepared) => Box::pin(serve::run(config, prepared)).await.map(|()| ExitCode::SUCCESS),
            None => Ok(ExitCode::FAILURE),
        },
        Command::Try { port } => Box::pin(trial::run(*port)).await.map(|()| ExitCode::SUCCESS),
        Command::Check { probe: false } => Ok(check_command(config)),
        Command::Check { probe: true } => Box::pin(probe_command(config)).await,
        Command::Ban(command) => ban_command(config, command).await.map(|()| ExitCode::SUCCESS),
        Command::Key(command) => key_command(config, command).await.map(|()| ExitCode::SUCCESS),
        Command::Explain(wanted) => explain_command(config, wanted).await,
        Command::Audit(command) => {
            audit::run(command, &load(config)?, &mut std::io::stdout())?;
            Ok(ExitCode::SUCCESS)
        }
        Command::User(command) => user_command(config, command).await.map(|()| ExitCode::SUCCESS),
        Command::Usage(wanted) => usage_command(config, wanted).await.map(|()| ExitCode::SUCCESS),
        Command::Token(command) => Box::pin(token_command(config, command)).await.map(|()| ExitCode::SUCCESS),
        Command::Init(given) => init::run(config, given).await.map(|()| ExitCode::SUCCESS),
        Command::Config(ConfigCommand::Schema) => print(&schema_text()),
        Command::Completions { shell } => print(&completions(*shell)),
        Command::Man => print(&man()?),
        Command::Backup { file } => backup_command(config, file).await.map(|()| ExitCode::SUCCESS),
        Command::Restore { file } => backup::restore::run(config, file).await.map(|()| ExitCode::SUCCESS),
        Command::Doctor { json } => doctor_command(config, *json).await,
        Command::Cert(command) => cert_command(config, command).await.map(|()| ExitCode::SUCCESS),
        Command::Health => health::run(&load(config)?).await.map(|()| ExitCode::SUCCESS),
    }
}

fn load(config: &Path) -> Result<crate::config::Config, CommandError> {
    crate::config::load(config, &Environment::from_process()).map_err(CommandError::Configuration)
}

/// The configuration, and the store that it names.
async fn opened(file: &Path) -> Result<(crate::config::Config, crate::store::Store), CommandError> {
    let config = load(file)?;
    let store = crate::store::Store::open(&config.store, &config.server.state).await?;
    Ok((config, store))
}

fn check_command(config: &Path) -> ExitCode {
    let report = check::run(config, &Environment::from_process());
    // A closed output is the reader's choice; the exit code stands.
    drop(match &report {
        check::Report::Sound(text) => std::io::stdout().lock().write_all(text.as_bytes()),
        check::Report::Faulty(text) => std::io::stderr().lock().write_all(text.as_bytes()),
    });
    ExitCode::from(report.exit_code())
}

async fn probe_command(file: &Path) -> Result<ExitCode, CommandError> {
    let rows = probe::run(&load(file)?).await?;
    drop(std::io::stdout().lock().write_all(probe::shown(&rows).as_bytes()));
    Ok(if probe::is_well(&rows) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn doctor_command(file: &Path, json: bool) -> Result<ExitCode, CommandError> {
    let findings = doctor::examine(&load(file)?, file, crate::telemetry::clock::now()).await;
    let (text, well) = doctor::report(&findings, json)?;
    drop(std::io::stdout().write_all(text.as_bytes()));
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn key_command(config: &Path, command: &key::KeyCommand) -> Result<(), CommandError> {
    let (config, store) = opened(config).await?;
    let context = key::KeyContext {
        store: &store,
        state: &config.server.state,
        roles: config.roles.keys().map(String::as_str).collect(),
        now: crate::telemetry::clock::now(),
    };
    let accountant = audit::Accountant::open(&config)?;
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let done = key::run(command, &context, key::Console { out: &mut out, err: &mut err }).await;
    if let Some(action) = command.changes() {
        let object = done.as_ref().ok().and_then(Option::as_ref).map(ToString::to_string);
        accountant.record(action, object.as_deref(), &done);
    }
    done?;
    Ok(())
}

async fn ban_command(config: &Path, command: &ban::BanCommand) -> Result<(), CommandError> {
    let (config, store) = opened(config).await?;
    let accountant = audit::Accountant::open(&config)?;
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let console = key::Console { out: &mut out, err: &mut err };
    let done = ban::run(command, &store, crate::telemetry::clock::now(), console).await;
    if let Some((action, who)) = command.changes() {
        accountant.record(action, who.as_deref(), &done);
    }
    Ok(done?)
}

async fn usage_command(config: &Path, wanted: &usage::UsageArguments) -> Result<(), CommandError> {
    let (_, store) = opened(config).await?;
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let console = key::Console { out: &mut out, err: &mut err };
    usage::run(wanted, &store, crate::telemetry::clock::now(), console).await?;
    Ok(())
}

async fn explain_command(config: &Path, wanted: &explain::ExplainArguments) -> Result<ExitCode, CommandError> {
    let (config, store) = opened(config).await?;
    let policy = crate::gateway::Policy::new(config)?;
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let console = key::Console { out: &mut out, err: &mut err };
    let verdict = explain::run(wanted, (&policy, &store), crate::telemetry::clock::now(), console).await?;
    Ok(verdict.exit_code())
}

async fn user_command(config: &Path, command: &user::UserCommand) -> Result<(), CommandError> {
    let (config, store) = opened(config).await?;
    let context = user::UserContext {
        store: &store,
        state: &config.server.state,
        roles: config.roles.keys().map(String::as_str).collect(),
        issuer: config.server.names.first().map_or("ollama-gateway", String::as_str),
        now: crate::telemetry::clock::now(),
    };
    let accountant = audit::Accountant::open(&config)?;
    let (mut out, mut err) = (std::io::stdout(), std::io::stderr());
    let done = user::run(command, &context, key::Console { out: &mut out, err: &mut err }).await;
    if let Some((action, name)) = command.changes() {
        accountant.record(action, Some(name), &done);
    }
    Ok(done?)
}

async fn token_command(config: &Path, command: &token::TokenCommand) -> Result<(), CommandError> {
    let (config, store) = opened(config).await?;
    let accountant = audit::Accountant::open(&config)?;
    let (state, now) = (config.server.state.clone(), crate::telemetry::clock::now());
    let policy = crate::gateway::Policy::new(config)?;
    let context = token::TokenContext { policy: &policy, store: &store, state: &state, now };
    let done = token::run(command, &context, &mut std::io::stderr()).await;
    let (action, object) = command.changes();
    accountant.record(action, object, &done);
    Ok(done?)
}

async fn cert_command(config: &Path, command: &cert::CertCommand) -> Result<(), CommandError> {
    let config = load(config)?;
    let accountant = match command.changes() {
        Some(action) => Some((action, audit::Accountant::open(&config)?)),
        None => None,
    };
    let done = cert::cert(command, &config, crate::telemetry::clock::now, &mut std::io::stdout()).await;
    if let Some((action, accountant)) = accountant {
        accountant.record(action, None, &done);
    }
    Ok(done?)
}

async fn backup_command(file: &Path, to: &Path) -> Result<(), CommandError> {
    let config = load(file)?;
    let accountant = audit::Accountant::open(&config)?;
    let done = backup::write::run(file, &config, to).await;
    accountant.record("backup", to.to_str(), &done);
    done
}

/// Results. A closed output is the reader's choice.
fn print(bytes: &[u8]) -> Result<ExitCode, CommandError> {
    drop(std::io::stdout().lock().write_all(bytes));
    Ok(ExitCode::SUCCESS)
}

/// Says something on standard error.
fn tell(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}
