//! `ollama-gateway audit verify|export|rotate`, and the records that commands leave.
//!
//! Guarantees: `verify` names the file and line of every change, deletion and change of order, exits with 1 where there is
//! one, and prints the last hash, to be kept elsewhere; `export` prints records and nothing else on standard output; both
//! read all files of the log as it is at one moment; a command
//! that changes something opens the log before it does, so none is done in secret (`restore`, which needs an empty folder,
//! once it has filled it).

use crate::config::Config;
use crate::config::types::AuditPolicy;
use crate::store::private_files::PrivateFileError;
use crate::store::timestamp::Timestamp;
use crate::telemetry::audit::{self, Act, Audit, Content, Entry, Files, Verified};
use crate::telemetry::clock;
use clap::Subcommand;
use serde_json::Value;
use std::convert::Infallible;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What can be done with the audit log.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// Say whether the log is whole: exit 1 and each line at fault where it is not.
    Verify {
        /// Other files than those in the state folder, oldest first.
        files: Vec<PathBuf>,
        /// The hash that `verify` printed before: it has to be there still.
        #[arg(long, value_name = "HASH")]
        expect: Option<String>,
    },
    /// Print records of all files, one JSON object a line.
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
    /// Close the file that is written and begin another; delete those whose time is over.
    Rotate,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum AuditCommandError {
    /// The log is not whole.
    #[error("{0}")]
    Broken(String),
    /// There is no log.
    #[error("audit.enabled is false: there is no file to close")]
    Off,
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] PrivateFileError),
    /// A date.
    #[error("{0} is no date such as 2027-01-31T00:00:00Z")]
    Date(String),
    /// The file.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The output is closed or full.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl AuditCommandError {
    /// 1: it failed, or the log is not whole; 2: it was asked for wrongly.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Date(_) => 2,
            Self::Broken(_) | Self::Off | Self::Log(_) | Self::File { .. } | Self::Output(_) => 1,
        }
    }
}

/// Does one of them.
///
/// # Errors
/// [`AuditCommandError`]
pub fn run(command: &AuditCommand, config: &Config, out: &mut dyn Write) -> Result<(), AuditCommandError> {
    let state = &config.server.state;
    match command {
        AuditCommand::Verify { files, expect } => {
            let log = if files.is_empty() { Log::own(state)? } else { Log::named(files) };
            verify(log, expect.as_deref(), out)
        }
        AuditCommand::Export { since, until, principal } => {
            let wanted = Wanted { since: moment(since)?, until: moment(until)?, principal: principal.as_deref() };
            export(Log::own(state)?, &wanted, out)
        }
        AuditCommand::Rotate => rotate(config, out),
    }
}

/// Files in the order of their records.
struct Log {
    /// What they are called together.
    name: PathBuf,
    contents: Box<dyn Iterator<Item = Content>>,
    extent: Extent,
}

/// Whether there is nothing else of it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    Whole,
    Part,
}

impl Log {
    fn own(state: &Path) -> Result<Self, AuditCommandError> {
        let name = state.join(audit::FILE);
        let files = Files::of(state).map_err(file_fault(&name))?;
        Ok(Self { name, contents: Box::new(files.contents()), extent: Extent::Whole })
    }

    fn named(files: &[PathBuf]) -> Self {
        let opened = |path: &PathBuf| -> Content {
            let file = File::open(path).map(|file| Box::new(file) as Box<dyn Read>);
            (path.clone(), file)
        };
        let contents: Vec<_> = files.iter().map(opened).collect();
        let name = files.last().cloned().unwrap_or_default();
        Self { name, contents: Box::new(contents.into_iter()), extent: Extent::Part }
    }
}

fn file_fault(path: &Path) -> impl FnOnce(io::Error) -> AuditCommandError + use<> {
    let path = path.to_owned();
    move |source| AuditCommandError::File { path, source }
}

fn verify(log: Log, expect: Option<&str>, out: &mut dyn Write) -> Result<(), AuditCommandError> {
    let (mut found, mut files) = (Verified::expecting(expect), 0_usize);
    for (path, content) in log.contents {
        found.read(&path, content.map_err(file_fault(&path))?).map_err(file_fault(&path))?;
        files = files.saturating_add(1);
    }
    if log.extent == Extent::Whole {
        found.explain_beginning(&log.name);
    }
    if !found.faults.is_empty() {
        let told: Vec<_> = found.faults.iter().map(|(path, fault)| format!("{}: {fault}", path.display())).collect();
        return Err(AuditCommandError::Broken(told.join("\n")));
    }
    let name = log.name.display();
    if let (false, Some(hash)) = (found.is_expected_there(), expect) {
        let text = format!("{name}: the record with the hash {hash} is not there any more");
        return Err(AuditCommandError::Broken(text));
    }
    let over = if files > 1 { format!(" in {files} files") } else { String::new() };
    writeln!(out, "{name}: {} records{over}, the chain is whole", found.lines)?;
    if found.first.seq > 0 {
        writeln!(out, "it begins after record {}, hash {}", found.first.seq, found.first.hash)?;
    }
    writeln!(out, "last record {}, hash {}", found.last.seq, found.last.hash)?;
    if found.torn {
        writeln!(out, "after it a record was torn: its process was killed while it wrote")?;
    }
    Ok(())
}

/// Closes the file, so that it can be copied and never changes again; and deletes what need not be kept any longer.
fn rotate(config: &Config, out: &mut dyn Write) -> Result<(), AuditCommandError> {
    let Some(audit) = Accountant::open(config).map_err(AuditCommandError::Log)?.0 else {
        return Err(AuditCommandError::Off);
    };
    let (now, files) = (clock::now(), &config.audit.files);
    let fault = || file_fault(&config.server.state.join(audit::FILE));
    let closed = audit.close_file(now).map_err(fault())?;
    if let Some(file) = &closed {
        writeln!(out, "closed {}", file.display())?;
    }
    while let Some(file) = audit.delete_oldest_file(files, now).map_err(fault())? {
        writeln!(out, "deleted {}: its time was over", file.display())?;
    }
    // In the new file: the record of an act outlives what it closes.
    let object = closed.as_ref().and_then(|file| file.file_name()).and_then(|name| name.to_str()).map(str::to_owned);
    Accountant(Some(audit)).record("audit rotate", object.as_deref(), &Ok::<_, Infallible>(()));
    Ok(())
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

fn export(log: Log, wanted: &Wanted<'_>, out: &mut dyn Write) -> Result<(), AuditCommandError> {
    let mut out = BufWriter::new(out);
    for (path, content) in log.contents {
        for line in BufReader::new(content.map_err(file_fault(&path))?).lines() {
            let line = line.map_err(file_fault(&path))?;
            if serde_json::from_str(&line).is_ok_and(|record| wanted.is_met(&record)) {
                writeln!(out, "{line}")?;
            }
        }
    }
    Ok(out.flush()?)
}

/// The log as commands write it.
pub(super) struct Accountant(Option<Audit>);

impl Accountant {
    pub(super) fn open(config: &Config) -> Result<Self, PrivateFileError> {
        Ok(Self(match config.audit.policy {
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
