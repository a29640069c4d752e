//! Request rates: one governor limiter a class, keyed by subject, and the failed authentications beside them.
//!
//! Guarantees: from any moment on, no subject is admitted more than `burst + elapsed × rate` times, in any interleaving
//! of threads; a refusal counts nothing in its own limiter; the maps are capped and swept.
//! Does not: take a chat's count back where the general limit then refuses it: who is over both waits for both.

use super::address::{AddressPrefix, Subject};
use super::bucket::{Bucket, Exceeded, Quota};
use super::failures::Failures;
use super::keys::{CappedKeys, SweepSpacing};
use crate::config::types::{Limits, Rate};
use crate::ollama::endpoint::RateClass;
use governor::RateLimiter;
use governor::clock::{Clock, DefaultClock, Reference};
use governor::middleware::StateInformationMiddleware;
use std::time::Duration;

/// A wait as long as this is no wait but a full map (`keys::NO_ROOM`).
const NO_ROOM_WAIT: Duration = Duration::from_nanos(1 << 61);

/// All request rates of this process. Lives as long as the limits stay the same: see [`Self::same_limits`].
#[derive(Debug)]
pub struct RateLimiters<C: Clock = DefaultClock> {
    general: Limiter<C>,
    chat: Limiter<C>,
    health: Limiter<C>,
    failures: Failures<C>,
    made_from: MadeFrom,
}

/// What of the configuration these counters depend on.
type MadeFrom = ([Rate; 4], usize);

fn made_from(limits: &Limits) -> MadeFrom {
    ([limits.general, limits.chat, limits.health, limits.authentication_failures], limits.tracked_keys)
}

impl RateLimiters {
    /// Empty counters for these limits.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        Self::with_clock(limits, &DefaultClock::default())
    }
}

impl<C: Clock + Clone> RateLimiters<C> {
    /// The same, with a clock of one's own.
    #[must_use]
    pub fn with_clock(limits: &Limits, clock: &C) -> Self {
        let limiter = |name, rate| Limiter::new(Bucket::new(name, rate), limits.tracked_keys, clock);
        let failures = Bucket::new("authentication", limits.authentication_failures);
        Self {
            general: limiter("general", limits.general),
            chat: limiter("chat", limits.chat),
            health: limiter("health", limits.health),
            failures: Failures::new(failures, limits.tracked_keys, clock.clone()),
            made_from: made_from(limits),
        }
    }

    /// Whether these counters fit the limits: a reload that changes none of them keeps the counters, so it hands out no
    /// second burst.
    #[must_use]
    pub fn same_limits(&self, limits: &Limits) -> bool {
        self.made_from == made_from(limits)
    }

    /// Counts one request; a chat counts as a general one too. Tells the tighter of the limits that it met.
    ///
    /// # Errors
    /// [`Exceeded`]: the limit is reached, or there is no room to count for one more subject.
    pub fn check(&self, class: RateClass, subject: &Subject) -> Result<Quota, Exceeded> {
        match class {
            RateClass::General => self.general.check(subject),
            RateClass::Health => self.health.check(subject),
            RateClass::Chat => {
                let (chat, general) = (self.chat.check(subject)?, self.general.check(subject)?);
                Ok(if general.remaining < chat.remaining { general } else { chat })
            }
        }
    }

    /// Counts one failed authentication.
    pub fn authentication_failed(&self, address: AddressPrefix) {
        self.failures.failed(address);
    }

    /// Looks whether the address may try a credential; counts nothing.
    ///
    /// # Errors
    /// [`Exceeded`]: too many failed from there.
    pub fn authentication_allowed(&self, address: AddressPrefix) -> Result<(), Exceeded> {
        self.failures.allowed(address)
    }

    /// Forgets the subjects whose bucket is full again, and gives the memory back. How many are still tracked.
    pub fn sweep(&self) -> usize {
        let limiters = [&self.general, &self.chat, &self.health];
        limiters.iter().map(|limiter| limiter.sweep()).sum::<usize>().saturating_add(self.failures.sweep())
    }
}

#[derive(Debug)]
struct Limiter<C: Clock> {
    bucket: Bucket,
    governor: RateLimiter<Subject, CappedKeys, C, StateInformationMiddleware>,
    start: C::Instant,
    spacing: SweepSpacing,
}

impl<C: Clock + Clone> Limiter<C> {
    fn new(bucket: Bucket, cap: usize, clock: &C) -> Self {
        let quota = bucket.for_governor().unwrap_or(governor::Quota::per_second(bucket.burst));
        let start = clock.now();
        Self {
            bucket,
            governor: RateLimiter::new(quota, CappedKeys::new(cap), clock.clone()),
            start,
            spacing: SweepSpacing::default(),
        }
    }

    fn check(&self, subject: &Subject) -> Result<Quota, Exceeded> {
        match self.count(subject) {
            Err(wait) if wait >= NO_ROOM_WAIT => {
                self.sweep_for_room();
                self.count(subject)
            }
            counted => counted,
        }
        .map_err(|wait| self.bucket.exceeded(if wait >= NO_ROOM_WAIT { Duration::ZERO } else { wait }))
    }

    fn count(&self, subject: &Subject) -> Result<Quota, Duration> {
        match self.governor.check_key(subject) {
            Ok(counted) => Ok(self.bucket.quota(counted.remaining_burst_capacity())),
            Err(refused) => Err(refused.wait_time_from(self.governor.clock().now())),
        }
    }

    fn sweep_for_room(&self) {
        if self.spacing.allows(self.governor.clock().now().duration_since(self.start).as_u64()) {
            self.sweep();
        }
    }

    fn sweep(&self) -> usize {
        self.governor.retain_recent();
        self.governor.shrink_to_fit();
        self.governor.len()
    }
}
