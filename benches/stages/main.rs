//! What each stage of the path costs, and what reading a body does beside other ways to read it.
//!
//! `cargo bench --bench stages [-- NAME]`; the figures are in `benches/README.md`. How many instructions the stages are is
//! counted by `instructions`, with the same walk.
#![expect(clippy::unwrap_used, reason = "a bench that meets something unexpected must fail at once")]

mod bodies;
#[path = "../judge/mod.rs"]
mod judge;
#[path = "../walk/mod.rs"]
mod walk;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, Criterion};
use std::time::Duration;
use walk::{Ground, Meter, stand_in};

/// Requests that are in flight at a time: no more than there are places for.
const AT_A_TIME: u64 = 64;

impl Meter for BenchmarkGroup<'_, WallTime> {
    fn stage<I, O>(&mut self, name: &str, mut begin: impl FnMut() -> I, mut stage: impl FnMut(I) -> O) {
        self.bench_function(name, |bencher| {
            bencher.iter_batched(&mut begin, &mut stage, BatchSize::NumIterations(AT_A_TIME))
        });
    }
}

fn main() {
    if stand_in::is_wanted() {
        return stand_in::serve();
    }
    let mut criterion = Criterion::default().configure_from_args();
    let ground = Ground::prepare();
    let mut group = criterion.benchmark_group("path");
    group.sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    walk::stages(&ground, &mut group);
    group.finish();
    bodies::bodies(&mut criterion);
    criterion.final_summary();
}
