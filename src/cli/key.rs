//! `ollama-gateway key create|list|rotate|revoke`.
//!
//! Guarantees: `create` and `rotate` print the key, alone, on standard output, and nothing else ever shows it; all other
//! words go to standard error, so `KEY=$(ollama-gateway key create …)` works. A key given where an id belongs is not
//! repeated in the error. `list` and `revoke` work without the pepper: a key can be taken back in any state of repair.
//! Does not: tell a running gateway; that one watches the store (see `identity::key_ring`).

mod listing;

use crate::config::secret::Secret;
use crate::identity::cli_signature;
use crate::identity::issue::{self, IssueError, IssuedKey, KeyRequest, Turn};
use crate::identity::keys::PREFIX;
use crate::identity::pepper::{Pepper, PepperError};
use crate::ollama::model_name::ModelPattern;
use crate::store::key_bounds::{KeyBounds, PublicKey};
use crate::store::key_record::{KeyId, KeyName};
use crate::store::timestamp::Timestamp;
use crate::store::{Change, Store, StoreError};
use clap::{Args, Subcommand};
use ipnet::IpNet;
use listing::Form;
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Make a key and print it, once.
    Create(CreateArguments),
    /// Let in the `ollama` command that signs with this SSH key (OLLAMA_AUTH=1): see ~/.ollama/id_ed25519.pub
    AddSsh {
        /// What it is to be.
        #[command(flatten)]
        wanted: CreateArguments,
        /// The file of the public key; - is standard input.
        file: String,
    },
    /// Show all keys; never their secrets.
    List {
        /// One JSON array, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Make a key in the place of another one and print it; the old one opens for a while yet.
    Rotate {
        /// The id of the old key, with or without `ogw_`.
        #[arg(value_name = "ID")]
        id: IdArgument,
        /// How long the old key still opens; 0s: not a second longer.
        #[arg(long, value_name = "DURATION", default_value = "24h")]
        overlap: String,
    },
    /// Take a key back, at once.
    Revoke {
        /// The id of the key, with or without `ogw_`.
        #[arg(value_name = "ID")]
        id: IdArgument,
    },
}

impl KeyCommand {
    /// What it does, where it does something.
    pub(super) const fn changes(&self) -> Option<&'static str> {
        match self {
            Self::Create(_) => Some("key create"),
            Self::AddSsh { .. } => Some("key add-ssh"),
            Self::Rotate { .. } => Some("key rotate"),
            Self::Revoke { .. } => Some("key revoke"),
            Self::List { .. } => None,
        }
    }
}

/// What a new key is to be.
#[derive(Debug, Default, Args)]
pub struct CreateArguments {
    /// A role of the configuration.
    #[arg(long, required_unless_present = "honey", default_value = "", hide_default_value = true)]
    pub role: String,
    /// Instead of a role: a trap, to be left where only an intruder looks. It opens nothing, and whoever uses it is banned.
    #[arg(long, conflicts_with = "role")]
    pub honey: bool,
    /// What people call the key: 1 to 64 printable characters.
    #[arg(long)]
    pub name: String,
    /// When it ends: a time from now such as 90d, or a date such as 2027-01-31T00:00:00Z. Without it: never.
    #[arg(long, value_name = "DURATION|DATE")]
    pub expires: Option<String>,
    /// Where it may come from, for example 10.0.0.0/8; again for more. Without it: from anywhere.
    #[arg(long, value_name = "NETWORK")]
    pub address: Vec<String>,
    /// What it may use of the models of its role, for example llama3.2:*; again for more. Without it: all of them.
    #[arg(long, value_name = "MODEL")]
    pub model: Vec<String>,
}

/// An id as it was typed. Somebody may have typed a whole key: it is not printed, by nobody.
#[derive(Debug, Clone)]
pub struct IdArgument(Secret);

impl FromStr for IdArgument {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(Secret::new(text.to_owned())))
    }
}

impl IdArgument {
    pub(super) fn parse(&self) -> Result<KeyId, KeyCommandError> {
        let text = self.0.expose();
        KeyId::parse(text.strip_prefix(PREFIX).unwrap_or(text)).ok_or(KeyCommandError::Id)
    }
}

/// What the commands work with.
#[derive(Debug)]
pub struct KeyContext<'a> {
    /// The open store.
    pub store: &'a Store,
    /// The state folder, for the pepper.
    pub state: &'a Path,
    /// The roles of the configuration.
    pub roles: Vec<&'a str>,
    /// The present.
    pub now: SystemTime,
}

/// Where the words go.
pub struct Console<'a> {
    /// Standard output: results.
    pub out: &'a mut (dyn Write + Send),
    /// Standard error: everything else.
    pub err: &'a mut (dyn Write + Send),
}

