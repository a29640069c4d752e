//! DNS-01 by a command that somebody has written for their DNS server.
//!
//! It is started as `COMMAND ARGUMENTS… set _acme-challenge.NAME VALUE` and, whatever came of it, again with `clear`.
//! It returns when the record can be seen, with 0.
//!
//! Guarantees: no shell reads the words; the command ends within a deadline; its output goes nowhere but, cut and
//! without control characters, into the fault.

use crate::certificates::acme::fault::{AcmeFault, shown};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

/// The most of its complaint that is kept.
const COMPLAINT: u64 = 4096;

/// What the command is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Add the TXT record.
    Set,
    /// Remove it.
    Clear,
}

/// The record that the CA will look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// The program and its first arguments.
    pub(crate) command: Vec<String>,
    /// `_acme-challenge.…`
    pub(crate) name: String,
    /// base64url, 43 characters.
    pub(crate) value: String,
}

impl Record {
    /// Runs the command.
    pub(crate) async fn run(&self, verb: Verb, deadline: Duration) -> Result<(), AcmeFault> {
        match tokio::time::timeout(deadline, self.spawn(verb)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(reason)) => Err(AcmeFault::Hook { reason: shown(&reason) }),
            Err(_) => Err(AcmeFault::Hook { reason: format!("not done within {deadline:?}") }),
        }
    }

    async fn spawn(&self, verb: Verb) -> Result<(), String> {
        let (program, first) = self.command.split_first().ok_or("no command is configured")?;
        let verb = match verb {
            Verb::Set => "set",
            Verb::Clear => "clear",
        };
        let mut command = Command::new(program);
        command.args(first).args([verb, &self.name, &self.value]).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|fault| format!("{program}: {fault}"))?;
        let mut complaint = Vec::new();
        if let Some(stderr) = child.stderr.take() {
            stderr.take(COMPLAINT).read_to_end(&mut complaint).await.map_err(|fault| fault.to_string())?;
        }
        let status = child.wait().await.map_err(|fault| fault.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("{status}: {}", String::from_utf8_lossy(&complaint))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(command: &[&str]) -> Record {
        let command = command.iter().map(ToString::to_string).collect();
        Record { command, name: "_acme-challenge.example.org".into(), value: "$(id); `id`".into() }
    }

    const SOON: Duration = Duration::from_secs(5);

    #[tokio::test]
    async fn words_reach_the_command_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let script = "printf '%s|' \"$@\" >\"$0\"";
        record(&["sh", "-c", script, out.to_str().unwrap()]).run(Verb::Set, SOON).await.unwrap();
        assert_eq!(std::fs::read_to_string(out).unwrap(), "set|_acme-challenge.example.org|$(id); `id`|");
    }

    #[tokio::test]
    async fn a_command_that_fails_or_hangs_is_told() {
        let fault = record(&["sh", "-c", "printf 'no\\033such zone' >&2; exit 3"]).run(Verb::Set, SOON).await;
        let told = fault.unwrap_err().to_string();
        assert!(told.contains("exit status: 3") && told.contains("no\\u001bsuch zone"), "{told}");
        let fault = record(&["sh", "-c", "exec sleep 60"]).run(Verb::Clear, Duration::from_millis(50)).await;
        assert!(fault.unwrap_err().to_string().contains("not done within 50ms"));
        assert!(record(&["/no/such/program"]).run(Verb::Set, SOON).await.is_err());
        assert!(record(&[]).run(Verb::Set, SOON).await.is_err());
    }
}
