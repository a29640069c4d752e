//! What a configuration makes this process read and run.
//!
//! Guarantees: every path and every reference to a secret of the file counts, whichever table it is in, so a new key
//! cannot be forgotten here. A file's folder is what may be read: files are replaced by renaming.

use crate::config::secret::Reference;
use crate::config::types::{Acme, Certificate, Challenge, Config, Store};
use crate::config::{Environment, references};
use std::path::{Path, PathBuf, absolute};

/// Folders that hold more than anybody should read for one file in them.
const BROAD: [&str; 5] = ["/", "/etc", "/root", "/home", "/var"];

/// Programs that the configuration names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Commands(Vec<String>);

impl Commands {
    /// Whether there are none.
    #[must_use]
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One of them.
    pub(super) fn first(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }
}

/// Files that are read, and programs that are run.
#[derive(Debug, Default)]
pub struct Wanted {
    files: Vec<PathBuf>,
    pub(super) commands: Commands,
}

/// A configuration wants what this process may no longer do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Outside {
    /// A file.
    #[error(
        "{0} may not be read by the running process, which gave up what its configuration did not name; hint: restart it"
    )]
    File(PathBuf),
    /// A program.
    #[error("{0} may not be run by the running process, whose configuration had no commands; hint: restart it")]
    Command(String),
}

impl Wanted {
    /// By the text of a configuration: its secrets.
    #[must_use]
    pub fn of_text(file: &Path, text: &str, environment: &Environment) -> Self {
        let mut wanted = Self { files: vec![file.to_owned()], commands: Commands::default() };
        let credentials = environment.get("CREDENTIALS_DIRECTORY").map(Path::new);
        for reference in references(text) {
            match reference {
                Reference::File(path) => wanted.files.push(path),
                Reference::Credential(name) => wanted.files.extend(credentials.map(|folder| folder.join(name))),
                Reference::Command(words) => wanted.commands.0.extend(words.into_iter().next()),
                Reference::Variable(_) => {}
            }
        }
        for name in ["SSL_CERT_FILE", "PGSSLROOTCERT"] {
            wanted.files.extend(environment.get(name).map(PathBuf::from));
        }
        let folders = environment.get("SSL_CERT_DIR").into_iter().flat_map(|folders| folders.split(':'));
        wanted.files.extend(folders.map(|folder| Path::new(folder).join("any.pem")));
        wanted
    }

    /// The same with what the checked configuration names.
    #[must_use]
    pub fn with(mut self, config: &Config) -> Self {
        if let Certificate::Files(all) = &config.tls.certificate {
            self.files.extend(all.iter().flat_map(|files| [files.chain.clone(), files.key.clone()]));
        }
        if let Some(client) = &config.tls.client {
            self.files.push(client.ca.clone());
            self.files.extend(client.crls.iter().cloned());
        }
        if let Some(acme) = &config.tls.acme {
            self.files.extend(acme.root.clone());
            self.commands.0.extend(hooks(acme));
        }
        self.files.extend(config.traces.as_ref().and_then(|traces| traces.root.clone()));
        let issuers = config.auth.oidc.iter().chain(config.admin.oidc.as_ref().map(|sign_on| &sign_on.issuer));
        self.files.extend(issuers.filter_map(|issuer| issuer.root.clone()));
        if let Store::Postgres(url) = &config.store {
            let query = url.expose().split_once('?').map_or("", |(_, query)| query);
            let root = query.split('&').find_map(|pair| pair.strip_prefix("sslrootcert="));
            self.files.extend(root.map(PathBuf::from));
        }
        self
    }

    /// The folders of its files, by the names that were written and by where these lead.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        self.files.iter().flat_map(|file| places(file)).map(|place| folder_of(&place)).collect()
    }

    pub(super) fn within(&self, readable: &[PathBuf]) -> Result<(), Outside> {
        let inside = |place: &Path| readable.iter().any(|folder| place.starts_with(folder));
        let outside = self.files.iter().find(|file| !places(file).iter().all(|place| inside(place)));
        outside.map_or(Ok(()), |file| Err(Outside::File(file.clone())))
    }
}

/// As it is written, and where links lead; a file that is not there leads nowhere.
fn places(file: &Path) -> Vec<PathBuf> {
    let written = absolute(file).unwrap_or_else(|_| file.to_owned());
    let real = written.canonicalize().ok();
    [Some(written), real].into_iter().flatten().collect()
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if BROAD.iter().all(|broad| folder != Path::new(broad)) => folder.to_owned(),
        Some(_) | None => file.to_owned(),
    }
}

fn hooks(acme: &Acme) -> impl Iterator<Item = String> {
    acme.challenges.iter().filter_map(|challenge| match challenge {
        Challenge::Dns01 { command } => command.first().cloned(),
        Challenge::TlsAlpn01 | Challenge::Http01 => None,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Confined, Programs};
    use super::*;

    fn wanted(text: &str) -> Wanted {
        let environment = Environment([("CREDENTIALS_DIRECTORY".to_owned(), "/run/credentials/x".to_owned())].into());
        Wanted::of_text(Path::new("/etc/ollama-gateway/gateway.toml"), text, &environment)
    }

    #[test]
    fn every_reference_counts_wherever_it_stands() {
        let text = "[a]\nb = [{ c = \"file:/srv/secrets/one\" }, \"credential:two\"]\n[a.d]\ne = \"command:/bin/show three\"\nf = \"env:FOUR\"\n";
        let wanted = wanted(text);
        let folders = wanted.folders();
        for folder in ["/etc/ollama-gateway", "/srv/secrets", "/run/credentials/x"] {
            assert!(folders.contains(&PathBuf::from(folder)), "{folder}: {folders:?}");
        }
        assert_eq!(wanted.commands, Commands(vec!["/bin/show".to_owned()]));
    }

    #[test]
    fn a_file_in_a_broad_folder_is_itself_alone() {
        assert_eq!(folder_of(Path::new("/etc/gateway.toml")), Path::new("/etc/gateway.toml"));
        assert_eq!(folder_of(Path::new("/etc/gateway/x.toml")), Path::new("/etc/gateway"));
        let readable = wanted("").folders();
        assert_eq!(wanted("a = \"file:/etc/ollama-gateway/key\"").within(&readable), Ok(()));
        let outside = wanted("a = \"file:/etc/shadow\"").within(&readable);
        assert_eq!(outside, Err(Outside::File("/etc/shadow".into())));
        assert!(wanted("a = \"file:/etc/ollama-gateway-other/key\"").within(&readable).is_err());
        let confined = Confined { readable: Some(readable), programs: Programs::Refused };
        assert!(matches!(confined.permits(&wanted("a = \"command:sh\"")), Err(Outside::Command(_))));
        let anywhere = Confined { readable: None, programs: Programs::Refused };
        assert_eq!(anywhere.permits(&wanted("a = \"file:/etc/shadow\"")), Ok(()));
        assert!(matches!(anywhere.permits(&wanted("a = \"command:sh\"")), Err(Outside::Command(_))));
    }
}