/// Why a command did nothing, or not all.
#[derive(Debug, thiserror::Error)]
pub enum KeyCommandError {
    /// No such role.
    #[error("there is no role {wanted:?}; the configuration has: {known}")]
    Role {
        /// As typed.
        wanted: String,
        /// With commas.
        known: String,
    },
    /// No name.
    #[error("--name must be 1 to {max} printable characters, without spaces around", max = KeyName::MAX_CHARS)]
    Name,
    /// No moment.
    #[error("--expires must be in the future: a time from now such as 90d, or a date such as 2027-01-31T00:00:00Z")]
    Expires,
    /// No network.
    #[error("--address {0:?} is no address and no network such as 10.0.0.0/8")]
    Address(String),
    /// No pattern.
    #[error("--model {0:?} is no name of a model and no pattern such as llama3.2:*")]
    Model(String),
    /// No SSH key.
    #[error("this is not one Ed25519 public key (ssh-ed25519 AAAA…): see ~/.ollama/id_ed25519.pub")]
    PublicKey,
    /// No duration.
    #[error("--overlap must be a duration such as 24h, 30m or 0s")]
    Overlap,
    /// No id. What was typed is not shown: it may be a whole key.
    #[error(
        "ID is the 12 characters between `{PREFIX}` and the next `_` of a key, as `key list` shows them; never the whole key"
    )]
    Id,
    /// No such key.
    #[error("there is no key {0}: see `key list`")]
    Unknown(KeyId),
    /// The key was not made.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// There is no pepper.
    #[error(transparent)]
    Pepper(#[from] PepperError),
    /// The store cannot do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It was made, and nobody has seen it.
    #[error("the key {id} was made but could not be printed ({source}): run `key revoke {id}` and try again")]
    Unseen {
        /// Which.
        id: KeyId,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The output is closed or full.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl KeyCommandError {
    /// 1: it failed; 2: it was asked for wrongly.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Role { .. }
            | Self::Name
            | Self::Expires
            | Self::Address(_)
            | Self::Model(_)
            | Self::PublicKey
            | Self::Overlap
            | Self::Id => 2,
            Self::Unknown(_)
            | Self::Issue(_)
            | Self::Pepper(_)
            | Self::Store(_)
            | Self::Unseen { .. }
            | Self::Output(_) => 1,
        }
    }
}

/// Does one of them; the id of the key it made or took back.
///
/// # Errors
/// [`KeyCommandError`], to be printed on standard error; its exit code goes with it.
pub async fn run(
    command: &KeyCommand,
    context: &KeyContext<'_>,
    console: Console<'_>,
) -> Result<Option<KeyId>, KeyCommandError> {
    match command {
        KeyCommand::Create(wanted) => create(wanted, context, console).await.map(Some),
        KeyCommand::AddSsh { wanted, file } => add_ssh(wanted, file, context, console).await.map(Some),
        KeyCommand::List { json } => {
            listing::list(if *json { Form::Json } else { Form::Table }, context, console).await.map(|()| None)
        }
        KeyCommand::Rotate { id, overlap } => rotate(id, overlap, context, console).await.map(Some),
        KeyCommand::Revoke { id } => revoke(id, context, console).await.map(Some),
    }
}

async fn create(
    wanted: &CreateArguments,
    context: &KeyContext<'_>,
    console: Console<'_>,
) -> Result<KeyId, KeyCommandError> {
    let now = Timestamp::from(context.now);
    let request = parse_request(wanted, context, now)?;
    let pepper = Pepper::open(context.state, context.store).await?;
    let issued = issue::issue(context.store, &pepper, request, now).await?;
    show(&issued, console)?;
    Ok(issued.record.id)
}

fn parse_request(
    wanted: &CreateArguments,
    context: &KeyContext<'_>,
    now: Timestamp,
) -> Result<KeyRequest, KeyCommandError> {
    let role = if wanted.honey { issue::HONEY } else { wanted.role.as_str() };
    if !wanted.honey && !context.roles.contains(&role) {
        return Err(KeyCommandError::Role { wanted: wanted.role.clone(), known: context.roles.join(", ") });
    }
    let name = KeyName::parse(&wanted.name).ok_or(KeyCommandError::Name)?;
    let expires_at = wanted.expires.as_deref().map(|text| parse_expiry(text, now)).transpose()?;
    Ok(KeyRequest { name, role: role.into(), expires_at, bounds: parse_bounds(wanted)? })
}

fn parse_bounds(wanted: &CreateArguments) -> Result<KeyBounds, KeyCommandError> {
    let network = |text: &String| {
        let address = text.parse::<IpAddr>().ok().map(IpNet::from).or_else(|| text.parse().ok());
        address.map(|network: IpNet| network.trunc()).ok_or_else(|| KeyCommandError::Address(text.clone()))
    };
    let pattern = |text: &String| {
        let plain = !text.contains(',');
        ModelPattern::parse(text).ok().filter(|_| plain).ok_or_else(|| KeyCommandError::Model(text.clone()))
    };
    Ok(KeyBounds {
        addresses: wanted.address.iter().map(network).collect::<Result<_, _>>()?,
        models: wanted.model.iter().map(pattern).collect::<Result<_, _>>()?,
    })
}

