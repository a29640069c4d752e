//! `ollama-gateway user add|passwd|totp|role|lock|unlock|remove|list`.
//!
//! Guarantees: a password never stands among the arguments; one that is made here is printed alone on standard output,
//! once; a change is noticed by running gateways within a second, and voids the tokens from before; a second factor counts
//! when its first code was typed.
//! Does not: ask for a password at the terminal: one is made here, or read from standard input.

mod enrolment;
mod listing;

use super::key::Console;
use crate::config::secret::Secret;
use crate::identity::keys::{NoRandomness, PresentedKey};
use crate::identity::passwords::{self, HashFault, LEAST_PASSWORD, MAX_PASSWORD, Passwords};
use crate::identity::pepper::PepperError;
use crate::identity::second_factor::EnrolmentFault;
use crate::store::timestamp::Timestamp;
use crate::store::user_record::{PasswordHash, UserName};
use crate::store::{Change, Store, StoreError};
use clap::{Args, Subcommand};
use enrolment::{FirstCode, enrol};
use listing::Form;
use std::io::Read as _;
use std::path::Path;
use std::time::SystemTime;

/// What can be done with users.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user. Without a flag a password is made and printed, once.
    Add {
        /// The name: a-z, 0-9 and . _ - @ +
        name: String,
        /// A role of the configuration.
        #[arg(long)]
        role: String,
        /// Where the password comes from.
        #[command(flatten)]
        source: PasswordSource,
    },
    /// Give a user another password; the tokens from before are void.
    Passwd {
        /// The name.
        name: String,
        /// Where the password comes from.
        #[command(flatten)]
        source: PasswordSource,
    },
    /// Give a user a second factor: a QR code for the phone, and recovery codes, shown once. It counts when the first
    /// code that the phone shows has been typed.
    Totp {
        /// The name.
        name: String,
        /// It counts at once, without a first code: where nobody is there to type one.
        #[arg(long, conflicts_with = "remove")]
        unconfirmed: bool,
        /// Take it away instead.
        #[arg(long)]
        remove: bool,
    },
    /// Give a user another role; the tokens from before are void.
    Role {
        /// The name.
        name: String,
        /// A role of the configuration.
        role: String,
    },
    /// Keep a user out, at once.
    Lock {
        /// The name.
        name: String,
    },
    /// Let a user in again, also one whose failed tries made it wait.
    Unlock {
        /// The name.
        name: String,
    },
    /// Remove a user.
    Remove {
        /// The name.
        name: String,
    },
    /// Show all users.
    List {
        /// One JSON array, for scripts.
        #[arg(long)]
        json: bool,
    },
}

impl UserCommand {
    /// What it does to whom, where it does something.
    pub(super) fn changes(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Add { name, .. } => Some(("user add", name)),
            Self::Passwd { name, .. } => Some(("user passwd", name)),
            Self::Totp { name, remove: false, .. } => Some(("user totp", name)),
            Self::Totp { name, remove: true, .. } => Some(("user totp --remove", name)),
            Self::Role { name, .. } => Some(("user role", name)),
            Self::Lock { name } => Some(("user lock", name)),
            Self::Unlock { name } => Some(("user unlock", name)),
            Self::Remove { name } => Some(("user remove", name)),
            Self::List { .. } => None,
        }
    }
}

/// Where a password comes from.
#[derive(Debug, Clone, Copy, Args)]
#[group(multiple = false)]
pub struct PasswordSource {
    /// Read the password from standard input, one line.
    #[arg(long)]
    pub password_stdin: bool,
    /// Read a hash of it from standard input: argon2, or bcrypt of elsewhere.
    #[arg(long)]
    pub hash_stdin: bool,
}

/// What the commands work with.
#[derive(Debug)]
pub struct UserContext<'a> {
    /// The open store.
    pub store: &'a Store,
    /// The state folder, for the pepper.
    pub state: &'a Path,
    /// The roles of the configuration.
    pub roles: Vec<&'a str>,
    /// What a phone shows as the place of the code.
    pub issuer: &'a str,
    /// The present.
    pub now: SystemTime,
}

