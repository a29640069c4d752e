//! `check --probe`: synthetic requests through the real pipeline, for every role, route, limit, budget and guard, and a
//! table of what fired.
//!
//! Guarantees: the requests go through the parser, the pipeline and the counters that serve ([`exchange`]), each in front
//! of a fresh gateway made from the file ([`ground`]); a row is well only where the refusal that the file promises really
//! came, with its code, and from that limit and no other; a limit that is written and cannot fire is an error. Nothing of
//! the operator's is touched: Ollama, store and certificates are stood in for.
//! Does not: probe TLS, ACME, the deadlines of sockets, PostgreSQL, or outside issuers of tokens; wait longer than a few
//! seconds for a limit that is a time (the row says so). What would take too many requests is filled up in the counters
//! themselves first, for the same caller; the last requests are real ones.
//! Answers `field.md` E 26 (limits that silently do not limit).

mod bans;
mod bodies;
mod budgets;
mod content;
mod exchange;
mod flight;
mod ground;
mod guards;
mod messages;
mod pattern;
mod rates;
mod requests;
mod roles;
mod samples;
mod stand_in;

use crate::cli::CommandError;
use crate::config::Config;
use exchange::{Reached, Seen};
use ground::Ground;
use std::fmt::Write as _;

/// One thing that was probed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Of which kind.
    pub area: Area,
    /// What: mostly the key of the configuration.
    pub what: String,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// As promised: the code, or what was seen.
    Fired(String),
    /// Not as promised, in a plain sentence: an error.
    Silent(String),
    /// There is nothing to fire, or it would take too long: why.
    Left(String),
}

/// A part of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// Roles and routes.
    Roles,
    /// What a role's calls may say.
    Guards,
    /// Heads and credentials.
    Requests,
    /// Sizes and well-formed JSON.
    Bodies,
    /// `validation.blocked` and `patterns`
    Content,
    /// `[limits]`
    Rates,
    /// `tokens`, `requests`, `gpu_seconds`
    Budgets,
    /// At the same time: requests, the queue, connections.
    Flight,
    /// `[bans]`
    Bans,
}

impl Area {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 9] = [
        Self::Roles,
        Self::Guards,
        Self::Requests,
        Self::Bodies,
        Self::Content,
        Self::Rates,
        Self::Budgets,
        Self::Flight,
        Self::Bans,
    ];

    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Roles => "roles",
            Self::Guards => "guards",
            Self::Requests => "requests",
            Self::Bodies => "bodies",
            Self::Content => "content",
            Self::Rates => "rates",
            Self::Budgets => "budgets",
            Self::Flight => "at once",
            Self::Bans => "bans",
        }
    }
}

/// Probes every area of this configuration.
///
/// # Errors
/// The probe itself could not be set up.
pub async fn run(config: &Config) -> Result<Vec<Row>, CommandError> {
    examine(config, config, &Area::ALL).await
}

/// Probes gateways that are made from `effective` for what `stated` promises. They are the same but in tests, which take
/// a limit out of the one and see its row of the other fail.
///
/// # Errors
/// The probe itself could not be set up.
pub async fn examine(stated: &Config, effective: &Config, areas: &[Area]) -> Result<Vec<Row>, CommandError> {
    let ground = Ground::prepare(stated, effective).await?;
    let probed = areas.iter().map(|area| Box::pin(probe(&ground, *area)));
    let mut rows = Vec::new();
    for of_area in futures_util::future::join_all(probed).await {
        rows.extend(of_area?);
    }
    Ok(rows)
}

async fn probe(ground: &Ground, area: Area) -> Result<Vec<Row>, CommandError> {
    let mut table = Table { area, rows: Vec::new() };
    let rows = &mut table;
    match area {
        Area::Roles => roles::probe(ground, rows).await?,
        Area::Guards => guards::probe(ground, rows).await?,
        Area::Requests => requests::probe(ground, rows).await?,
        Area::Bodies => bodies::probe(ground, rows).await?,
        Area::Content => content::probe(ground, rows).await?,
        Area::Rates => rates::probe(ground, rows).await?,
        Area::Budgets => budgets::probe(ground, rows).await?,
        Area::Flight => flight::probe(ground, rows).await?,
        Area::Bans => bans::probe(ground, rows).await?,
    }
    Ok(table.rows)
}

/// The rows of one area.
struct Table {
    area: Area,
    rows: Vec<Row>,
}

impl Table {
    fn add(&mut self, what: impl Into<String>, verdict: Verdict) {
        self.rows.push(Row { area: self.area, what: what.into(), verdict });
    }
}

/// Whether the refusal is one of these codes.
fn refused(seen: &Seen, codes: &[&str]) -> Verdict {
    if seen.reached == Reached::No && codes.contains(&seen.code.as_str()) {
        return Verdict::Fired(format!("{} {}", seen.status, seen.code));
    }
    Verdict::Silent(format!("{} was to be the answer, but {seen}", codes.join(" or ")))
}

/// Whether the request came through.
fn passed(seen: &Seen) -> Verdict {
    match seen.reached {
        Reached::Upstream => Verdict::Fired("goes through".to_owned()),
        Reached::No => Verdict::Silent(format!("it was to go through, but {seen}")),
    }
}

/// Whether every row is well.
#[must_use]
pub fn is_well(rows: &[Row]) -> bool {
    !rows.iter().any(|row| matches!(row.verdict, Verdict::Silent(_)))
}

/// The table, for people.
#[must_use]
pub fn shown(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.what.chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for row in rows {
        let (mark, told) = match &row.verdict {
            Verdict::Fired(told) => ("ok", told),
            Verdict::Silent(told) => ("ERROR", told),
            Verdict::Left(told) => ("-", told),
        };
        // Writing to a string cannot fail.
        writeln!(text, "{mark:<6}{:<9}{:<width$}  {told}", row.area.name(), row.what).unwrap_or_default();
    }
    let count = |wanted: fn(&Verdict) -> bool| rows.iter().filter(|row| wanted(&row.verdict)).count();
    let fired = count(|verdict| matches!(verdict, Verdict::Fired(_)));
    let silent = count(|verdict| matches!(verdict, Verdict::Silent(_)));
    let left = count(|verdict| matches!(verdict, Verdict::Left(_)));
    writeln!(text, "{fired} fired, {silent} did not, {left} had nothing to fire or were not waited for")
        .unwrap_or_default();
    text
}
