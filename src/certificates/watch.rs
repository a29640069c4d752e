//! Notices that certificate files have changed, or the CA and the revocation lists of clients.
//!
//! By asking for their inode and time once a second: that sees a rename, a symbolic link that moves (Kubernetes) and
//! an editor's save alike, without a thread or a queue of events.
//!
//! Guarantees: chain and key are swapped together once they match; until then the old ones serve and one line says why.

use crate::certificates::Certificates;
use crate::certificates::clients;
use crate::certificates::files::Version;
use crate::certificates::report;
use crate::config::types::Certificate;
use std::path::PathBuf;
use std::time::Duration;

/// How often one looks.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

/// Follows the files for ever.
pub(crate) async fn files(certificates: &Certificates, every: Duration) {
    let mut seen = Seen::now(certificates);
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        ticks.tick().await;
        let now = Seen::now(certificates);
        // Other paths: a reload has read them already.
        if now.is_newer_than(&seen) {
            swap(certificates);
        }
        seen = now;
    }
}

/// The files and their versions.
#[derive(Debug, PartialEq, Eq)]
struct Seen(Vec<(PathBuf, Option<Version>)>);

impl Seen {
    fn now(certificates: &Certificates) -> Self {
        let wanted = certificates.wanted.load();
        let mut paths = clients::files_of(wanted.tls.client.as_ref());
        match &wanted.tls.certificate {
            Certificate::Files(files) => {
                paths.extend(files.iter().flat_map(|pair| [&pair.chain, &pair.key]).cloned());
            }
            Certificate::Acme | Certificate::SelfSigned => {}
        }
        Self(paths.into_iter().map(|path| (path.clone(), Version::of(&path))).collect())
    }

    fn is_newer_than(&self, before: &Self) -> bool {
        let same_paths = self.0.iter().map(|(path, _)| path).eq(before.0.iter().map(|(path, _)| path));
        same_paths && self != before
    }
}

fn swap(certificates: &Certificates) {
    match certificates.refresh() {
        Ok(()) => certificates.tell_loaded(),
        Err(fault) => report::failed(&fault.to_string()),
    }
}
