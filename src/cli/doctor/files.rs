//! The certificate's days, and who may read what.

use super::Finding;
use crate::certificates::{CertificateStatus, Wanted, status};
use crate::config::Config;
use crate::config::types::Certificate;
use crate::telemetry::clock;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 60 * 60;
/// Less than this is left only where nobody renews it; some certificates live for six days.
const SOON: u64 = 5 * DAY;

/// What the certificate is good for, and how its renewal stands.
pub(super) fn certificate(config: &Config, now: SystemTime) -> Vec<Finding> {
    let remedy = "see `ollama-gateway cert status`, and certs/README.md";
    match status(&Wanted::of(config), now) {
        Err(fault) => vec![Finding::wrong("certificate", fault.to_string(), remedy)],
        Ok(found) if found.is_empty() => {
            let remedy = "start the gateway: it gets or makes one, then run doctor again";
            vec![Finding::unknown("certificate", "there is no certificate yet", remedy)]
        }
        Ok(found) => {
            let each = found.iter().flat_map(|status| judged(config, status, now));
            each.chain(not_covered(config, &found)).collect()
        }
    }
}

fn judged(config: &Config, status: &CertificateStatus, now: SystemTime) -> Vec<Finding> {
    let remedy = match config.tls.certificate {
        Certificate::Files(_) => "renew it; the gateway notices the new files by itself",
        Certificate::SelfSigned => "reload the gateway: it makes a new one",
        Certificate::Acme => {
            "`cert renew --dry-run` tries an order; ports 443 and 80 have to be reachable from outside"
        }
    };
    let mut findings = vec![days(&status.names.join(", "), status.not_after.unwrap_or(UNIX_EPOCH), now, remedy)];
    if config.tls.certificate == Certificate::Acme && status.source != "acme" {
        let found = "the ordered certificate is not there yet: clients get one made here, and do not trust it";
        findings.push(Finding::wrong("certificate", found, remedy));
    }
    if let Some(error) = &status.last_error {
        findings.push(Finding::wrong("certificate", format!("the last order failed: {error}"), remedy));
    }
    findings
}

/// Names that no certificate is for.
fn not_covered(config: &Config, found: &[CertificateStatus]) -> Vec<Finding> {
    let missing = config.server.names.iter().filter(|name| !found.iter().any(|status| covers(&status.names, name)));
    let told = missing.map(|name| {
        let found = format!("the certificate is not for {name}");
        Finding::wrong("certificate", found, "get one that has every name of server.names")
    });
    told.collect()
}

fn covers(names: &[String], name: &str) -> bool {
    let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    names.iter().any(|own| own == name || Some(own) == wildcard.as_ref())
}

fn days(names: &str, ends: SystemTime, now: SystemTime, remedy: &str) -> Finding {
    let left = ends.duration_since(now).map_or(0, |left| left.as_secs());
    let date = clock::rfc3339(ends).to_string();
    let date = date.get(..10).unwrap_or(&date);
    let found = format!("{names}: the certificate ends on {date}, in {} days", left / DAY);
    if left == 0 {
        return Finding::wrong("certificate", format!("{names}: the certificate ended on {date}"), remedy);
    }
    if left < SOON { Finding::warning("certificate", found, remedy) } else { Finding::ok("certificate", found) }
}

/// The configuration, the state folder, and what is secret in it.
pub(super) fn permissions(config: &Config, file: &Path) -> Vec<Finding> {
    let state = &config.server.state;
    let mut findings = Vec::new();
    if let Ok(found) = file.metadata()
        && mode(&found) & 0o022 != 0
    {
        let text = format!("{} can be written by others (mode {:04o})", file.display(), mode(&found));
        findings.push(Finding::wrong("permissions", text, format!("chmod 0640 {}", file.display())));
    }
    match state.metadata() {
        Err(_) => {
            let text = format!("{} is not there yet", state.display());
            findings.push(Finding::unknown("permissions", text, "it is made at the first start, or by `key create`"));
        }
        Ok(folder) => findings.extend(of_state(state, &folder)),
    }
    if findings.is_empty() {
        findings.push(Finding::ok("permissions", format!("{} belongs to its owner alone", state.display())));
    }
    findings
}

fn of_state(state: &Path, folder: &Metadata) -> Vec<Finding> {
    let too_open = (mode(folder) & 0o077 != 0).then(|| open_to_others(state, folder, 0o700));
    let inside = secrets(state).into_iter().flat_map(|path| {
        let Ok(found) = path.metadata() else { return Vec::new() };
        let open = (mode(&found) & 0o077 != 0).then(|| open_to_others(&path, &found, 0o600));
        let foreign = (found.uid() != folder.uid()).then(|| {
            let text = format!("{} belongs to another user than its folder: the service cannot use it", path.display());
            Finding::wrong("permissions", text, format!("chown --reference={} {}", state.display(), path.display()))
        });
        open.into_iter().chain(foreign).collect()
    });
    too_open.into_iter().chain(inside).collect()
}

fn open_to_others(path: &Path, found: &Metadata, wanted: u32) -> Finding {
    let text = format!("{} can be used by other users (mode {:04o})", path.display(), mode(found));
    Finding::wrong("permissions", text, format!("chmod {wanted:04o} {}", path.display()))
}

/// The pepper, the database with its neighbours, and every private key, down to two folders deep.
fn secrets(state: &Path) -> Vec<PathBuf> {
    let is_secret = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == "pepper" || name.contains(".db") || name.ends_with("key.pem") || name.contains("account")
    };
    let entries = |folder: &Path| std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let outer: Vec<_> = entries(state).collect();
    let inner: Vec<_> = outer.iter().filter(|path| path.is_dir()).flat_map(|path| entries(path)).collect();
    outer.into_iter().chain(inner).filter(is_secret).collect()
}

fn mode(found: &Metadata) -> u32 {
    found.permissions().mode() & 0o7777
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_days_of_a_certificate_are_counted() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_525_945);
        let verdict = |left: u64| days("a", now + Duration::from_secs(left), now, "renew").verdict;
        assert_eq!([verdict(0), verdict(4 * DAY), verdict(30 * DAY)], [Verdict::Wrong, Verdict::Warning, Verdict::Ok]);
    }

    #[test]
    fn what_others_may_use_is_found() {
        let root = tempfile::tempdir().unwrap();
        let state = root.path().join("state");
        std::fs::create_dir_all(state.join("acme")).unwrap();
        for (name, bits) in
            [("pepper", 0o600), ("gateway.db", 0o644), ("acme/key.pem", 0o640), ("acme/chain.pem", 0o644)]
        {
            std::fs::write(state.join(name), "").unwrap();
            std::fs::set_permissions(state.join(name), PermissionsExt::from_mode(bits)).unwrap();
        }
        std::fs::set_permissions(&state, PermissionsExt::from_mode(0o700)).unwrap();
        let findings = of_state(&state, &state.metadata().unwrap());
        let mut remedies: Vec<_> = findings.into_iter().filter_map(|finding| finding.remedy).collect();
        remedies.sort();
        let path = |name: &str| format!("chmod 0600 {}", state.join(name).display());
        assert_eq!(remedies, [path("acme/key.pem"), path("gateway.db")]);
    }
}
