//! `ollama-gateway usage`: what callers used, by caller, model or day.
//!
//! Guarantees: numbers of the database, to which a running gateway writes every two seconds; a key is shown with the name
//! that it has now. Does not: know what was used before `[usage] retention`.

use super::key::Console;
use crate::limits::{date_of, day_of};
use crate::store::{Revision, Store, StoreError, UsageBy, UsageQuery, Used};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::collections::HashMap;
use std::time::SystemTime;

/// Rows at most.
const MOST: u32 = 10_000;

/// What is asked.
#[derive(Debug, Args)]
pub struct UsageArguments {
    /// What sums are made by.
    #[arg(long, value_enum, default_value_t = By::Caller)]
    by: By,
    /// So many days, today among them.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=3650))]
    days: u16,
    /// One caller only: the id of a key, user:NAME, certificate:NAME, oidc:…, anonymous.
    #[arg(long, value_name = "CALLER")]
    of: Option<String>,
    /// One JSON array, for scripts.
    #[arg(long)]
    json: bool,
}

/// What sums are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    Caller,
    Model,
    Day,
}

/// Why a command printed nothing.
#[derive(Debug, thiserror::Error)]
pub enum UsageCommandError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody reads the output.
    #[error("writing the output: {0}")]
    Output(#[from] std::io::Error),
}

/// One row of `usage --json`: scripts rely on these names.
#[derive(Serialize)]
struct Row {
    /// The caller, the model, or the day.
    of: String,
    /// A key's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    requests: i64,
    prompt_tokens: i64,
    output_tokens: i64,
    model_ms: i64,
}

impl Row {
    fn of((of, used): (String, Used), by: By, names: &HashMap<String, String>) -> Self {
        let name = names.get(&of).cloned();
        let of = if by == By::Day { date_of(&of) } else { of };
        let Used { requests, prompt_tokens, output_tokens, model_ms } = used;
        Self { of, name, requests, prompt_tokens, output_tokens, model_ms }
    }
}

/// Prints it.
///
/// # Errors
/// [`UsageCommandError`]
pub async fn run(
    wanted: &UsageArguments,
    store: &Store,
    now: SystemTime,
    console: Console<'_>,
) -> Result<(), UsageCommandError> {
    let by = match wanted.by {
        By::Caller => UsageBy::Principal,
        By::Model => UsageBy::Model,
        By::Day => UsageBy::Day,
    };
    let since = day_of(now).saturating_sub(i64::from(wanted.days) - 1);
    let query = UsageQuery { by, since, principal: wanted.of.as_deref().unwrap_or(""), most: MOST };
    let sums = store.usage(query).await?;
    let names = if wanted.by == By::Caller { names(store).await? } else { HashMap::new() };
    let rows: Vec<_> = sums.into_iter().map(|sum| Row::of(sum, wanted.by, &names)).collect();
    if wanted.json {
        serde_json::to_writer(&mut *console.out, &rows).map_err(std::io::Error::from)?;
        writeln!(console.out)?;
        return Ok(());
    }
    let head = match wanted.by {
        By::Caller => "CALLER",
        By::Model => "MODEL",
        By::Day => "DAY",
    };
    table(head, &rows, console)?;
    Ok(())
}

async fn names(store: &Store) -> Result<HashMap<String, String>, StoreError> {
    let keys = store.keys_since(Revision::START).await?.keys;
    Ok(keys.iter().map(|key| (key.id.to_string(), key.name.as_str().to_owned())).collect())
}

fn table(head: &str, rows: &[Row], console: Console<'_>) -> std::io::Result<()> {
    if rows.is_empty() {
        return writeln!(console.err, "Nothing was used in that time.");
    }
    let shown = |row: &Row| match (&row.name, row.of.is_empty()) {
        (Some(name), _) => format!("{} {name}", row.of),
        (None, true) => "(none)".to_owned(),
        (None, false) => row.of.clone(),
    };
    let width = rows.iter().map(|row| shown(row).chars().count()).max().unwrap_or(0).max(head.len());
    let (requests, prompt, output, seconds) = ("REQUESTS", "PROMPT TOKENS", "OUTPUT TOKENS", "SECONDS");
    writeln!(console.out, "{head:<width$} {requests:>9} {prompt:>14} {output:>14} {seconds:>9}")?;
    for row in rows {
        let (name, seconds) = (shown(row), row.model_ms / 1000);
        let Row { requests, prompt_tokens, output_tokens, .. } = row;
        writeln!(console.out, "{name:<width$} {requests:>9} {prompt_tokens:>14} {output_tokens:>14} {seconds:>9}")?;
    }
    Ok(())
}
