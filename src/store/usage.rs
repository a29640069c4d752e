//! What callers used: one row a day, principal and model.
//!
//! Guarantees: gateways that share a database add to the same row; sums are made by the database; days before the
//! retention are deleted. Does not: limit anything (`spending` does), or know a name of a key, a prompt or an address.

use super::{Database, Store, StoreError, each};

pub(super) const ADD: &str = "INSERT INTO usage (day, principal, model, requests, prompt_tokens, output_tokens, model_ms) \
    VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (day, principal, model) DO UPDATE SET \
    requests = usage.requests + excluded.requests, prompt_tokens = usage.prompt_tokens + excluded.prompt_tokens, \
    output_tokens = usage.output_tokens + excluded.output_tokens, model_ms = usage.model_ms + excluded.model_ms";
pub(super) const FORGET: &str = "DELETE FROM usage WHERE day < $1";

macro_rules! sums {
    ($name:literal, $order:literal) => {
        concat!(
            "SELECT ",
            $name,
            " AS name, CAST(SUM(requests) AS BIGINT), CAST(SUM(prompt_tokens) AS BIGINT), \
             CAST(SUM(output_tokens) AS BIGINT), CAST(SUM(model_ms) AS BIGINT) FROM usage \
             WHERE day >= $1 AND ($2 = '' OR principal = $2) GROUP BY ",
            $order
        )
    };
}

/// What sums are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageBy {
    /// Each caller: a key's id, `user:NAME`, `certificate:NAME`, `oidc:…`, `anonymous`.
    Principal,
    /// Each model.
    Model,
    /// Each day.
    Day,
}

impl UsageBy {
    pub(super) const fn sql(self) -> &'static str {
        match self {
            Self::Principal => {
                sums!("principal", "principal ORDER BY SUM(prompt_tokens + output_tokens) DESC, principal LIMIT $3")
            }
            Self::Model => sums!("model", "model ORDER BY SUM(prompt_tokens + output_tokens) DESC, model LIMIT $3"),
            Self::Day => sums!("CAST(day AS TEXT)", "day ORDER BY day DESC LIMIT $3"),
        }
    }
}

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct UsageQuery<'a> {
    /// What sums are made by.
    pub by: UsageBy,
    /// The first day, since 1970.
    pub since: i64,
    /// One caller; empty: all.
    pub principal: &'a str,
    /// Rows at most.
    pub most: u32,
}

/// What was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// Requests that were answered or failed; refusals of callers who are known count too.
    pub requests: i64,
    /// Tokens of prompts.
    pub prompt_tokens: i64,
    /// Tokens of answers.
    pub output_tokens: i64,
    /// How long Ollama says it worked, in milliseconds.
    pub model_ms: i64,
}

/// One row that is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRow {
    /// The day, since 1970.
    pub day: i64,
    /// Who.
    pub principal: String,
    /// Which model; empty: none.
    pub model: String,
    /// How much.
    pub used: Used,
}

/// A sum as it comes.
pub(super) type Row = (String, i64, i64, i64, i64);

pub(super) fn read((name, requests, prompt_tokens, output_tokens, model_ms): Row) -> (String, Used) {
    (name, Used { requests, prompt_tokens, output_tokens, model_ms })
}

impl Store {
    /// Adds to what was used.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn add_usage(&self, rows: &[UsageRow]) -> Result<(), StoreError> {
        each!(self, db => self.bounded("adding to what was used", db.add_usage(rows)).await)
    }

    /// Sums of what was used, the largest first; by day: the last day first.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn usage(&self, query: UsageQuery<'_>) -> Result<Vec<(String, Used)>, StoreError> {
        let rows = each!(self, db => self.bounded("reading what was used", db.usage(query)).await)?;
        Ok(rows.into_iter().map(read).collect())
    }

    /// Deletes what was used before a day; how many rows went.
    ///
    /// # Errors
    /// The store does not answer, or refuses.
    pub async fn forget_usage(&self, before: i64) -> Result<u64, StoreError> {
        each!(self, db => self.bounded("deleting old usage", db.forget_usage(before)).await)
    }
}

/// The same methods for both databases; see `api_keys`.
macro_rules! usage_queries {
    ($store:ty) => {
        impl $store {
            pub(super) async fn add_usage(&self, rows: &[$crate::store::UsageRow]) -> Result<(), sqlx::Error> {
                let mut work = self.begin().await?;
                for row in rows {
                    let query = sqlx::query($crate::store::usage::ADD)
                        .bind(row.day)
                        .bind(row.principal.as_str())
                        .bind(row.model.as_str())
                        .bind(row.used.requests)
                        .bind(row.used.prompt_tokens)
                        .bind(row.used.output_tokens)
                        .bind(row.used.model_ms);
                    query.execute(&mut *work).await?;
                }
                work.commit().await
            }

            pub(super) async fn usage(
                &self,
                query: $crate::store::UsageQuery<'_>,
            ) -> Result<Vec<$crate::store::usage::Row>, sqlx::Error> {
                let rows = sqlx::query_as(query.by.sql()).bind(query.since).bind(query.principal);
                rows.bind(i64::from(query.most)).fetch_all(self.reader()).await
            }

            pub(super) async fn forget_usage(&self, before: i64) -> Result<u64, sqlx::Error> {
                let mut work = self.begin().await?;
                let gone = sqlx::query($crate::store::usage::FORGET).bind(before).execute(&mut *work).await?;
                work.commit().await?;
                Ok(gone.rows_affected())
            }
        }
    };
}

pub(super) use usage_queries;
