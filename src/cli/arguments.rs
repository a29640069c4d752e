//! What may be typed.

use super::audit::AuditCommand;
use super::ban::BanCommand;
use super::cert::CertCommand;
use super::explain::ExplainArguments;
use super::init::InitArguments;
use super::key::KeyCommand;
use super::token::TokenCommand;
use super::usage::UsageArguments;
use super::user::UserCommand;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// The front door of an Ollama server: TLS, keys, roles, limits, in one program and one file.
#[derive(Debug, Parser)]
#[command(name = "ollama-gateway", version, about, max_term_width = 100)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/ollama-gateway/gateway.toml")]
    pub config: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What is asked about the configuration file.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print its JSON schema, for editors.
    Schema,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve on this machine alone, without a configuration, with a key made for it.
    Try {
        /// The HTTPS port.
        #[arg(long, default_value_t = 8443)]
        port: u16,
    },
    /// Write a configuration and make the first key: asks a few questions.
    Init(InitArguments),
    /// Serve by the configuration.
    Serve,
    /// Say everything that is wrong with a configuration, or what it means.
    Check {
        /// Send requests through a gateway made from it in this process, for every role, route, limit, budget and guard,
        /// and print what fired. Exit 1 where a limit does not, or cannot. Ollama, the store and certificates are not
        /// touched; it takes some seconds.
        #[arg(long)]
        probe: bool,
    },
    /// Make, list, replace and take back API keys.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Refuse addresses, networks, keys and users for a while, list that, and lift it.
    #[command(subcommand)]
    Ban(BanCommand),
    /// Make, change, lock and remove users, who sign in with a password.
    #[command(subcommand)]
    User(UserCommand),
    /// Take tokens of users back.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Say what the policy would do with a request, stage by stage, and print what Ollama would get. Nothing is sent.
    Explain(ExplainArguments),
    /// Show what callers used: requests, tokens, Ollama's time.
    Usage(UsageArguments),
    /// Check and print the audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Look at this machine: is Ollama reachable beside the gateway, is it up to date, are files and names in order?
    Doctor {
        /// One JSON array, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Say how the certificate stands, or obtain one.
    #[command(subcommand)]
    Cert(CertCommand),
    /// Write everything that cannot be made anew (keys, pepper, certificates, configuration) to one file, while it runs.
    Backup {
        /// A file that is not there yet. It is secret.
        file: PathBuf,
    },
    /// Put a backup into an empty state folder.
    Restore {
        /// What `backup` wrote.
        file: PathBuf,
    },
    /// What there is to know about the configuration file.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print what a shell needs to complete commands: `ollama-gateway completions bash`.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page.
    #[command(hide = true)]
    Man,
    /// Ask the running gateway whether it is alive: exit 0 if it is.
    Health,
}
