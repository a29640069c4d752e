//! Secrets: values that cannot be printed, and references to where they are.
//!
//! Guarantees: `Debug` shows `[secret]`; there is no `Display` and no `Serialize`; the bytes are wiped on drop. A secret
//! stands in a file of its own that not everybody may read, in the environment, or behind a command: never in the
//! configuration, which is copied, shown and put under version control. No fault holds a value.
//! Does not: wipe what the operating system keeps (the environment, pipes).
//! Answers `threats.md` §4.5 (keys in logs).

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use zeroize::Zeroizing;

use super::environment::Environment;
use super::error::Wrong;

/// A value that cannot be printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the value over.
    #[must_use]
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[secret]")
    }
}

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `env:NAME`: a variable of the environment.
    Variable(String),
    /// `file:/path`: a file that not everybody may read.
    File(PathBuf),
    /// `credential:NAME`: a file in `$CREDENTIALS_DIRECTORY`, where systemd puts them.
    Credential(String),
    /// `command:PROGRAM ARGUMENT …`: what a program prints. Split at spaces; no shell.
    Command(Vec<String>),
}

impl Reference {
    /// Reads a reference; a value in its place is refused, and not repeated.
    ///
    /// # Errors
    /// It is no reference.
    pub fn parse(text: &str) -> Result<Self, Wrong> {
        let literal = || Wrong::new("is no reference to a secret").hint(FORMS);
        let (kind, rest) = text.split_once(':').ok_or_else(literal)?;
        let malformed = |what: &str| Err(Wrong::new(format!("`{kind}:` needs {what}")).hint(FORMS));
        match kind {
            "env" if is_name(rest) => Ok(Self::Variable(rest.to_owned())),
            "env" => malformed("the name of a variable"),
            "file" if rest.starts_with('/') => Ok(Self::File(PathBuf::from(rest))),
            "file" => malformed("an absolute path"),
            "credential" if is_name(rest) => Ok(Self::Credential(rest.to_owned())),
            "credential" => malformed("the name of a credential"),
            "command" if !rest.trim().is_empty() => {
                Ok(Self::Command(rest.split_whitespace().map(str::to_owned).collect()))
            }
            "command" => malformed("a program"),
            _ => Err(literal()),
        }
    }

    /// Fetches the secret; one newline at its end is not part of it.
    ///
    /// # Errors
    /// It is not there, empty, not UTF-8, or everybody may read it.
    pub fn resolve(&self, environment: &Environment) -> Result<Secret, Wrong> {
        let value = match self {
            Self::Variable(name) => variable(name, environment)?,
            Self::File(path) => private_file(path)?,
            Self::Credential(name) => private_file(&credential(name, environment)?)?,
            Self::Command(words) => run(words, COMMAND_DEADLINE)?,
        };
        let end = value.strip_suffix('\n').map_or(value.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
        if end.is_empty() {
            return Err(Wrong::new("refers to an empty secret"));
        }
        Ok(Secret::new(end.to_owned()))
    }
}

/// What an operating system's error says, without its number.
pub(super) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}

const FORMS: &str = "env:NAME, file:/path, credential:NAME or command:PROGRAM; the value itself does not belong here";
const COMMAND_DEADLINE: Duration = Duration::from_secs(10);
const MAX_SECRET: u64 = 64 * 1024;

/// A name that cannot leave its folder.
fn is_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !text.is_empty() && !text.starts_with('.') && text.chars().all(allowed)
}

fn variable(name: &str, environment: &Environment) -> Result<Zeroizing<String>, Wrong> {
    let value = environment.0.get(name).cloned().map(Zeroizing::new);
    value.ok_or_else(|| Wrong::new(format!("refers to {name}, which is not set in the environment")))
}

fn credential(name: &str, environment: &Environment) -> Result<PathBuf, Wrong> {
    let folder = environment.get("CREDENTIALS_DIRECTORY").ok_or_else(|| {
        Wrong::new("refers to a credential, but CREDENTIALS_DIRECTORY is not set")
            .hint("systemd sets it where the unit has LoadCredential= or LoadCredentialEncrypted=")
    })?;
    Ok(Path::new(folder).join(name))
}

fn private_file(path: &Path) -> Result<Zeroizing<String>, Wrong> {
    let unreadable = |error: std::io::Error| {
        Wrong::new(format!("refers to {}, which cannot be read: {}", path.display(), reason(&error)))
    };
    // Asked before it is opened, since opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(Wrong::new(format!("refers to {}, which is no file", path.display())));
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & 0o007 != 0 {
        let text = format!("refers to {}, which everybody may open (mode {:03o})", path.display(), mode & 0o777);
        return Err(Wrong::new(text).hint(format!("chmod o= {}", path.display())));
    }
    read_capped(file).map_err(unreadable)
}

