//! `key list`: a table for people, JSON for scripts; never a secret.

use super::{Console, KeyCommandError, KeyContext};
use crate::ollama::model_name::ModelPattern;
use crate::store::Revision;
use crate::store::key_record::{KeyId, KeyRecord};
use crate::store::timestamp::Timestamp;
use serde::Serialize;
use std::io::Write;

#[derive(Clone, Copy)]
pub(super) enum Form {
    Table,
    Json,
}

/// One row of `key list --json`: scripts rely on these names.
#[derive(Serialize)]
struct ListedKey<'a> {
    id: &'a str,
    name: &'a str,
    role: &'a str,
    kind: &'static str,
    addresses: Vec<String>,
    models: Vec<&'a str>,
    state: &'static str,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    replaced_by: Option<&'a str>,
}

impl<'a> ListedKey<'a> {
    fn of(key: &'a KeyRecord, now: Timestamp) -> Self {
        Self {
            id: key.id.as_str(),
            name: key.name.as_str(),
            role: &key.role,
            kind: if key.public_key.is_some() { "ssh" } else { "secret" },
            addresses: key.bounds.addresses.iter().map(ToString::to_string).collect(),
            models: key.bounds.models.iter().map(ModelPattern::as_str).collect(),
            state: key.state(now).as_str(),
            created_at: key.created_at.to_string(),
            expires_at: key.expires_at.map(|end| end.to_string()),
            revoked_at: key.revoked_at.map(|end| end.to_string()),
            replaced_by: key.replaced_by.as_ref().map(KeyId::as_str),
        }
    }
}

pub(super) async fn list(form: Form, context: &KeyContext<'_>, console: Console<'_>) -> Result<(), KeyCommandError> {
    let records = context.store.keys_since(Revision::START).await?.keys;
    let now = Timestamp::from(context.now);
    let keys: Vec<_> = records.iter().map(|key| ListedKey::of(key, now)).collect();
    match form {
        Form::Json => print_json(&keys, console.out)?,
        Form::Table => print_table(&keys, console)?,
    }
    Ok(())
}

fn print_json(keys: &[ListedKey<'_>], out: &mut dyn Write) -> std::io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, keys)?;
    writeln!(out)?;
    out.flush()
}

fn print_table(keys: &[ListedKey<'_>], console: Console<'_>) -> std::io::Result<()> {
    if keys.is_empty() {
        return writeln!(console.err, "There are no keys yet: `key create --role ROLE --name NAME` makes one.");
    }
    let out = console.out;
    writeln!(out, "{:12}  {:8}  {:20}  {:20}  {:12}  NAME", "ID", "STATE", "CREATED", "EXPIRES", "ROLE")?;
    for key in keys {
        let expires = key.expires_at.as_deref().unwrap_or("never");
        let (id, state, created, role, name) = (key.id, key.state, &key.created_at, key.role, key.name);
        writeln!(out, "{id:12}  {state:8}  {created:20}  {expires:20}  {role:12}  {name}")?;
    }
    out.flush()
}
