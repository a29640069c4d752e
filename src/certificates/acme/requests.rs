//! How `cert renew` asks a running server, which alone can answer the CA on its ports: by two files in the state folder.
//!
//! Guarantees: who cannot write to the state folder cannot ask; one request at a time, answered once, by its number.

use crate::certificates::acme::fault::AcmeFault;
use crate::certificates::acme::store::{read_json, write_json};
use crate::certificates::fault::CertificateFault;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Renew {
    /// A new certificate, now.
    Now,
    /// A real order whose certificate is thrown away.
    DryRun,
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Request {
    pub(crate) number: u64,
    pub(crate) renew: Renew,
}

/// Its answer: nothing went wrong, or what did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Answer {
    pub(crate) number: u64,
    pub(crate) fault: Option<String>,
}

/// How often the answer is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// An order with a slow DNS command takes minutes.
const PATIENCE: Duration = Duration::from_secs(30 * 60);
/// A server looks for requests once a second.
const UNSEEN: Duration = Duration::from_secs(60);

const HINT: &str = "remove it";

fn request_file(state: &Path) -> PathBuf {
    state.join("acme/request.json")
}

fn answer_file(state: &Path) -> PathBuf {
    state.join("acme/answer.json")
}

/// Asks the running server and waits for its answer.
pub(crate) async fn ask(state: &Path, renew: Renew) -> Result<(), AcmeFault> {
    let number = getrandom::u64().map_err(|fault| AcmeFault::Asked { reason: fault.to_string() })?;
    write_json(&request_file(state), &Request { number, renew })?;
    let asked = Instant::now();
    while asked.elapsed() < PATIENCE {
        tokio::time::sleep(LOOK).await;
        let found: Option<Answer> = read_json(&answer_file(state), HINT)?;
        if let Some(answer) = found.filter(|answer| answer.number == number) {
            return answer.fault.map_or(Ok(()), |reason| Err(AcmeFault::Asked { reason }));
        }
        if asked.elapsed() > UNSEEN && request_file(state).exists() {
            // Nobody waits for it any more.
            drop(std::fs::remove_file(request_file(state)));
            break;
        }
    }
    Err(AcmeFault::Unanswered)
}

/// Takes what is asked; what cannot be read is taken away, too, or it would stay for ever.
pub(crate) fn take(state: &Path) -> Option<Request> {
    let path = request_file(state);
    let asked = read_json(&path, HINT).transpose()?;
    drop(std::fs::remove_file(&path));
    asked.inspect_err(|fault| tracing::warn!(event = "certificate_request_refused", reason = %fault)).ok()
}

/// Answers.
pub(crate) fn answer(state: &Path, answer: &Answer) -> Result<(), CertificateFault> {
    write_json(&answer_file(state), answer)
}