/// Reads a bounded secret to its end.
fn read_capped(from: impl Read) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::with_capacity(4096));
    from.take(MAX_SECRET + 1).read_to_string(&mut text)?;
    let fits = u64::try_from(text.len()).is_ok_and(|length| length <= MAX_SECRET);
    if fits { Ok(text) } else { Err(std::io::Error::other("larger than 64 KiB")) }
}

/// What a program prints, if it ends well and in time.
fn run(words: &[String], deadline: Duration) -> Result<Zeroizing<String>, Wrong> {
    let Some((program, arguments)) = words.split_first() else { return Err(Wrong::new("`command:` needs a program")) };
    let failed = |what: String| Wrong::new(format!("refers to the command {program}, which {what}"));
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let mut child = command.spawn().map_err(|error| failed(format!("cannot be started: {}", reason(&error))))?;
    let until = Instant::now() + deadline;
    let output = output_of(&mut child, deadline);
    let status = if output.is_some() { wait_until(&mut child, until) } else { None };
    let Some(status) = status else {
        end(&mut child);
        return Err(failed(format!("did not end within {}", humantime::format_duration(deadline))));
    };
    if !status.success() {
        return Err(failed(format!("failed: {status}")));
    }
    output.and_then(Result::ok).ok_or_else(|| failed("printed no text".to_owned()))
}

/// All that a program prints; `None`: it went on printing, or kept silent, past the deadline.
fn output_of(child: &mut Child, deadline: Duration) -> Option<std::io::Result<Zeroizing<String>>> {
    let stdout = child.stdout.take()?;
    let (send, receive) = mpsc::channel();
    // A thread, since a pipe has no read with a deadline; it ends when the program is ended.
    std::thread::spawn(move || send.send(read_capped(stdout)).is_ok());
    receive.recv_timeout(deadline).ok()
}

fn wait_until(child: &mut Child, until: Instant) -> Option<std::process::ExitStatus> {
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) | Err(_) => return None,
        }
    }
}

/// Ends a program and takes its status, so that nothing of it stays; one that has ended by itself is no fault.
fn end(child: &mut Child) {
    if child.kill().is_ok() {
        drop(child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exposed(text: &str, environment: &Environment) -> Result<String, Wrong> {
        Ok(Reference::parse(text)?.resolve(environment)?.expose().to_owned())
    }

    #[test]
    fn a_value_in_place_of_a_reference_is_refused_and_not_repeated() {
        for text in ["hunter2", "postgres://u:hunter2@h/d", "env:", "env:A B", "file:hunter2", "credential:../hunter2"]
        {
            let wrong = exposed(text, &Environment::default()).unwrap_err();
            assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
        }
    }

    #[test]
    fn one_newline_at_the_end_is_not_part_of_it() {
        let environment = Environment([("A", "x\n\n"), ("B", "x\r\n"), ("C", "\n")].map(owned).into());
        assert_eq!(exposed("env:A", &environment), Ok("x\n".to_owned()));
        assert_eq!(exposed("env:B", &environment), Ok("x".to_owned()));
        assert!(exposed("env:C", &environment).is_err() && exposed("env:D", &environment).is_err());
    }

    #[test]
    fn a_file_that_everybody_may_open_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "s3\n").unwrap();
        let environment = Environment([("CREDENTIALS_DIRECTORY", folder.path().to_str().unwrap())].map(owned).into());
        for (mode, accepted) in [(0o600, true), (0o640, true), (0o644, false), (0o602, false)] {
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
            assert_eq!(exposed(&format!("file:{}", path.display()), &environment).is_ok(), accepted, "{mode:o}");
            assert_eq!(exposed("credential:key", &environment).is_ok(), accepted, "{mode:o}");
        }
    }

    #[test]
    fn a_command_is_run_without_a_shell_and_ended_in_time() {
        let environment = Environment::default();
        assert_eq!(exposed("command:echo $HOME;x", &environment), Ok("$HOME;x".to_owned()));
        assert!(exposed("command:false", &environment).is_err());
        assert!(exposed("command:/nowhere/at-all", &environment).is_err());
        let started = Instant::now();
        assert!(run(&["sleep".to_owned(), "30".to_owned()], Duration::from_millis(50)).is_err());
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    fn owned((name, value): (&str, &str)) -> (String, String) {
        (name.to_owned(), value.to_owned())
    }
}
