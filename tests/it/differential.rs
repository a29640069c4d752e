//! The promise, tested: what Ollama reads is what the policy read.
//!
//! Bodies are made from a grammar that knows what Go's `encoding/json` reads in another way than others do (case folding,
//! `ſ` and `K`, duplicates that win or merge, nulls, escapes, trailing data, numbers). Each goes through [`call::parse`]
//! under several roles. What is let through is read by a real Go decoder with Ollama's structs (`tests/differential`),
//! and so is what the client had sent; there must be no difference to what was decided.
//!
//! 20,000 bodies by default. The long run, of which there must be no difference either:
//! `DIFFERENTIAL_BODIES=1000000 cargo test --release --test it differential`. `DIFFERENTIAL_SEED` chooses other bodies.
//!
//! [`call::parse`]: ollama_gateway::ollama::call::parse

pub(crate) mod bodies;
mod compare;
pub(crate) mod decoder;
pub(crate) mod dice;
pub(crate) mod grammar;
mod judges;
mod naive;
mod names;
mod trees;

use compare::Forwarded;
use decoder::Decoder;
use dice::Dice;
use judges::Judge;
use ollama_gateway::ollama::call::Call;
use ollama_gateway::ollama::endpoint::Endpoint;

pub(crate) use bodies::routes;

/// Bodies that are compared at once.
const BATCH: usize = 500;
/// Differences that are shown.
const SHOWN: usize = 10;

/// How many bodies the environment asks for.
fn wanted() -> usize {
    from_environment("DIFFERENTIAL_BODIES").map_or(20_000, |number| usize::try_from(number).unwrap())
}

fn seed() -> u64 {
    from_environment("DIFFERENTIAL_SEED").unwrap_or(4)
}

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is no number")))
}

/// What is known of the bodies so far.
#[derive(Default)]
struct Tally {
    /// By route: let through, refused.
    routes: Vec<(Endpoint, usize, usize)>,
    /// Let through, and read by Go in the client's own spelling too.
    both: usize,
    differences: Vec<String>,
}

#[test]
fn what_is_sent_is_read_as_it_was_decided() {
    let (mut decoder, judges, routes) = (Decoder::start(), Judge::all(), bodies::routes());
    let mut dice = Dice::new(seed());
    let mut tally = Tally { routes: routes.iter().map(|route| (*route, 0, 0)).collect(), ..Tally::default() };
    let mut made = 0;
    while made < wanted() && tally.differences.len() < SHOWN {
        let batch: Vec<(usize, Vec<u8>)> = (made..made + BATCH)
            .map(|i| (i % routes.len(), bodies::body(routes[i % routes.len()], &mut dice)))
            .collect();
        compare(&batch, &judges, &mut decoder, &mut tally);
        made += BATCH;
    }
    assert!(tally.differences.is_empty(), "{}", tally.differences.join("\n\n"));
    // The comparison says something only if bodies of every route are let through, and others refused.
    for (route, passed, refused) in &tally.routes {
        let all = passed + refused;
        assert!(passed * 10 > all && refused * 10 > all, "{route:?}: {passed} of {all} let through");
    }
    let passed: usize = tally.routes.iter().map(|(_, passed, _)| passed).sum();
    assert!(tally.both * 2 > passed, "{} of {passed} bodies are read by Go as the client spelled them", tally.both);
}

fn compare(batch: &[(usize, Vec<u8>)], judges: &[Judge], decoder: &mut Decoder, tally: &mut Tally) {
    let mut passed: Vec<(usize, &Judge, Call)> = Vec::new();
    for (at, (route, body)) in batch.iter().enumerate() {
        let judge = &judges[at % judges.len()];
        let (endpoint, let_through, refused) = &mut tally.routes[*route];
        match judge.parse(*endpoint, body) {
            Ok(call) => {
                *let_through += 1;
                passed.push((at, judge, call));
            }
            Err(_) => *refused += 1,
        }
    }
    let name = |at: usize| tally.routes[batch[at].0].0.facts().name;
    let given: Vec<(&str, &[u8])> = passed.iter().map(|(at, ..)| (name(*at), batch[*at].1.as_slice())).collect();
    let bodies: Vec<_> = passed.iter().map(|(.., call)| call.body()).collect();
    let sent: Vec<(&str, &[u8])> = passed.iter().zip(&bodies).map(|((at, ..), body)| (name(*at), &**body)).collect();
    let (given, sent) = (decoder.read(&given), decoder.read(&sent));
    for ((given, sent), (at, judge, call)) in given.iter().zip(&sent).zip(&passed) {
        let (route, body) = &batch[*at];
        let endpoint = tally.routes[*route].0;
        tally.both += usize::from(given.error.is_empty());
        let found = Forwarded { endpoint, judge, call, sent, given }.differences();
        if !found.is_empty() {
            let (body, sent) = (String::from_utf8_lossy(body), String::from_utf8_lossy(&call.body()).into_owned());
            tally.differences.push(format!("{endpoint:?}\n  {}\n  given {body}\n  sent  {sent}", found.join("\n  ")));
        }
    }
}
