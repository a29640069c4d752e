//! `ollama-gateway audit verify|export`, and the records that commands leave.
//!
//! Guarantees: `verify` names the line of every change, deletion and change of order, exits with 1 where there is one, and
//! prints the last hash, to be kept elsewhere; `export` prints records and nothing else on standard output; a command
//! that changes something opens the log before it does, so none is done in secret (`restore`, which needs an empty folder,
//! once it has filled it).

use super::CommandError;
use crate::config::Config;
use crate::config::types::AuditPolicy;
use crate::store::timestamp::Timestamp;
use crate::telemetry::audit::{self, Act, Audit, Entry};
use crate::telemetry::clock;
use clap::Subcommand;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead as _, BufReader, BufWriter, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Say whether the log is whole: exit 1 and each line at fault where it is not.
    Verify {
        /// Another file than the one in the state folder.
        file: Option<PathBuf>,
        /// The hash that `verify` printed before: it has to be there still.
        #[arg(long, value_name = "HASH")]
        expect: Option<String>,
    },
    /// Print records, one JSON object a line.
    Export {
        /// From this moment on: 2027-01-31T00:00:00Z
        #[arg(long, value_name = "DATE")]
        since: Option<String>,
        /// Before this moment.
        #[arg(long, value_name = "DATE")]
        until: Option<String>,
        /// Of this principal only.
        #[arg(long)]
        principal: Option<String>,
    },
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum AuditCommandError {
    /// The log is not whole.
    #[error("{0}")]
    Broken(String),
    /// A date.
    #[error("{0} is no date such as 2027-01-31T00:00:00Z")]
    Date(String),
    /// The file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The output is closed or full.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl AuditCommandError {
    /// 1: it failed, or the log is not whole; 2: it was asked for wrongly.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Date(_) => 2,
            Self::Broken(_) | Self::File { .. } | Self::Output(_) => 1,
        }
    }
}

/// Does one of them.
///
/// # Errors
/// [`AuditCommandError`]
pub fn run(command: &AuditCommand, state: &Path, out: &mut dyn Write) -> Result<(), AuditCommandError> {
    let own = state.join(audit::FILE);
    match command {
        AuditCommand::Verify { file, expect } => verify(file.as_ref().unwrap_or(&own), expect.as_deref(), out),
        AuditCommand::Export { since, until, principal } => {
            let wanted = Wanted { since: moment(since)?, until: moment(until)?, principal: principal.as_deref() };
            export(&own, &wanted, out)
        }
    }
}

fn open(path: &Path) -> Result<File, AuditCommandError> {
    File::open(path).map_err(|source| AuditCommandError::File { path: path.to_owned(), source })
}

fn verify(path: &Path, expect: Option<&str>, out: &mut dyn Write) -> Result<(), AuditCommandError> {
    let unreadable = |source| AuditCommandError::File { path: path.to_owned(), source };
    let found = audit::verify(open(path)?).map_err(unreadable)?;
    if !found.faults.is_empty() {
        let told: Vec<_> = found.faults.iter().map(|fault| format!("{}: {fault}", path.display())).collect();
        return Err(AuditCommandError::Broken(told.join("\n")));
    }
    if let Some(hash) = expect
        && !holds(path, hash)?
    {
        let text = format!("{}: the record with the hash {hash} is not there any more", path.display());
        return Err(AuditCommandError::Broken(text));
    }
    writeln!(out, "{}: {} records, the chain is whole", path.display(), found.lines)?;
    writeln!(out, "last record {}, hash {}", found.last.seq, found.last.hash)?;
    if found.torn {
        writeln!(out, "after it a record was torn: its process was killed while it wrote")?;
    }
    Ok(())
}

fn holds(path: &Path, hash: &str) -> Result<bool, AuditCommandError> {
    let wanted = format!("{{\"hash\":\"{hash}\",");
    let mut lines = BufReader::new(open(path)?).lines().map_while(Result::ok);
    Ok(lines.any(|line| line.starts_with(&wanted)))
}

struct Wanted<'a> {
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    principal: Option<&'a str>,
}

impl Wanted<'_> {
    fn is_met(&self, record: &Value) -> bool {
        let at = record.get("time").and_then(Value::as_str).and_then(Timestamp::parse_rfc3339);
        let within = self.since.is_none_or(|since| at.is_some_and(|at| at >= since))
            && self.until.is_none_or(|until| at.is_some_and(|at| at < until));
        within && self.principal.is_none_or(|name| record.get("principal").and_then(Value::as_str) == Some(name))
    }
}

fn moment(text: &Option<String>) -> Result<Option<Timestamp>, AuditCommandError> {
    let Some(text) = text else { return Ok(None) };
    Timestamp::parse_rfc3339(text).map(Some).ok_or_else(|| AuditCommandError::Date(text.clone()))
}

fn export(path: &Path, wanted: &Wanted<'_>, out: &mut dyn Write) -> Result<(), AuditCommandError> {
    let mut out = BufWriter::new(out);
    for line in BufReader::new(open(path)?).lines() {
        let line = line.map_err(|source| AuditCommandError::File { path: path.to_owned(), source })?;
        if serde_json::from_str(&line).is_ok_and(|record| wanted.is_met(&record)) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(out.flush()?)
}

/// The log as commands write it.
pub(super) struct Accountant(Option<Audit>);

impl Accountant {
    pub(super) fn open(config: &Config) -> Result<Self, CommandError> {
        Ok(Self(match config.audit {
            AuditPolicy::Off => None,
            AuditPolicy::On | AuditPolicy::WithPromptHash => Some(Audit::open(&config.server.state, None)?),
        }))
    }

    /// Records what was done, or that it failed.
    pub(super) fn record<T, E: std::fmt::Display>(&self, action: &str, object: Option<&str>, done: &Result<T, E>) {
        let Some(audit) = &self.0 else { return };
        let (who, error) = (operator(), done.as_ref().err().map(ToString::to_string));
        let outcome = if error.is_some() { "failed" } else { "completed" };
        let entry = Entry {
            principal: Some(&who),
            action: Some(action),
            object,
            detail: error.as_deref(),
            outcome: Some(outcome),
            ..Entry::act(Act::Administration)
        };
        audit.record(&entry, clock::now());
        // What an administrator did outlives a power cut.
        drop(audit.sync_now());
    }
}

/// Who types: the operating system's user.
fn operator() -> String {
    std::fs::metadata("/proc/self").map_or_else(|_| "operator".to_owned(), |own| format!("uid:{}", own.uid()))
}
