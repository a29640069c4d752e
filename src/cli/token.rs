//! `ollama-gateway token revoke`.
//!
//! Guarantees: a token never stands among the arguments; running gateways refuse what was taken back within a second.
//! Does not: take back the tokens of a service, which end with its key (`key revoke`), nor those of another issuer.

use super::user::{self, UserCommandError};
use crate::config::secret::Secret;
use crate::gateway::Policy;
use crate::identity::accounts::Accounts;
use crate::identity::pepper::{Pepper, PepperError};
use crate::identity::refresh::REFRESH_PREFIX;
use crate::identity::sign_in::SignInFault;
use crate::identity::tokens::{PresentedToken, TokenRefusal};
use crate::store::timestamp::Timestamp;
use crate::store::{Change, Store, StoreError};
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Beyond the end of a token, until it is forgotten here: what clocks may differ by.
const MARGIN: Duration = Duration::from_secs(60);

/// What can be done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Take tokens of users back, at once; whoever had them signs in again.
    Revoke(RevokeArguments),
}

/// Which ones.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub struct RevokeArguments {
    /// All tokens of a user, from all of its sign-ins.
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// One token by its id (`jti`); what stands before the hyphen of it is a sign-in, with all its tokens.
    #[arg(long, value_name = "ID")]
    pub id: Option<String>,
    /// One token that stands on standard input; a refresh token ends its sign-in.
    #[arg(long)]
    pub stdin: bool,
}

impl TokenCommand {
    /// What it does to what.
    pub(super) fn changes(&self) -> (&'static str, Option<&str>) {
        let Self::Revoke(wanted) = self;
        ("token revoke", wanted.user.as_deref().or(wanted.id.as_deref().filter(|id| is_id(id))))
    }
}

/// Why a command did nothing.
#[derive(Debug, thiserror::Error)]
pub enum TokenCommandError {
    /// A user's name.
    #[error(transparent)]
    User(#[from] UserCommandError),
    /// No id. What was typed is not shown: it may be a token.
    #[error("--id wants the `jti` of a token, or what stands before its hyphen; a token itself goes to --stdin")]
    Id,
    /// No such sign-in.
    #[error("there is no sign-in {0} that still holds")]
    Unknown(String),
    /// Neither a refresh token nor one of ours.
    #[error("standard input holds no token that is believed here ({})", .0.as_str())]
    Token(TokenRefusal),
    /// It has no id to be known by.
    #[error("that token has no `jti`, so it cannot be taken back by itself: use --user")]
    WithoutId,
    /// It was not taken back.
    #[error(transparent)]
    SignIn(#[from] SignInFault),
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

impl TokenCommandError {
    /// 1: it failed; 2: it was asked for wrongly.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::User(error) => error.exit_code(),
            Self::Id => 2,
            Self::Unknown(_)
            | Self::Token(_)
            | Self::WithoutId
            | Self::SignIn(_)
            | Self::Pepper(_)
            | Self::Store(_)
            | Self::Output(_) => 1,
        }
    }
}

/// What the command works with.
#[derive(Debug)]
pub struct TokenContext<'a> {
    /// The configuration, for the keys of tokens.
    pub policy: &'a Policy,
    /// The open store.
    pub store: &'a Store,
    /// The state folder, for the pepper.
    pub state: &'a Path,
    /// The present.
    pub now: SystemTime,
}

/// Does it, and says so.
///
/// # Errors
/// [`TokenCommandError`]
pub async fn run(
    command: &TokenCommand,
    context: &TokenContext<'_>,
    err: &mut (dyn Write + Send),
) -> Result<(), TokenCommandError> {
    let TokenCommand::Revoke(wanted) = command;
    let told = match (&wanted.user, &wanted.id) {
        (Some(name), _) => of_user(name, context).await?,
        (None, Some(id)) => by_id(id, context).await?,
        (None, None) => presented(context).await?,
    };
    Ok(writeln!(err, "{told}; running gateways refuse it within a second.")?)
}

async fn of_user(name: &str, context: &TokenContext<'_>) -> Result<String, TokenCommandError> {
    let name = user::parse(name)?;
    match context.store.void_tokens(&name, Timestamp::from(context.now)).await? {
        Change::Made => Ok(format!("Every token of the user {name} is void")),
        Change::NotMade => Err(UserCommandError::Unknown(name).into()),
    }
}

async fn by_id(id: &str, context: &TokenContext<'_>) -> Result<String, TokenCommandError> {
    if !is_id(id) {
        return Err(TokenCommandError::Id);
    }
    let now = Timestamp::from(context.now);
    let end = now.after(context.policy.tokens.lifetime() + MARGIN).unwrap_or(now);
    if id.contains('-') {
        context.store.revoke_token(id, now, end).await?;
        return Ok(format!("The token {id} is void"));
    }
    match context.store.revoke_family(id, now, end).await? {
        Change::Made => Ok(format!("The sign-in {id} has ended, every token of it is void")),
        Change::NotMade => Err(TokenCommandError::Unknown(id.to_owned())),
    }
}

/// The ids that are made here: letters and digits, and a hyphen between two of them.
fn is_id(text: &str) -> bool {
    let part = |part: &str| (1..=32).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric());
    text.split_once('-').map_or_else(|| part(text), |(family, serial)| part(family) && part(serial))
}

async fn presented(context: &TokenContext<'_>) -> Result<String, TokenCommandError> {
    let text = super::user::read_line().unwrap_or_else(|| Secret::new(String::new()));
    let keys = &context.policy.tokens;
    let pepper = Pepper::open(context.state, context.store).await?;
    let accounts = Accounts::load(context.store.clone(), pepper).await?;
    if text.expose().starts_with(REFRESH_PREFIX) {
        let family = accounts.revoke_refresh(keys, &text, context.now).await?;
        let family = family.ok_or(TokenCommandError::Token(TokenRefusal::Malformed))?;
        return Ok(format!("The sign-in {family} has ended, every token of it is void"));
    }
    let token = PresentedToken::of(text.expose()).ok_or(TokenCommandError::Token(TokenRefusal::Malformed))?;
    let claims = keys.verify(&token, context.now).map_err(TokenCommandError::Token)?;
    let id = claims.id.as_ref().ok_or(TokenCommandError::WithoutId)?;
    accounts.revoke_access(id, claims.expires_at, context.now).await?;
    Ok(format!("The token {id} of {} is void", claims.subject))
}
