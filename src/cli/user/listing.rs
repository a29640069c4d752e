//! `user list`: a table for people, JSON for scripts; never a hash.

use super::{UserCommandError, UserContext};
use crate::cli::key::Console;
use crate::store::timestamp::Timestamp;
use crate::store::user_record::UserRecord;
use serde::Serialize;
use std::io::Write;

#[derive(Clone, Copy)]
pub(super) enum Form {
    Table,
    Json,
}

/// One row of `user list --json`: scripts rely on these names.
#[derive(Serialize)]
struct ListedUser<'a> {
    name: &'a str,
    role: &'a str,
    state: &'static str,
    second_factor: bool,
    created_at: String,
}

impl<'a> ListedUser<'a> {
    fn of(user: &'a UserRecord, now: Timestamp) -> Self {
        let (name, role, state) = (user.name.as_str(), &*user.role, user.state(now));
        Self { name, role, state, second_factor: user.totp.is_some(), created_at: user.created_at.to_string() }
    }
}

pub(super) async fn list(form: Form, context: &UserContext<'_>, console: Console<'_>) -> Result<(), UserCommandError> {
    let users = context.store.users().await?;
    let now = Timestamp::from(context.now);
    let rows: Vec<_> = users.iter().map(|user| ListedUser::of(user, now)).collect();
    let out = console.out;
    match form {
        Form::Json => writeln!(out, "{}", serde_json::to_string_pretty(&rows).map_err(std::io::Error::from)?)?,
        Form::Table if rows.is_empty() => {
            writeln!(console.err, "There are no users yet: `user add NAME --role ROLE` makes one.")?;
        }
        Form::Table => table(&rows, out)?,
    }
    Ok(out.flush()?)
}

fn table(rows: &[ListedUser<'_>], out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(out, "{:24}  {:8}  {:13}  {:20}  ROLE", "NAME", "STATE", "SECOND FACTOR", "CREATED")?;
    for row in rows {
        let second = if row.second_factor { "yes" } else { "no" };
        writeln!(out, "{:24}  {:8}  {second:13}  {:20}  {}", row.name, row.state, row.created_at, row.role)?;
    }
    Ok(())
}
