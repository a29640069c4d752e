//! `doctor`: looks at this machine as somebody who runs it should, and says what to do about what it finds.
//!
//! Guarantees: reads only; each finding that is no `ok` has a remedy; what cannot be seen from here is said to be
//! unknown, not well; exit 1 when something is wrong, so that a timer can run it. No finding holds a secret.
//! Answers the recipes' worst failure, an Ollama that everybody reaches beside the proxy (`field.md` E 27).

mod confinement;
mod exposure;
mod files;
mod listening;
mod machine;
mod release;
mod settings;

use super::plain_get::Answer;
use super::{CommandError, plain_get};
use crate::config::Config;
use serde::Serialize;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// For one question to Ollama or to the gateway.
const DEADLINE: Duration = Duration::from_secs(3);

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    /// As it should be.
    Ok,
    /// It cannot be seen from here.
    Unknown,
    /// It could be better.
    Warning,
    /// It is a fault.
    Wrong,
}

impl Verdict {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
            Self::Wrong => "WRONG",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at: a fixed word.
    pub(super) check: &'static str,
    /// How bad it is.
    pub(super) verdict: Verdict,
    /// What was found.
    pub(super) found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, found: found.into(), remedy: None }
    }

    fn not_ok(check: &'static str, verdict: Verdict, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, verdict, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn wrong(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not_ok(check, Verdict::Wrong, found, remedy)
    }

    fn warning(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not_ok(check, Verdict::Warning, found, remedy)
    }

    fn unknown(check: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::not_ok(check, Verdict::Unknown, found, remedy)
    }
}

/// The machine that is looked at.
#[derive(Debug, Clone)]
struct Machine {
    /// `/`, but in a test.
    root: PathBuf,
    now: SystemTime,
}

impl Machine {
    fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(self.file(path)).ok()
    }
}

/// Looks at everything; the worst comes last, where a terminal shows it.
pub(super) async fn examine(config: &Config, file: &Path, now: SystemTime) -> Vec<Finding> {
    let machine = Machine { root: PathBuf::from("/"), now };
    let runs = gateway_runs(config).await;
    let mut findings = exposure::look(&machine, &config.upstream).await;
    findings.extend(release::look(&config.upstream).await);
    findings.extend(settings::look(&machine, &config.upstream));
    findings.push(machine::clock(&machine));
    findings.extend(machine::names(&machine, &config.server.names).await);
    findings.extend(machine::ports(config, runs));
    findings.extend(confinement::look(config).await);
    findings.extend(files::certificate(config, now));
    findings.extend(files::permissions(config, file));
    findings.sort_by_key(|finding| finding.verdict);
    findings
}

/// Whether the gateway of this configuration runs.
async fn gateway_runs(config: &Config) -> bool {
    let Some(admin) = config.admin.listen else { return false };
    plain_get::get(admin, "/health", DEADLINE).await.is_ok_and(|answer| answer.status == 200)
}

async fn ask_ollama(upstream: &crate::config::types::Upstream, path: &str) -> std::io::Result<Answer> {
    plain_get::get(&upstream.address, path, DEADLINE).await
}

/// What the command prints, and whether all is well.
///
/// # Errors
/// Something is wrong: the text of the findings is then the error's neighbour on standard output.
pub(super) fn report(findings: &[Finding], json: bool) -> Result<(String, bool), CommandError> {
    let well = findings.iter().all(|finding| finding.verdict != Verdict::Wrong);
    if json {
        let text = serde_json::to_string_pretty(findings);
        let failed = |error: serde_json::Error| CommandError::System { doing: "writing JSON", error: error.into() };
        return Ok((text.map_err(failed)? + "\n", well));
    }
    let mut text = String::new();
    for finding in findings {
        // Writing to a string cannot fail.
        writeln!(text, "{:<8} {:<12} {}", finding.verdict.name(), finding.check, finding.found).unwrap_or_default();
        if let Some(remedy) = &finding.remedy {
            writeln!(text, "{:<21} {remedy}", "→").unwrap_or_default();
        }
    }
    Ok((text, well))
}
