//! The one place that reads the wall clock, and the one format of a time in text.
//!
//! Guarantees: every other part is given its time, so a test can give another. Does not: measure durations; those are
//! differences of `Instant`, which no correction of the clock moves.

use std::fmt::Display;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The last second that RFC 3339 can write: the end of the year 9999.
const LAST: Duration = Duration::from_secs(253_402_300_799);

/// The time now.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is where the clock is read")]
pub fn now() -> SystemTime {
    SystemTime::now()
}

/// Whole seconds since 1970; 0 for a time before that.
#[must_use]
pub fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `2026-11-24T13:12:25.042Z`, always in UTC and with milliseconds; times that it cannot write become the nearest that
/// it can.
pub fn rfc3339(time: SystemTime) -> impl Display {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().min(LAST);
    humantime::format_rfc3339_millis(UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_in_utc_with_milliseconds() {
        assert_eq!(
            rfc3339(UNIX_EPOCH + Duration::from_millis(1_795_525_945_042)).to_string(),
            "2026-11-24T13:12:25.042Z"
        );
    }

    #[test]
    fn times_out_of_range_do_not_panic() {
        assert_eq!(rfc3339(UNIX_EPOCH - Duration::from_secs(1)).to_string(), "1970-01-01T00:00:00.000Z");
        let far = UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert_eq!(rfc3339(far).to_string(), "9999-12-31T23:59:59.000Z");
        assert_eq!(unix_seconds(UNIX_EPOCH - Duration::from_secs(1)), 0);
    }
}
