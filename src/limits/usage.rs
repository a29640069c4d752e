//! Who used how much of which model on which day: counted in memory, written behind the requests.
//!
//! Guarantees: a request never waits for the store; a crash loses what was counted in the last two seconds at most; the
//! number of lines is bounded, and what comes after is counted under one name; what is older than the retention is
//! deleted every hour. Does not: limit anything; [`super::Ledger`] does.

use crate::store::timestamp::Timestamp;
use crate::store::{Store, StoreError, UsageRow, Used};
use crate::telemetry::clock;
use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

const EVERY: Duration = Duration::from_secs(2);
const FORGET_EVERY: Duration = Duration::from_secs(60 * 60);
const DAY: u64 = 24 * 60 * 60;
/// Lines that wait for the store at most.
const MAX_LINES: usize = 20_000;
/// Who they are counted under beyond that.
const OTHERS: &str = "(others)";

/// Day, principal, model.
type Line = (i64, Arc<str>, Box<str>);

/// What is counted and not written yet.
#[derive(Debug, Default)]
pub struct UsageMeter {
    lines: Mutex<HashMap<Line, Used>>,
    writing: tokio::sync::Mutex<()>,
}

/// The day of a moment, since 1970.
#[must_use]
pub fn day_of(now: SystemTime) -> i64 {
    i64::try_from(clock::unix_seconds(now) / DAY).unwrap_or(i64::MAX)
}

/// A day as a date: `20000` is `2024-10-04`.
#[must_use]
pub fn date_of(day: &str) -> String {
    let seconds = day.parse::<i64>().unwrap_or(0).saturating_mul(i64::try_from(DAY).unwrap_or(0));
    Timestamp::from_seconds(seconds).to_string().get(..10).unwrap_or_default().to_owned()
}

impl UsageMeter {
    fn lock(&self) -> MutexGuard<'_, HashMap<Line, Used>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one request.
    pub fn count(&self, (principal, model): (&Arc<str>, &str), used: Used, now: SystemTime) {
        self.add((day_of(now), Arc::clone(principal), model.into()), used);
    }

    fn add(&self, line: Line, used: Used) {
        let mut lines = self.lock();
        let full = lines.len() >= MAX_LINES && !lines.contains_key(&line);
        let line = if full { (line.0, OTHERS.into(), "".into()) } else { line };
        let sum = lines.entry(line).or_default();
        sum.requests = sum.requests.saturating_add(used.requests);
        sum.prompt_tokens = sum.prompt_tokens.saturating_add(used.prompt_tokens);
        sum.output_tokens = sum.output_tokens.saturating_add(used.output_tokens);
        sum.model_ms = sum.model_ms.saturating_add(used.model_ms);
    }

    /// Writes what was counted.
    ///
    /// # Errors
    /// The store does not take it; it is written the next time.
    pub async fn write(&self, store: &Store) -> Result<(), StoreError> {
        let _turn = self.writing.lock().await;
        let taken = mem::take(&mut *self.lock());
        let row = |((day, principal, model), used): (&Line, &Used)| UsageRow {
            day: *day,
            principal: principal.to_string(),
            model: model.to_string(),
            used: *used,
        };
        let rows: Vec<_> = taken.iter().map(row).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let written = store.add_usage(&rows).await;
        if written.is_err() {
            taken.into_iter().for_each(|(line, used)| self.add(line, used));
        }
        written
    }

    /// Writes for ever, and deletes what is older than `retention` says. To be spawned once.
    pub async fn write_behind(self: Arc<Self>, store: Store, retention: impl Fn() -> Duration + Send) {
        let (mut failing, mut forgotten) = (false, None::<tokio::time::Instant>);
        loop {
            let mut step = self.write(&store).await;
            if step.is_ok() && forgotten.is_none_or(|at| at.elapsed() > FORGET_EVERY) {
                forgotten = Some(tokio::time::Instant::now());
                let days = i64::try_from(retention().as_secs() / DAY).unwrap_or(i64::MAX);
                step = store.forget_usage(day_of(clock::now()).saturating_sub(days)).await.map(drop);
            }
            match step {
                Ok(()) => failing = false,
                Err(error) if !failing => {
                    failing = true;
                    tracing::error!(event = "usage_not_written", %error, "what is used is not in the store yet");
                }
                Err(_) => {}
            }
            tokio::time::sleep(EVERY).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_a_date() {
        assert_eq!((date_of("0"), date_of("20000")), ("1970-01-01".to_owned(), "2024-10-04".to_owned()));
    }

    #[test]
    fn lines_are_bounded_and_nothing_is_lost() {
        let meter = UsageMeter::default();
        let one = Used { requests: 1, prompt_tokens: 2, output_tokens: 3, model_ms: 4 };
        for n in 0..MAX_LINES + 50 {
            meter.count((&format!("p{n}").into(), "tiny"), one, SystemTime::UNIX_EPOCH);
        }
        meter.count((&"p1".into(), "tiny"), one, SystemTime::UNIX_EPOCH);
        let lines = meter.lock();
        assert_eq!(lines.len(), MAX_LINES + 1);
        assert_eq!(lines.values().map(|used| used.requests).sum::<i64>(), i64::try_from(MAX_LINES).unwrap() + 51);
        assert_eq!(lines[&(0, "(others)".into(), "".into())].output_tokens, 150);
    }
}
