//! A moment in whole seconds, as the store keeps it and as people read it (RFC 3339, UTC).
//!
//! Does not: read a clock. The present is always passed in.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Seconds since 1970, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The end of the year 9999: RFC 3339 ends there.
    const LAST: i64 = 253_402_300_799;

    /// From what the store holds.
    #[must_use]
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds)
    }

    /// What the store holds.
    #[must_use]
    pub const fn seconds(self) -> i64 {
        self.0
    }

    /// So much later; `None` past the year 9999.
    #[must_use]
    pub fn after(self, duration: Duration) -> Option<Self> {
        let seconds = i64::try_from(duration.as_secs()).ok()?;
        self.0.checked_add(seconds).filter(|end| *end <= Self::LAST).map(Self)
    }

    /// Later by what a person writes, such as `1h` or `30d`; `None`: that is no duration, or none that is later.
    #[must_use]
    pub fn later(self, duration: &str) -> Option<Self> {
        let duration = humantime::parse_duration(duration).ok()?;
        self.after(duration).filter(|end| *end > self)
    }

    /// How long after `earlier`; nothing where it is before.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_secs(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads `2027-01-31T00:00:00Z`, or the same with an offset.
    #[must_use]
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        OffsetDateTime::parse(text, &Rfc3339).ok().map(|moment| Self(moment.unix_timestamp()))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(moment: SystemTime) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        match moment.duration_since(UNIX_EPOCH) {
            Ok(since) => Self(seconds(since)),
            Err(before) => Self(seconds(before.duration()).saturating_neg()),
        }
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let moment = OffsetDateTime::from_unix_timestamp(self.0).map_err(|_| fmt::Error)?;
        f.write_str(&moment.format(&Rfc3339).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_rfc3339() {
        let moment = Timestamp::parse_rfc3339("2027-01-31T02:00:00+02:00").unwrap();
        assert_eq!(moment.to_string(), "2027-01-31T00:00:00Z");
        assert_eq!(Timestamp::parse_rfc3339("next week"), None);
    }

    #[test]
    fn does_not_pass_the_year_9999() {
        let moment = Timestamp::from_seconds(Timestamp::LAST - 10);
        assert_eq!(moment.after(Duration::from_secs(10)), Some(Timestamp(Timestamp::LAST)));
        assert_eq!(moment.after(Duration::from_secs(11)), None);
        assert_eq!(moment.after(Duration::MAX), None);
    }
}
