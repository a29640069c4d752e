//! `ollama-gateway ban add|list|remove`.
//!
//! Guarantees: running gateways follow within a second; what is changed is in the audit log; a whole key that was typed by mistake is not repeated.

use super::key::Console;
use crate::identity::banning::{self, WrongBan};
use crate::store::timestamp::Timestamp;
use crate::store::{Ban, Banned, Change, Store, StoreError};
use clap::{Args, Subcommand};
use serde::Serialize;
use std::time::SystemTime;

/// What can be done with bans.
#[derive(Debug, Subcommand)]
pub enum BanCommand {
    /// Refuse an address, a network, a key or a user for a while.
    Add(AddArguments),
    /// Show the bans that last.
    List {
        /// One JSON array, for scripts.
        #[arg(long)]
        json: bool,
    },
    /// Lift a ban.
    Remove {
        /// As `ban list` shows it.
        #[arg(value_name = "ADDRESS|NETWORK|KEY|user:NAME")]
        who: String,
    },
}

impl BanCommand {
    /// What it does to whom, where it does something; what names nobody is not repeated.
    pub(super) fn changes(&self) -> Option<(&'static str, Option<String>)> {
        let named = |who: &str| banning::who(who).ok().map(|who| who.to_string());
        match self {
            Self::Add(wanted) => Some(("ban add", named(&wanted.who))),
            Self::Remove { who } => Some(("ban remove", named(who))),
            Self::List { .. } => None,
        }
    }
}

/// Who is banned, how long and why.
#[derive(Debug, Args)]
pub struct AddArguments {
    /// 192.0.2.1, 2001:db8::/32, the id of a key as `key list` shows it, or user:NAME.
    #[arg(value_name = "ADDRESS|NETWORK|KEY|user:NAME")]
    pub who: String,
    /// How long, such as 1h or 30d.
    #[arg(long = "for", value_name = "DURATION", default_value = "24h")]
    pub time: String,
    /// Why: shown by `ban list`.
    #[arg(long, default_value = "")]
    pub why: String,
}

/// Why a command did nothing.
#[derive(Debug, thiserror::Error)]
pub enum BanCommandError {
    /// Nobody. What was typed is not shown: it may be a whole key.
    #[error(
        "an address (192.0.2.1), a network (2001:db8::/32), the 12 characters of a key's id, never the whole key, or user:NAME"
    )]
    Who,
    /// No duration.
    #[error("--for must be a duration such as 1h, 30m or 7d")]
    Time,
    /// Too long a text.
    #[error("--why must be at most 200 printable characters")]
    Why,
    /// No such ban.
    #[error("{0} is not banned: see `ban list`")]
    Unknown(Banned),
    /// The store cannot do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody reads the output.
    #[error("writing the output: {0}")]
    Output(#[from] std::io::Error),
}

impl BanCommandError {
    /// The exit code of the process.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Who | Self::Time | Self::Why => 2,
            Self::Unknown(_) | Self::Store(_) | Self::Output(_) => 1,
        }
    }
}

/// Does one of them.
///
/// # Errors
/// [`BanCommandError`], to be printed on standard error.
pub async fn run(
    command: &BanCommand,
    store: &Store,
    now: SystemTime,
    console: Console<'_>,
) -> Result<(), BanCommandError> {
    let now = Timestamp::from(now);
    match command {
        BanCommand::Add(wanted) => {
            let ban = banning::ban((&wanted.who, &wanted.time), &wanted.why, now)?;
            match store.put_ban(&ban).await? {
                Change::Made => writeln!(
                    console.err,
                    "{} is banned until {}; running gateways refuse it within a second.",
                    ban.who, ban.ends_at
                )?,
                Change::NotMade => writeln!(
                    console.err,
                    "{} is banned for at least that long already, and stays so: see `ban list`, `ban remove`.",
                    ban.who
                )?,
            }
        }
        BanCommand::List { json } => list(&store.bans(now).await?.1, *json, console)?,
        BanCommand::Remove { who } => {
            let who = banning::who(who)?;
            if store.remove_ban(&who).await? == Change::NotMade {
                return Err(BanCommandError::Unknown(who));
            }
            writeln!(console.err, "{who} is served again.")?;
        }
    }
    Ok(())
}

impl From<WrongBan> for BanCommandError {
    fn from(wrong: WrongBan) -> Self {
        match wrong {
            WrongBan::Who => Self::Who,
            WrongBan::Time => Self::Time,
            WrongBan::Why => Self::Why,
        }
    }
}

/// One row of `ban list --json`: scripts rely on these names.
#[derive(Serialize)]
struct Listed {
    who: String,
    why: String,
    made_at: String,
    ends_at: String,
}

fn list(bans: &[Ban], json: bool, console: Console<'_>) -> Result<(), BanCommandError> {
    let rows: Vec<Listed> = bans.iter().map(Listed::of).collect();
    if json {
        serde_json::to_writer(&mut *console.out, &rows).map_err(std::io::Error::from)?;
        writeln!(console.out)?;
        return Ok(());
    }
    for row in rows {
        writeln!(console.out, "{:<40} until {}  since {}  {}", row.who, row.ends_at, row.made_at, row.why)?;
    }
    Ok(())
}

impl Listed {
    fn of(ban: &Ban) -> Self {
        let (made_at, ends_at) = (ban.made_at.to_string(), ban.ends_at.to_string());
        Self { who: ban.who.to_string(), why: ban.why.clone(), made_at, ends_at }
    }
}
