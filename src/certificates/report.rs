//! What `cert status` shows, from the files alone: it needs no running server and changes nothing; and what the security
//! log is told.

use crate::certificates::acme::status::{CertificateStatus, Status};
use crate::certificates::acme::store::Store;
use crate::certificates::files::{self, Pair};
use crate::certificates::{CertificateFault, Wanted, self_signed};
use crate::config::types::{Certificate, CertificateFiles};
use crate::telemetry::event::{About, SecurityEvent};
use std::time::SystemTime;

/// What serves, or would; nothing where nothing has been made or obtained yet.
///
/// # Errors
/// Where a file cannot be read, or the state folder is damaged.
pub fn status(wanted: &Wanted, now: SystemTime) -> Result<Vec<CertificateStatus>, CertificateFault> {
    match &wanted.tls.certificate {
        Certificate::Files(files) => {
            let shown =
                |one: &CertificateFiles| Ok(line("files", files::load(&one.chain, &one.key)?, Status::default(), now));
            files.iter().map(shown).collect()
        }
        Certificate::SelfSigned => Ok(made(wanted, Status::default(), now).into_iter().collect()),
        Certificate::Acme => {
            let directory = wanted.acme().map(|acme| acme.directory.as_str()).unwrap_or_default();
            let store = Store::of(&wanted.state, directory);
            let renewal = store.status()?;
            match store.certificate()? {
                Some(pair) => Ok(vec![line("acme", pair, renewal, now)]),
                None => Ok(made(wanted, renewal, now).into_iter().collect()),
            }
        }
    }
}

/// A certificate serves from now on.
pub(crate) fn loaded(source: &Certificate, not_after: SystemTime) {
    let source = match source {
        Certificate::Acme => "acme",
        Certificate::SelfSigned => "self-signed",
        Certificate::Files(_) => "files",
    };
    let detail = format!("{source}, until {}", humantime::format_rfc3339_seconds(not_after));
    SecurityEvent::CertificateLoaded.report(&About { detail: Some(&detail), ..About::default() });
}

/// What served before goes on.
pub(crate) fn failed(why: &str) {
    SecurityEvent::CertificateFailed.report(&About { detail: Some(why), ..About::default() });
}

/// A damaged one is made again by the server, so that here it is as good as none.
fn made(wanted: &Wanted, renewal: Status, now: SystemTime) -> Option<CertificateStatus> {
    self_signed::stored(&wanted.state).ok().map(|pair| line("self-signed", pair, renewal, now))
}

fn line(source: &'static str, pair: Pair, renewal: Status, now: SystemTime) -> CertificateStatus {
    let leaf = pair.leaf;
    CertificateStatus {
        source,
        days_left: leaf.days_left(now),
        names: leaf.names,
        issuer: leaf.issuer,
        not_before: Some(leaf.not_before),
        not_after: Some(leaf.not_after),
        next_try: renewal.next_try,
        last_error: renewal.last_error,
    }
}
