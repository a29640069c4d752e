//! `init`: a few questions, a commented configuration, the first key.
//!
//! Guarantees: a file that is there is never replaced; what is written is checked by the same rules as at a start before
//! the key is made; the key is printed alone on standard output, all other words go to standard error; where root runs
//! it for a service user, that user can read the file and use the state folder, and nobody else can.
//! Does not: install the unit, or open a firewall.

use super::key::{self, CreateArguments, KeyCommand, KeyContext};
use super::{CommandError, service_user, tell};
use crate::cli::audit::Accountant;
use crate::config::types::Config;
use crate::config::{self, Environment};
use crate::store::Store;
use crate::telemetry::clock;
use clap::Args;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt, chown};
use std::path::{Path, PathBuf};

const STATE: &str = "/var/lib/ollama-gateway";
const UPSTREAM: &str = "http://127.0.0.1:11434";

/// What may be said without being asked.
#[derive(Debug, Args)]
pub struct InitArguments {
    /// A host name that clients use; may be given more than once.
    #[arg(long)]
    pub name: Vec<String>,
    /// Where the certificate authority writes to when something is wrong with the certificate.
    #[arg(long)]
    pub email: Option<String>,
    /// Ollama's URL.
    #[arg(long, value_name = "URL")]
    pub upstream: Option<String>,
    /// The state folder.
    #[arg(long, value_name = "FOLDER", default_value = STATE)]
    pub state: PathBuf,
    /// Ask nothing: what is not given has its default.
    #[arg(long)]
    pub yes: bool,
}

/// The answers.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Answers {
    names: Vec<String>,
    email: Option<String>,
    upstream: String,
    state: PathBuf,
}

/// Why nothing was begun.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// There is one already.
    #[error("{0} is there already, and stays as it is: name another file with --config, or move it away")]
    Exists(PathBuf),
    /// Nobody to ask.
    #[error("there is no terminal to ask on: say --yes and --name NAME (and --email ADDRESS for a public name)")]
    NobodyToAsk,
}

/// Asks, writes, makes the key.
pub(super) async fn run(file: &Path, arguments: &InitArguments) -> Result<(), CommandError> {
    if file.exists() {
        return Err(InitError::Exists(file.to_owned()).into());
    }
    let answers = answers(arguments)?;
    let text = text(&answers);
    // The same rules as at a start, before anything is on the disk.
    let name = file.display().to_string();
    let config = config::parse(&name, &text, &Environment::from_process()).map_err(CommandError::Configuration)?;
    let service = service_user::find();
    service_user::prepare_state(&config.server.state, service)?;
    write(file, &text, service).map_err(|error| CommandError::System { doing: "writing the configuration", error })?;
    tell(&format!("wrote {name}"));
    first_key(&config).await?;
    tell(&next_steps(file, &config));
    Ok(())
}

fn answers(arguments: &InitArguments) -> Result<Answers, InitError> {
    let (given, state) = (arguments, arguments.state.clone());
    if given.yes {
        let upstream = given.upstream.clone().unwrap_or_else(|| UPSTREAM.to_owned());
        return Ok(Answers { names: given.name.clone(), email: given.email.clone(), upstream, state });
    }
    if !io::stdin().is_terminal() {
        return Err(InitError::NobodyToAsk);
    }
    let names = match given.name.as_slice() {
        [] => {
            words(&ask("Host names that clients use, as in https://ai.example.org (several with commas)", "localhost"))
        }
        names => names.to_vec(),
    };
    let public = names.iter().any(|name| is_public(name));
    let email = given.email.clone().or_else(|| {
        let asked = public.then(|| ask("Address for mail from the certificate authority (empty: none)", ""));
        asked.filter(|address| !address.is_empty())
    });
    let upstream = given.upstream.clone().unwrap_or_else(|| ask("Where Ollama is", UPSTREAM));
    Ok(Answers { names, email, upstream, state })
}

/// One question; an empty answer is the default.
fn ask(question: &str, default: &str) -> String {
    let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
    drop(write!(io::stderr().lock(), "{question}{shown}: "));
    let mut line = String::new();
    match io::stdin().lock().read_line(&mut line) {
        Ok(_) if !line.trim().is_empty() => line.trim().to_owned(),
        Ok(_) | Err(_) => default.to_owned(),
    }
}

