//! The certificate's days, and who may read what.

use super::Finding;
use crate::certificates::{CertificateFault, Leaf, read_files};
use crate::config::Config;
use crate::config::types::Certificate;
use crate::telemetry::clock;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 60 * 60;
/// A certificate that is renewed by itself has more left than this.
const SOON: u64 = 14 * DAY;

/// How long the certificates are good for: from the files, or as the running gateway says.
pub(super) fn certificate(config: &Config, gateway: Option<&str>, now: SystemTime) -> Vec<Finding> {
    if let Certificate::Files { chain, key } = &config.tls.certificate {
        return of_files(read_files(chain, key), &config.server.names, now);
    }
    let Some(page) = gateway else {
        let remedy = "start the gateway, and run doctor again";
        return vec![Finding::unknown(
            "certificate",
            "the gateway does not run, so nothing serves a certificate",
            remedy,
        )];
    };
    let remedy = "look for `certificate_failed` in the log, and at ports 443 and 80 from outside";
    served(page).map(|(name, ends)| days(name, UNIX_EPOCH + Duration::from_secs(ends), now, remedy)).collect()
}

fn of_files(leaf: Result<Leaf, CertificateFault>, names: &[String], now: SystemTime) -> Vec<Finding> {
    let remedy = "renew it; the gateway notices the new files by itself";
    match leaf {
        Err(fault) => vec![Finding::wrong("certificate", fault.to_string(), "see certs/README.md")],
        Ok(leaf) => {
            let uncovered = names.iter().filter(|name| !leaf.covers(name)).map(|name| {
                let found = format!("the certificate is not for {name}");
                Finding::wrong("certificate", found, "get one that has every name of server.names")
            });
            uncovered.chain([days(&leaf.names.join(", "), leaf.not_after, now, remedy)]).collect()
        }
    }
}

/// `…_expiry_timestamp_seconds{name="ai.example.org"} 1795525945`
fn served(page: &str) -> impl Iterator<Item = (&str, u64)> {
    page.lines().filter_map(|line| {
        let rest = line.strip_prefix("ollama_gateway_certificate_expiry_timestamp_seconds{name=\"")?;
        let (name, ends) = rest.split_once("\"} ")?;
        Some((name, ends.parse().ok()?))
    })
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

    #[test]
    fn the_days_of_a_certificate_are_counted() {
        let now = UNIX_EPOCH + Duration::from_secs(1_795_525_945);
        let verdict = |left: u64| days("a", now + Duration::from_secs(left), now, "renew").verdict;
        assert_eq!([verdict(0), verdict(DAY), verdict(30 * DAY)], [Verdict::Wrong, Verdict::Warning, Verdict::Ok]);
        let page = "# x\nollama_gateway_certificate_expiry_timestamp_seconds{name=\"a.example\"} 1795612345\n";
        assert_eq!(served(page).collect::<Vec<_>>(), [("a.example", 1_795_612_345)]);
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
