//! `cert status` and `cert renew`.
//!
//! Guarantees: `status` reads files and changes nothing; `renew --dry-run` replaces nothing. Output goes where it is
//! told to; a fault is returned, for the exit code.

use crate::certificates::{AcmeFault, CertificateFault, CertificateStatus, Certificates, Ports, Renew, Wanted, status};
use crate::config::types::Config;
use std::io::Write;
use std::time::SystemTime;

use clap::Subcommand;

/// What is done with certificates.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum CertCommand {
    /// Names, issuer, days left, next try, last error
    Status {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Obtain a certificate now, by the running server if there is one
    Renew {
        /// Make a real order (of the staging directory, for Let's Encrypt) and replace nothing
        #[arg(long)]
        dry_run: bool,
    },
}

impl CertCommand {
    /// What it does, where it does something.
    pub(super) const fn changes(&self) -> Option<&'static str> {
        match self {
            Self::Status { .. } => None,
            Self::Renew { dry_run: false } => Some("cert renew"),
            Self::Renew { dry_run: true } => Some("cert renew --dry-run"),
        }
    }
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum CertCommandFault {
    /// A file.
    #[error(transparent)]
    Certificate(#[from] CertificateFault),
    /// The certificate authority.
    #[error(transparent)]
    Acme(#[from] AcmeFault),
    /// The output.
    #[error("cannot be printed: {0}")]
    Print(#[from] std::io::Error),
}

/// Does it.
///
/// # Errors
/// Why it was not done.
pub async fn cert(
    command: &CertCommand,
    config: &Config,
    clock: fn() -> SystemTime,
    out: &mut (dyn Write + Send),
) -> Result<(), CertCommandFault> {
    match command {
        CertCommand::Status { json } => {
            let found = status(&Wanted::of(config), clock())?;
            Ok(if *json { print_json(&found, out) } else { print(&found, out) }?)
        }
        CertCommand::Renew { dry_run } => {
            let renew = if *dry_run { Renew::DryRun } else { Renew::Now };
            let ports = Ports { https: &config.server.https, http: &config.server.http };
            Certificates::open(config, clock)?.renew(renew, ports).await?;
            let done = match renew {
                Renew::Now => "a new certificate is in place",
                Renew::DryRun => "the order went well; nothing was replaced",
            };
            Ok(writeln!(out, "{done}")?)
        }
    }
}

fn print_json(found: &[CertificateStatus], out: &mut dyn Write) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, found)?;
    writeln!(out)
}

fn print(found: &[CertificateStatus], out: &mut dyn Write) -> std::io::Result<()> {
    if found.is_empty() {
        return writeln!(out, "no certificate yet: the server makes or obtains one");
    }
    for (at, one) in found.iter().enumerate() {
        if at > 0 {
            writeln!(out)?;
        }
        print_one(one, out)?;
    }
    Ok(())
}

fn print_one(found: &CertificateStatus, out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "source     {}", found.source)?;
    writeln!(out, "names      {}", found.names.join(", "))?;
    writeln!(out, "issuer     {}", found.issuer)?;
    if let Some(until) = found.not_after {
        let until = humantime::format_rfc3339_seconds(until);
        writeln!(out, "valid      until {until}, {} days left", found.days_left)?;
    }
    if let Some(next) = found.next_try {
        writeln!(out, "next try   {}", humantime::format_rfc3339_seconds(next))?;
    }
    match &found.last_error {
        Some(error) => writeln!(out, "last error {error}"),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::clock;
    use std::net::SocketAddr;

    async fn printed(command: &CertCommand, config: &Config) -> String {
        let mut out = Vec::new();
        cert(command, config, clock::now, &mut out).await.expect("done");
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn status_shows_what_serves_and_makes_nothing() {
        let state = tempfile::tempdir().unwrap();
        let config = crate::config::for_trial(state.path(), SocketAddr::from(([127, 0, 0, 1], 11434)), None);
        let text = CertCommand::Status { json: false };
        assert!(printed(&text, &config).await.starts_with("no certificate yet"));
        assert_eq!(std::fs::read_dir(state.path()).unwrap().count(), 0);
        Certificates::open(&config, clock::now).unwrap();
        let shown = printed(&text, &config).await;
        assert!(shown.contains("self-signed") && shown.contains("localhost, 127.0.0.1, ::1"), "{shown}");
        let json: serde_json::Value =
            serde_json::from_str(&printed(&CertCommand::Status { json: true }, &config).await).unwrap();
        assert_eq!((json[0]["days_left"].as_u64(), json[0]["last_error"].is_null()), (Some(395), true), "{json}");
    }

    #[tokio::test]
    async fn renew_says_that_no_authority_is_configured() {
        let state = tempfile::tempdir().unwrap();
        let config = crate::config::for_trial(state.path(), SocketAddr::from(([127, 0, 0, 1], 11434)), None);
        let fault = cert(&CertCommand::Renew { dry_run: true }, &config, clock::now, &mut Vec::new()).await;
        assert!(fault.unwrap_err().to_string().contains("is not \"acme\""));
    }
}