fn words(list: &str) -> Vec<String> {
    list.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

/// Whether a certificate authority may issue for it.
fn is_public(name: &str) -> bool {
    let private = [".local", ".internal", ".lan", ".home.arpa", ".localhost", ".test"];
    name.contains('.') && name.parse::<IpAddr>().is_err() && !private.iter().any(|end| name.ends_with(end))
}

/// The file.
fn text(answers: &Answers) -> String {
    let mut text = String::from(HEAD);
    // Writing to a string cannot fail.
    let mut line = |line: std::fmt::Arguments<'_>| text.write_fmt(line).unwrap_or_default();
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let names: Vec<_> = answers.names.iter().map(|name| quoted(name)).collect();
    line(format_args!("[server]\n# The only host names that are served.\nnames = [{}]\n", names.join(", ")));
    if answers.state != Path::new(STATE) {
        line(format_args!("state = {}\n", quoted(&answers.state.display().to_string())));
    }
    line(format_args!("\n[tls]\n"));
    if answers.names.iter().all(|name| is_public(name)) {
        line(format_args!(
            "# Ordered from Let's Encrypt and renewed by itself, through ports 443 and 80.\ncertificate = \"acme\"\n"
        ));
        if let Some(email) = &answers.email {
            line(format_args!("\n[tls.acme]\ncontact = [{}]\n", quoted(&format!("mailto:{email}"))));
        }
    } else {
        line(format_args!(
            "# Made here: clients have to be told to trust self-signed/cert.pem of the state folder.\n\
             certificate = \"self-signed\"\n"
        ));
    }
    line(format_args!(
        "\n[upstream]\n# Ollama. It should listen on loopback only.\nurl = {}\n",
        quoted(&answers.upstream)
    ));
    text + TAIL
}

const HEAD: &str = "\
# Written by `ollama-gateway init`. Every other key, with its default: gateway.toml.example.
# After a change: `ollama-gateway check`, then `systemctl reload ollama-gateway`.

";

const TAIL: &str = r#"
[roles.user]
# Which models its keys may use and see; for example ["llama3.2:*", "qwen3:8b"].
models = ["*"]
# concurrent = 2                       # requests in flight, per key

[limits]
general = "100/minute"                 # by key
chat = { rate = "10/minute", burst = 5 }

[cors]
# Web pages that may call, exactly as a browser names them: ["https://chat.example.org"].
origins = []
"#;

/// The file, for its owner to write and for the service's group to read.
pub(super) fn write(file: &Path, text: &str, service: Option<(u32, u32)>) -> io::Result<()> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)?;
    }
    let mut opened = OpenOptions::new().write(true).create_new(true).mode(0o640).open(file)?;
    // Whatever the umask is.
    opened.set_permissions(PermissionsExt::from_mode(0o640))?;
    opened.write_all(text.as_bytes())?;
    if let Some((_, group)) = service {
        chown(file, None, Some(group))?;
    }
    opened.sync_all()
}

async fn first_key(config: &Config) -> Result<(), CommandError> {
    let store = Store::open(&config.store, &config.server.state).await?;
    let roles = config.roles.keys().map(String::as_str).collect();
    let context = KeyContext { store: &store, state: &config.server.state, roles, now: clock::now() };
    let (role, name) = ("admin".to_owned(), "first admin".to_owned());
    let arguments = CreateArguments { role, name, ..CreateArguments::default() };
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let accountant = Accountant::open(config)?;
    let console = key::Console { out: &mut out, err: &mut err };
    let done = key::run(&KeyCommand::Create(arguments), &context, console).await;
    let id = done.as_ref().ok().and_then(Option::as_ref).map(ToString::to_string);
    accountant.record("key create", id.as_deref(), &done);
    done?;
    store.close().await;
    Ok(())
}

fn next_steps(file: &Path, config: &Config) -> String {
    let name = config.server.names.first().map_or("localhost", String::as_str);
    let file = file.display();
    format!(
        "\nThe line on standard output is the key of the first admin. It is not shown again.\n\nNext:\n  \
         ollama-gateway doctor --config {file}     what is left to put in order\n  \
         ollama-gateway serve --config {file}      or: systemctl enable --now ollama-gateway\n  \
         curl -H \"Authorization: Bearer $KEY\" https://{name}/api/tags"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::types::Certificate;

    fn parsed(names: &[&str], email: Option<&str>) -> Config {
        let answers = Answers {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            email: email.map(str::to_owned),
            upstream: UPSTREAM.to_owned(),
            state: PathBuf::from("/srv/a \"b\""),
        };
        config::parse("gateway.toml", &text(&answers), &Environment::default())
            .unwrap_or_else(|faults| panic!("{faults}"))
    }

    #[test]
    fn a_public_name_gets_an_ordered_certificate_and_another_one_its_own() {
        let config = parsed(&["ai.example.org"], Some("ops@example.org"));
        assert_eq!(config.tls.certificate, Certificate::Acme);
        assert_eq!(config.tls.acme.unwrap().contact, ["mailto:ops@example.org"]);
        assert_eq!(config.server.state, Path::new("/srv/a \"b\""));
        for names in [["localhost"], ["box.local"], ["10.0.0.5"]] {
            assert_eq!(parsed(&names, Some("ops@example.org")).tls.certificate, Certificate::SelfSigned, "{names:?}");
        }
        assert_eq!(words("a.example, b.example"), ["a.example", "b.example"]);
    }
}
