//! What a look costs as what is looked at grows: keys, models, rules, bodies. `cargo bench --bench growth`; the figures
//! are in `benches/README.md`. What grows with connections and streams is measured in the running gateway: `compare`.
#![expect(clippy::unwrap_used, reason = "a bench that meets something unexpected must fail at once")]
#![allow(clippy::disallowed_methods, reason = "a bench reads the clock itself")]

mod judge;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use judge::{Judge, configuration, conversation};
use ollama_gateway::identity::issue::KeyRequest;
use ollama_gateway::identity::key_ring::KeyRing;
use ollama_gateway::identity::keys::PresentedKey;
use ollama_gateway::identity::pepper::Pepper;
use ollama_gateway::ollama::model_name::{ModelName, permits};
use ollama_gateway::store::key_record::KeyName;
use ollama_gateway::store::timestamp::Timestamp;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A key is verified among so many.
fn keys(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("keys");
    let pepper = Pepper::from_bytes(&[7; 32]);
    let (name, role): (_, Arc<str>) = (KeyName::parse("bench").unwrap(), Arc::from("user"));
    for count in [10, 1_000, 100_000, 1_000_000] {
        let presented: Vec<PresentedKey> = (0..count).map(|_| PresentedKey::generate().unwrap()).collect();
        let wanted =
            || KeyRequest { name: name.clone(), role: Arc::clone(&role), expires_at: None, bounds: Default::default() };
        let record = |key: &PresentedKey| wanted().record(key, &pepper, Timestamp::from(SystemTime::UNIX_EPOCH));
        let ring = KeyRing::of_records(pepper.clone(), presented.iter().map(record).collect());
        let mut each = presented.iter().step_by(count / 10).cycle();
        let now = SystemTime::now();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| ring.verify(black_box(each.next().unwrap()), now).unwrap());
        });
    }
}

/// A model is asked for by a role that names so many.
fn models(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("models");
    for count in [1, 100, 10_000] {
        let names: Vec<String> = (0..count).map(|i| format!("\"team/model-{i}:7b\"")).collect();
        let config = configuration(&format!("[roles.user]\nmodels = [{}]", names.join(",")));
        let role = Arc::clone(config.roles.get("user").unwrap());
        let wanted = ModelName::parse(&format!("team/model-{}:7b", count - 1)).unwrap();
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| assert!(permits(black_box(&role), black_box(&wanted))));
        });
    }
}

/// A conversation of about so many bytes.
fn of_bytes(bytes: usize) -> Bytes {
    let prose = "The quick brown fox jumps over the lazy dog, and zwölf Boxkämpfer jagen Viktor. ".repeat(12);
    let text = if bytes < prose.len() { "Why is the sky blue?" } else { prose.trim() };
    conversation(text, bytes.div_ceil(prose.len()).max(1))
}

const ROOMY: &str = "max_body = \"32 MiB\"\nmax_messages = 100000";

/// A body of 100 KB is searched for so many words.
fn rules(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("blocked words");
    let body = of_bytes(100_000);
    group.throughput(Throughput::Bytes(body.len() as u64));
    for count in [0, 10, 1_000, 10_000] {
        let words: Vec<String> = (0..count).map(|i| format!("\"codename {i:05} zebra\"")).collect();
        let judge = Judge::new(&format!("{ROOMY}\nblocked = [{}]", words.join(",")));
        group.bench_function(BenchmarkId::from_parameter(count), |bencher| {
            bencher.iter(|| judge.parse(black_box(&body)));
        });
    }
}

/// A body of so many bytes is read, judged and written anew.
fn bodies(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("bodies");
    let judge = Judge::new(ROOMY);
    for bytes in [1_000, 100_000, 1_000_000, 16_000_000] {
        let body = of_bytes(bytes);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::from_parameter(bytes), |bencher| {
            bencher.iter(|| judge.parse(black_box(&body)));
        });
    }
}

fn brief() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
}

criterion_group!(name = growth; config = brief(); targets = keys, models, rules, bodies);
criterion_main!(growth);
