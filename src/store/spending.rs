//! What was spent of budgets: one row a budget of an account, for its period of now.
//!
//! Guarantees: gateways that share a database add to the same row, and each learns the total; a row of an earlier period
//! is replaced by one of a later. Does not: take part in a request; `limits::ledger` decides from memory.

use super::StoreError;
use crate::config::types::{Period, Resource};

pub(super) const ADD: &str = "INSERT INTO spending (account, resource, period, began, used) VALUES ($1, $2, $3, $4, $5) \
    ON CONFLICT (account, resource, period) DO UPDATE SET \
    used = CASE WHEN spending.began < excluded.began THEN excluded.used \
                WHEN spending.began = excluded.began THEN spending.used + excluded.used ELSE spending.used END, \
    began = CASE WHEN spending.began < excluded.began THEN excluded.began ELSE spending.began END \
    RETURNING used";
pub(super) const SELECT: &str = "SELECT account, resource, period, began, used FROM spending WHERE began + period > $1";
pub(super) const FORGET: &str = "DELETE FROM spending WHERE began + period <= $1";

/// A row: what one account has spent of one budget, or what changed in that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spending {
    /// The account's name.
    pub account: String,
    /// Of what.
    pub resource: Resource,
    /// Which length of period.
    pub period: Period,
    /// When the period began, in seconds since 1970.
    pub began: u64,
    /// How much was added; reservations that came back take away.
    pub change: i64,
}

/// A row as it comes.
pub(super) type Row = (String, String, i64, i64, i64);

/// What cannot have been written here is an error, never a guess.
pub(super) fn read((account, resource, period, began, change): Row, store: &str) -> Result<Spending, StoreError> {
    let damaged = || StoreError::Damaged { store: store.to_owned(), row: account.clone() };
    let resources = [Resource::Tokens, Resource::Requests, Resource::GpuTime];
    let periods = [Period::Minute, Period::Hour, Period::Day];
    Ok(Spending {
        resource: resources.into_iter().find(|known| known.name() == resource).ok_or_else(damaged)?,
        period: periods.into_iter().find(|known| Ok(known.seconds()) == u64::try_from(period)).ok_or_else(damaged)?,
        began: u64::try_from(began).map_err(|_| damaged())?,
        change,
        account,
    })
}

/// A number of seconds as the databases keep it.
pub(super) fn whole(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// The same methods for both databases; see `api_keys`.
macro_rules! spending_queries {
    ($store:ty) => {
        impl $store {
            pub(super) async fn add_spending(&self, rows: &[$crate::store::Spending]) -> Result<Vec<i64>, sqlx::Error> {
                let mut work = self.begin().await?;
                let mut totals = Vec::with_capacity(rows.len());
                for row in rows {
                    let query = sqlx::query_scalar($crate::store::spending::ADD)
                        .bind(row.account.as_str())
                        .bind(row.resource.name())
                        .bind($crate::store::spending::whole(row.period.seconds()))
                        .bind($crate::store::spending::whole(row.began))
                        .bind(row.change);
                    totals.push(query.fetch_one(&mut *work).await?);
                }
                work.commit().await?;
                Ok(totals)
            }

            pub(super) async fn spending(&self, now: i64) -> Result<Vec<$crate::store::spending::Row>, sqlx::Error> {
                let mut work = self.begin().await?;
                sqlx::query($crate::store::spending::FORGET).bind(now).execute(&mut *work).await?;
                let rows = sqlx::query_as($crate::store::spending::SELECT).bind(now).fetch_all(&mut *work).await?;
                work.commit().await?;
                Ok(rows)
            }
        }
    };
}

pub(super) use spending_queries;