async fn add_ssh(
    wanted: &CreateArguments,
    file: &str,
    context: &KeyContext<'_>,
    console: Console<'_>,
) -> Result<KeyId, KeyCommandError> {
    let now = Timestamp::from(context.now);
    let request = parse_request(wanted, context, now)?;
    let key = read_public_key(file)?;
    let pepper = Pepper::open(context.state, context.store).await?;
    let record = issue::enrol(context.store, &pepper, (request, key), now).await?;
    let (name, role) = (record.name.as_str(), &record.role);
    writeln!(console.err, "The SSH key of {name} is enrolled as {} (role {role}).", record.id)?;
    writeln!(console.out, "{}", record.id)?;
    Ok(record.id)
}

/// One line, as `ssh-keygen` writes it.
fn read_public_key(file: &str) -> Result<PublicKey, KeyCommandError> {
    let mut text = String::new();
    let from: Box<dyn Read> =
        if file == "-" { Box::new(std::io::stdin().lock()) } else { Box::new(std::fs::File::open(file)?) };
    from.take(16 * 1024).read_to_string(&mut text)?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let key = lines.next().and_then(cli_signature::parse_public_key).filter(|_| lines.next().is_none());
    key.ok_or(KeyCommandError::PublicKey)
}

fn parse_expiry(text: &str, now: Timestamp) -> Result<Timestamp, KeyCommandError> {
    let at = Timestamp::parse_rfc3339(text).filter(|end| *end > now);
    at.or_else(|| now.later(text)).ok_or(KeyCommandError::Expires)
}

async fn rotate(
    id: &IdArgument,
    overlap: &str,
    context: &KeyContext<'_>,
    console: Console<'_>,
) -> Result<KeyId, KeyCommandError> {
    let now = Timestamp::from(context.now);
    let overlap = humantime::parse_duration(overlap).ok().filter(|overlap| now.after(*overlap).is_some());
    let turn = Turn { id: id.parse()?, overlap: overlap.ok_or(KeyCommandError::Overlap)?, now };
    let pepper = Pepper::open(context.state, context.store).await?;
    let issued = issue::rotate(context.store, &pepper, turn).await?;
    writeln!(console.err, "{}", farewell(turn))?;
    show(&issued, console)?;
    Ok(issued.record.id)
}

fn farewell(turn: Turn) -> String {
    match turn.now.after(turn.overlap) {
        Some(end) if turn.overlap >= Duration::from_secs(1) => {
            format!("The key {} opens until {end} at most.", turn.id)
        }
        Some(_) | None => format!("The key {} opens nothing any more.", turn.id),
    }
}

/// The key alone on standard output; what it is, on standard error.
fn show(issued: &IssuedKey, console: Console<'_>) -> Result<(), KeyCommandError> {
    let IssuedKey { record, text } = issued;
    let printed = writeln!(console.out, "{}", text.expose()).and_then(|()| console.out.flush());
    printed.map_err(|source| KeyCommandError::Unseen { id: record.id, source })?;
    let end = record.expires_at.map_or_else(|| "does not expire".to_owned(), |end| format!("expires {end}"));
    let (name, role) = (record.name.as_str(), &record.role);
    writeln!(console.err, "The key {} ({name}, role {role}) {end}. It is shown only now.", record.id)?;
    Ok(())
}

async fn revoke(id: &IdArgument, context: &KeyContext<'_>, console: Console<'_>) -> Result<KeyId, KeyCommandError> {
    let id = id.parse()?;
    let done = match context.store.revoke_key(id, Timestamp::from(context.now)).await? {
        Change::Made => "is revoked; running gateways refuse it within a second.",
        Change::NotMade if context.store.key(id).await?.is_some() => "was revoked before.",
        Change::NotMade => return Err(KeyCommandError::Unknown(id)),
    };
    writeln!(console.err, "The key {id} {done}")?;
    Ok(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_key_is_no_id_and_is_not_repeated() {
        let argument: IdArgument = "ogw_abcDEF012345_verysecret".parse().unwrap();
        let error = argument.parse().unwrap_err();
        assert!(!format!("{argument:?} {error} {error:?}").contains("verysecret"));
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn an_id_may_have_its_prefix() {
        for text in ["abcDEF012345", "ogw_abcDEF012345"] {
            let argument: IdArgument = text.parse().unwrap();
            assert_eq!(argument.parse().unwrap().as_str(), "abcDEF012345");
        }
    }

    #[test]
    fn expiry_is_a_duration_or_a_date_in_the_future() {
        let now = Timestamp::parse_rfc3339("2026-11-24T12:00:00Z").unwrap();
        let end = |text: &str| parse_expiry(text, now).ok().map(|end| end.to_string());
        assert_eq!(end("90d").as_deref(), Some("2027-02-22T12:00:00Z"));
        assert_eq!(end("2027-01-31T00:00:00+01:00").as_deref(), Some("2027-01-30T23:00:00Z"));
        for text in ["0s", "2026-11-24T12:00:00Z", "2020-01-01T00:00:00Z", "soon", "", "-1d", "9000y"] {
            assert_eq!(end(text), None, "{text}");
        }
    }
}