/// Why a command did nothing.
#[derive(Debug, thiserror::Error)]
pub enum UserCommandError {
    /// No name.
    #[error("a user's name is 1 to 64 of a-z, 0-9 and . _ - @ +, a letter or a digit first")]
    Name,
    /// No such role.
    #[error("there is no role {wanted:?}; the configuration has: {known}")]
    Role {
        /// As typed.
        wanted: String,
        /// With commas.
        known: String,
    },
    /// No password.
    #[error("a password has {LEAST_PASSWORD} to {MAX_PASSWORD} bytes, on one line of standard input")]
    Password,
    /// No hash.
    #[error("standard input holds no hash that can be checked here: argon2 or bcrypt (cost 14 at most), on one line")]
    Hash,
    /// There is one already.
    #[error("there is a user {0} already")]
    Exists(UserName),
    /// There is none.
    #[error("there is no user {0}: see `user list`")]
    Unknown(UserName),
    /// The QR code cannot be drawn.
    #[error("the second factor could not be shown, nothing was changed")]
    Picture,
    /// The phone's code did not come.
    #[error("no code that the phone shows was typed: nothing was changed")]
    Unconfirmed,
    /// The hash was not made.
    #[error(transparent)]
    Hashing(#[from] HashFault),
    /// The second factor was not made.
    #[error(transparent)]
    Enrolment(#[from] EnrolmentFault),
    /// There is nothing to make a password from.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
    /// There is no pepper.
    #[error(transparent)]
    Pepper(#[from] PepperError),
    /// The store cannot do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The output is closed or full.
    #[error("cannot write the output: {0}")]
    Output(#[from] std::io::Error),
}

impl UserCommandError {
    /// 1: it failed; 2: it was asked for wrongly.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Name | Self::Role { .. } | Self::Password | Self::Hash => 2,
            Self::Exists(_)
            | Self::Unknown(_)
            | Self::Picture
            | Self::Unconfirmed
            | Self::Hashing(_)
            | Self::Enrolment(_)
            | Self::Randomness(_)
            | Self::Pepper(_)
            | Self::Store(_)
            | Self::Output(_) => 1,
        }
    }
}

/// Does one of them.
///
/// # Errors
/// [`UserCommandError`]
pub async fn run(
    command: &UserCommand,
    context: &UserContext<'_>,
    console: Console<'_>,
) -> Result<(), UserCommandError> {
    let now = Timestamp::from(context.now);
    let store = context.store;
    match command {
        UserCommand::Add { name, role, source } => add((name, role), *source, context, console).await,
        UserCommand::Passwd { name, source } => passwd(name, *source, context, console).await,
        UserCommand::Totp { name, remove: false, unconfirmed } => {
            let first = if *unconfirmed { FirstCode::NotAsked } else { FirstCode::Asked };
            enrol(name, first, context, console).await
        }
        UserCommand::Totp { name, remove: true, .. } => {
            let name = parse(name)?;
            done(&name, store.set_totp(&name, None, &[]).await?, "has no second factor any more", console)
        }
        UserCommand::Role { name, role } => {
            let name = parse(name)?;
            let change = store.set_role(&name, known_role(role, context)?, now).await?;
            done(&name, change, &format!("has the role {role} now"), console)
        }
        UserCommand::Lock { name } => lock(name, context, console).await,
        UserCommand::Unlock { name } => {
            let name = parse(name)?;
            done(&name, store.unlock_user(&name, now).await?, "may sign in again", console)
        }
        UserCommand::Remove { name } => {
            let name = parse(name)?;
            done(&name, store.remove_user(&name).await?, "is removed", console)
        }
        UserCommand::List { json } => {
            listing::list(if *json { Form::Json } else { Form::Table }, context, console).await
        }
    }
}

pub(super) fn parse(name: &str) -> Result<UserName, UserCommandError> {
    UserName::parse(name).ok_or(UserCommandError::Name)
}

fn known_role<'a>(role: &'a str, context: &UserContext<'_>) -> Result<&'a str, UserCommandError> {
    if context.roles.contains(&role) {
        return Ok(role);
    }
    Err(UserCommandError::Role { wanted: role.to_owned(), known: context.roles.join(", ") })
}

fn done(name: &UserName, change: Change, what: &str, console: Console<'_>) -> Result<(), UserCommandError> {
    match change {
        Change::Made => Ok(writeln!(console.err, "The user {name} {what}.")?),
        Change::NotMade => Err(UserCommandError::Unknown(name.clone())),
    }
}

/// A password, where it has to be shown, and its hash.
struct Chosen {
    shown: Option<Secret>,
    hash: PasswordHash,
}

async fn choose(source: PasswordSource) -> Result<Chosen, UserCommandError> {
    if source.hash_stdin {
        let hash = read_line().filter(|line| passwords::is_importable(line.expose())).ok_or(UserCommandError::Hash)?;
        return Ok(Chosen { shown: None, hash: PasswordHash::new(hash.expose().to_owned()) });
    }
    let password = if source.password_stdin {
        let fits = |line: &Secret| (LEAST_PASSWORD..=MAX_PASSWORD).contains(&line.expose().len());
        read_line().filter(fits).ok_or(UserCommandError::Password)?
    } else {
        made_password()?
    };
    let hash = Passwords::default().hash(password.clone()).await?;
    Ok(Chosen { shown: (!source.password_stdin).then_some(password), hash })
}

/// One line, and nothing after it.
pub(super) fn read_line() -> Option<Secret> {
    let mut text = String::new();
    std::io::stdin().lock().take(4096).read_to_string(&mut text).ok()?;
    let text = Secret::new(text);
    let line = text.expose().strip_suffix('\n').unwrap_or(text.expose());
    let line = line.strip_suffix('\r').unwrap_or(line);
    (!line.contains('\n')).then(|| Secret::new(line.to_owned()))
}

/// 24 characters of base62: 142 bits.
fn made_password() -> Result<Secret, NoRandomness> {
    let key = PresentedKey::generate()?.reveal();
    let secret = key.expose().rsplit('_').next().unwrap_or_default();
    Ok(Secret::new(secret.get(..24).unwrap_or_default().to_owned()))
}

async fn add(
    (name, role): (&str, &str),
    source: PasswordSource,
    context: &UserContext<'_>,
    console: Console<'_>,
) -> Result<(), UserCommandError> {
    let (name, role) = (parse(name)?, known_role(role, context)?);
    let chosen = choose(source).await?;
    match context.store.add_user(&name, role, &chosen.hash, Timestamp::from(context.now)).await? {
        Change::Made => show(&chosen, &format!("The user {name} has the role {role}."), console),
        Change::NotMade => Err(UserCommandError::Exists(name)),
    }
}

async fn passwd(
    name: &str,
    source: PasswordSource,
    context: &UserContext<'_>,
    console: Console<'_>,
) -> Result<(), UserCommandError> {
    let name = parse(name)?;
    let chosen = choose(source).await?;
    match context.store.set_password(&name, &chosen.hash, Timestamp::from(context.now)).await? {
        Change::Made => show(&chosen, &format!("The user {name} has another password."), console),
        Change::NotMade => Err(UserCommandError::Unknown(name)),
    }
}

/// A password that was made here, alone on standard output.
fn show(chosen: &Chosen, what: &str, console: Console<'_>) -> Result<(), UserCommandError> {
    if let Some(password) = &chosen.shown {
        writeln!(console.out, "{}", password.expose())?;
        console.out.flush()?;
    }
    let once = if chosen.shown.is_some() { " The password is shown only now." } else { "" };
    Ok(writeln!(console.err, "{what}{once}")?)
}

async fn lock(name: &str, context: &UserContext<'_>, console: Console<'_>) -> Result<(), UserCommandError> {
    let name = parse(name)?;
    let change = context.store.lock_user(&name, Timestamp::from(context.now)).await?;
    if change == Change::NotMade && context.store.user(&name).await?.is_some() {
        return Ok(writeln!(console.err, "The user {name} was locked before.")?);
    }
    done(&name, change, "is locked; running gateways refuse its tokens within a second", console)
}
