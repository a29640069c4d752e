//! When to ask the certificate authority.
//!
//! Guarantees: a failure is followed by a wait of minutes, each longer than the last, up to hours, never shorter than
//! the CA asked for; many gateways that failed together do not come back together. Pure: time and chance are passed in.

use crate::certificates::acme::fault::Again;
use crate::certificates::leaf::Leaf;
use std::ops::Range;
use std::time::{Duration, SystemTime};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
/// A CA that asks for more is taken at this: a certificate's life is at stake.
const LONGEST_ADVICE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// All waits of renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// One exchange with the CA.
    pub request: Duration,
    /// From a challenge that is ready to the CA's verdict, and from the request for a certificate to the certificate.
    pub verdict: Duration,
    /// One run of the DNS command.
    pub hook: Duration,
    /// The first wait after a failure that may pass by itself.
    pub soon: Duration,
    /// The first wait after any other failure.
    pub late: Duration,
    /// The longest wait after a failure.
    pub longest: Duration,
    /// How often the CA is asked when it wants a certificate renewed: not oftener than the start, at least by the end.
    pub ask: Range<Duration>,
    /// How often the state folder is looked at.
    pub look: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(30),
            verdict: 5 * MINUTE,
            hook: 5 * MINUTE,
            soon: MINUTE,
            late: 10 * MINUTE,
            longest: 6 * HOUR,
            ask: MINUTE..24 * HOUR,
            look: Duration::from_secs(1),
        }
    }
}

/// A number in `0.0..1.0`, drawn once and kept: asking again must not be a new draw.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Chance(f64);

impl Chance {
    /// From the system's randomness; the middle where there is none.
    pub(crate) fn draw() -> Self {
        Self(getrandom::u32().map_or(0.5, |n| f64::from(n) / (f64::from(u32::MAX) + 1.0)))
    }
}

impl Schedule {
    /// The wait after this many failures in a row, the last one included.
    pub(crate) fn wait(&self, failures: u32, again: Again, advice: Option<Duration>, chance: Chance) -> Duration {
        let first = match again {
            Again::Soon => self.soon,
            Again::Late => self.late,
        };
        let doubled = first.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1).min(16)));
        let own = doubled.min(self.longest.max(first));
        own.max(advice.unwrap_or_default().min(LONGEST_ADVICE)) + own.mul_f64(chance.0 / 4.0)
    }

    /// When the CA is asked again about its window.
    pub(crate) fn ask_again(&self, said: Duration) -> Duration {
        said.clamp(self.ask.start, self.ask.end)
    }
}

/// When a certificate is renewed: in the CA's window where it gives one, else with a third of its life left.
pub(crate) fn renewal(leaf: &Leaf, window: Option<&Range<SystemTime>>, chance: Chance) -> SystemTime {
    if let Some(window) = window {
        return window.start + window.end.duration_since(window.start).unwrap_or_default().mul_f64(chance.0);
    }
    let life = leaf.lifetime();
    leaf.not_before + (life / 3 * 2).saturating_sub((life / 50).mul_f64(chance.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    const LOW: Chance = Chance(0.0);
    const HIGH: Chance = Chance(0.999);

    #[test]
    fn waits_grow_from_minutes_to_hours_and_heed_the_ca() {
        let plan = Schedule::default();
        let minutes = |n, again| plan.wait(n, again, None, LOW).as_secs() / 60;
        assert_eq!([1, 2, 3, 20].map(|n| minutes(n, Again::Late)), [10, 20, 40, 360]);
        assert_eq!([1, 2, 3, u32::MAX].map(|n| minutes(n, Again::Soon)), [1, 2, 4, 360]);
        assert!(plan.wait(1, Again::Late, None, HIGH) > plan.wait(1, Again::Late, None, LOW));
        assert!(plan.wait(1, Again::Soon, Some(DAY), HIGH) >= DAY);
        assert!(plan.wait(1, Again::Soon, Some(DAY * 9999), HIGH) < 8 * DAY);
        assert_eq!(plan.wait(1, Again::Late, Some(Duration::ZERO), LOW), 10 * MINUTE);
    }

    #[test]
    fn renewal_is_in_the_window_or_with_a_third_left() {
        let start = SystemTime::UNIX_EPOCH + 1000 * DAY;
        let leaf = Leaf { names: Vec::new(), issuer: String::new(), not_before: start, not_after: start + 90 * DAY };
        assert_eq!(renewal(&leaf, None, LOW), start + 60 * DAY);
        assert!(renewal(&leaf, None, HIGH) > start + 58 * DAY);
        let window = start + 10 * DAY..start + 12 * DAY;
        assert_eq!(renewal(&leaf, Some(&window), LOW), window.start);
        assert!(window.contains(&renewal(&leaf, Some(&window), HIGH)));
        let backwards = window.end..window.start;
        assert_eq!(renewal(&leaf, Some(&backwards), HIGH), window.end);
    }

    #[test]
    fn chance_is_in_its_range() {
        for _ in 0..1000 {
            assert!((0.0..1.0).contains(&Chance::draw().0));
        }
    }
}
