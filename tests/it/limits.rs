//! Request rates and failed authentications under a clock that the test moves: no subject ever gets more than its
//! quota, no map ever grows over its cap.

use governor::clock::FakeRelativeClock;
use ollama_gateway::config::types::{Limits, Rate};
use ollama_gateway::limits::{AddressPrefix, PrincipalId, RateLimiters, Subject};
use ollama_gateway::ollama::endpoint::RateClass;
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

fn rate(count: u32, burst: u32) -> Rate {
    let positive = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Rate { count: positive(count), per: Duration::from_mins(1), burst: positive(burst) }
}

fn limits(general: Rate, chat: Rate, tracked_keys: usize) -> Limits {
    let authentication_failures = rate(6, 3);
    Limits { general, chat, health: rate(60, 2), authentication_failures, connections_per_address: 1, tracked_keys }
}

fn address(number: u32) -> AddressPrefix {
    AddressPrefix::from(IpAddr::V4(Ipv4Addr::from_bits(number)))
}

fn key(id: &str) -> Subject {
    Subject::Principal(PrincipalId::new(id))
}

#[test]
fn a_burst_then_the_rate_then_the_burst_again() {
    let clock = FakeRelativeClock::default();
    let limiters = RateLimiters::with_clock(&limits(rate(60, 3), rate(60, 3), 10), &clock);
    let remaining = |class| limiters.check(class, &key("a")).map(|quota| quota.remaining);
    assert_eq!([2, 1, 0].map(Ok), [(); 3].map(|()| remaining(RateClass::General)));
    assert_eq!(remaining(RateClass::General).unwrap_err().retry_after_s, 1);
    assert_eq!(limiters.check(RateClass::General, &key("b")).unwrap().remaining, 2, "another's bucket is full");
    clock.advance(Duration::from_secs(1));
    assert_eq!((remaining(RateClass::General), remaining(RateClass::General).is_err()), (Ok(0), true));
    clock.advance(Duration::from_secs(3));
    assert_eq!(remaining(RateClass::General), Ok(2));
}

#[test]
fn a_chat_counts_for_both_and_is_told_the_tighter() {
    let clock = FakeRelativeClock::default();
    let limiters = RateLimiters::with_clock(&limits(rate(60, 2), rate(60, 5), 10), &clock);
    assert_eq!(limiters.check(RateClass::Chat, &key("a")).unwrap().policy, "general");
    assert_eq!(limiters.check(RateClass::General, &key("a")).unwrap().remaining, 0);
    assert_eq!(limiters.check(RateClass::Chat, &key("a")).unwrap_err().quota.policy, "general");
    assert_eq!(limiters.check(RateClass::Health, &key("a")).unwrap().policy, "health");
}

#[test]
fn only_failures_count_and_a_flood_of_them_waits_no_longer() {
    let clock = FakeRelativeClock::default();
    let limiters = RateLimiters::with_clock(&limits(rate(60, 2), rate(60, 5), 10), &clock);
    assert!((0..100).all(|_| limiters.authentication_allowed(address(1)).is_ok()));
    (0..3).for_each(|_| limiters.authentication_failed(address(1)));
    assert_eq!(limiters.authentication_allowed(address(1)).unwrap_err().retry_after_s, 10);
    assert!(limiters.authentication_allowed(address(2)).is_ok());
    (0..1000).for_each(|_| limiters.authentication_failed(address(1)));
    clock.advance(Duration::from_secs(10));
    assert!(limiters.authentication_allowed(address(1)).is_ok());
}

#[test]
fn a_full_map_refuses_the_new_keeps_the_old_and_the_key_holders() {
    let clock = FakeRelativeClock::default();
    let limiters = RateLimiters::with_clock(&limits(rate(60, 2), rate(60, 5), 4), &clock);
    let general = |number| limiters.check(RateClass::General, &Subject::Address(address(number)));
    assert_eq!((0..50).filter(|number| general(*number).is_ok()).count(), 4);
    assert_eq!((general(50).unwrap_err().retry_after_s, general(0).is_ok()), (1, true));
    assert!(limiters.check(RateClass::General, &key("a")).is_ok(), "addresses take no key's place");
    (0..50).for_each(|number| limiters.authentication_failed(address(number)));
    assert!(limiters.authentication_allowed(address(49)).is_err() && limiters.sweep() <= 4 + 4 + 1);
    clock.advance(Duration::from_mins(2));
    assert!(general(50).is_ok() && limiters.authentication_allowed(address(49)).is_ok());
    assert_eq!(limiters.sweep(), 1);
}

#[test]
fn threads_together_get_one_burst_and_one_map() {
    let limiters = RateLimiters::with_clock(&limits(rate(60, 50), rate(60, 5), 8), &FakeRelativeClock::default());
    let (admitted, tracked) = (AtomicU32::new(0), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (limiters, admitted, tracked) = (&limiters, &admitted, &tracked);
            scope.spawn(move || {
                for step in 0..200 {
                    let counted = |subject| u32::from(limiters.check(RateClass::General, &subject).is_ok());
                    admitted.fetch_add(counted(key("a")), Ordering::Relaxed);
                    tracked.fetch_add(counted(Subject::Address(address(worker * 200 + step))), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!((admitted.into_inner(), tracked.into_inner()), (50, 8));
}

proptest! {
    #[test]
    fn no_window_holds_more_than_burst_and_rate(burst in 1..6_u32, waits in proptest::collection::vec(0..3_000_u64, 1..120)) {
        let clock = FakeRelativeClock::default();
        let limiters = RateLimiters::with_clock(&limits(rate(60, burst), rate(60, 5), 10), &clock);
        let (mut now, mut admitted) = (0, Vec::new());
        for wait in waits {
            clock.advance(Duration::from_millis(wait));
            now += wait;
            if limiters.check(RateClass::General, &key("a")).is_ok() { admitted.push(now); }
            if wait % 7 == 0 { limiters.sweep(); }
        }
        for (first, from) in admitted.iter().enumerate() {
            for (last, to) in admitted.iter().enumerate().skip(first) {
                prop_assert!((last - first + 1) as u64 <= u64::from(burst) + (to - from) / 1000);
            }
        }
    }
}

#[test]
fn a_reload_without_a_change_keeps_the_counters() {
    let before = limits(rate(60, 2), rate(60, 5), 10);
    let limiters = RateLimiters::with_clock(&before, &FakeRelativeClock::default());
    assert!(limiters.same_limits(&Limits { connections_per_address: 9, ..before.clone() }));
    assert!(!limiters.same_limits(&Limits { chat: rate(60, 6), ..before.clone() }));
    assert!(!limiters.same_limits(&Limits { tracked_keys: 11, ..before }));
}
