//! The numbers of one bucket, and what a caller is told of them.
//!
//! Guarantees: every product of an interval and a burst fits its integer (a configured rate is clamped to a year and to
//! 2⁶² ns before it is used), so no rate makes the arithmetic panic or wrap; a wait is rounded up and at least a second.

use crate::config::types::Rate;
use http::HeaderName;
use std::num::NonZeroU32;
use std::time::Duration;

const YEAR: Duration = Duration::from_hours(365 * 24);
/// Half of what `keys::NO_ROOM` lies ahead: no burst reaches it.
const MOST_NS: u64 = 1 << 62;

/// A rate, ready for counting.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bucket {
    /// Its name in the headers.
    pub(super) name: &'static str,
    /// Nanoseconds until one more is allowed. Not 0.
    pub(super) interval_ns: u64,
    /// How many at once.
    pub(super) burst: NonZeroU32,
    count: NonZeroU32,
    window: Duration,
}

impl Bucket {
    pub(super) fn new(name: &'static str, rate: Rate) -> Self {
        let window = rate.per.clamp(Duration::from_nanos(1), YEAR);
        let interval = (window / rate.count.get()).max(Duration::from_nanos(1));
        let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(MOST_NS);
        let most = u32::try_from(MOST_NS / interval_ns).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX);
        Self { name, interval_ns, burst: rate.burst.min(most), count: rate.count, window }
    }

    /// The same numbers for governor.
    pub(super) fn for_governor(&self) -> Option<governor::Quota> {
        governor::Quota::with_period(Duration::from_nanos(self.interval_ns)).map(|q| q.allow_burst(self.burst))
    }

    /// How far ahead of now an arrival time may lie for one more to be allowed.
    pub(super) fn tolerance_ns(&self) -> u64 {
        self.interval_ns.saturating_mul(u64::from(self.burst.get().saturating_sub(1)))
    }

    /// What the caller is told where so many are left.
    pub(super) fn quota(&self, remaining: u32) -> Quota {
        let taken = u64::from(self.burst.get().saturating_sub(remaining));
        Quota {
            policy: self.name,
            limit: self.count.get(),
            window_s: whole_seconds(self.window).max(1),
            remaining,
            reset_s: whole_seconds(Duration::from_nanos(self.interval_ns.saturating_mul(taken))),
        }
    }

    /// What the caller is told who must wait.
    pub(super) fn exceeded(&self, wait: Duration) -> Exceeded {
        Exceeded { quota: self.quota(0), retry_after_s: whole_seconds(wait).max(1) }
    }
}

/// Rounded up.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0))
}

/// Where a caller stands with one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// The limit's name: `general`, `chat`, `health`, `authentication`.
    pub policy: &'static str,
    /// How many in the window.
    pub limit: u32,
    /// The window.
    pub window_s: u64,
    /// How many more now.
    pub remaining: u32,
    /// Until all of the burst is there again.
    pub reset_s: u64,
}

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const STATE: HeaderName = HeaderName::from_static("ratelimit");
const LIMIT: HeaderName = HeaderName::from_static("ratelimit-limit");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const RESET: HeaderName = HeaderName::from_static("ratelimit-reset");

impl Quota {
    /// Each header field of an answer: those of the IETF draft (`RateLimit-Policy`, `RateLimit`), and the three that older
    /// clients read.
    pub fn each(&self, mut to: impl FnMut(&HeaderName, &str)) {
        let mut item = String::with_capacity(64);
        self.item(&mut item, (";q=", self.limit.into()), (";w=", self.window_s));
        to(&POLICY, &item);
        self.item(&mut item, (";r=", self.remaining.into()), (";t=", self.reset_s));
        to(&STATE, &item);
        for (name, number) in [(&LIMIT, self.limit.into()), (&REMAINING, self.remaining.into()), (&RESET, self.reset_s)]
        {
            to(name, itoa::Buffer::new().format::<u64>(number));
        }
    }

    /// The policy's name with two parameters (RFC 9651 §3.1). Every answer has two of them.
    fn item(&self, item: &mut String, first: (&str, u64), second: (&str, u64)) {
        item.clear();
        for part in ["\"", self.policy, "\""] {
            item.push_str(part);
        }
        for (name, number) in [first, second] {
            item.push_str(name);
            item.push_str(itoa::Buffer::new().format(number));
        }
    }
}

/// The limit is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the {} limit is reached", quota.policy)]
pub struct Exceeded {
    /// Which limit.
    pub quota: Quota,
    /// When to come again: for `Retry-After`. At least 1.
    pub retry_after_s: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(count: u32, per: Duration, burst: u32) -> Bucket {
        let (count, burst) = (NonZeroU32::new(count).unwrap(), NonZeroU32::new(burst).unwrap());
        Bucket::new("chat", Rate { count, per, burst })
    }

    #[test]
    fn the_headers_read_as_the_draft_says() {
        let quota = bucket(10, Duration::from_mins(1), 5).quota(4);
        let mut seen = Vec::new();
        quota.each(|name, value| seen.push(format!("{name}: {value}")));
        assert_eq!(
            seen,
            [
                "ratelimit-policy: \"chat\";q=10;w=60",
                "ratelimit: \"chat\";r=4;t=6",
                "ratelimit-limit: 10",
                "ratelimit-remaining: 4",
                "ratelimit-reset: 6",
            ]
        );
    }

    #[test]
    fn a_wait_is_rounded_up_and_never_nothing() {
        let bucket = bucket(10, Duration::from_mins(1), 5);
        assert_eq!(bucket.exceeded(Duration::ZERO).retry_after_s, 1);
        assert_eq!(bucket.exceeded(Duration::from_millis(5_001)).retry_after_s, 6);
    }

    #[test]
    fn no_rate_overflows() {
        for (count, per, burst) in [
            (1, Duration::MAX, u32::MAX),
            (u32::MAX, Duration::ZERO, 1),
            (u32::MAX, Duration::MAX, u32::MAX),
            (1, Duration::from_nanos(1), u32::MAX),
        ] {
            let bucket = bucket(count, per, burst);
            assert!(bucket.interval_ns > 0 && bucket.tolerance_ns() < MOST_NS);
            assert!(bucket.for_governor().is_some());
        }
    }
}
