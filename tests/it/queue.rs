//! The fair queue: its promise on a virtual clock, and the gateway with it in front of a busy Ollama.

use crate::harness::gateway::field;
use crate::harness::reply::Gate;
use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, Wire, within};
use crate::metrics::{metrics, value};
use ollama_gateway::limits::{Arrival, Asker, FairQueue, PrincipalId, QueueShape, Running, Subject};
use proptest::prelude::*;
use serde_json::json;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::Duration;

/// What happens at some moment of the simulation.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes(usize),
    Ends(usize, u64),
}

/// Nine users who ask, read for a moment and ask again, and perhaps a tenth who has 200 requests waiting at any time.
struct Simulation {
    queue: FairQueue<(usize, Duration)>,
    events: BinaryHeap<Reverse<(Duration, Event)>>,
    running: Vec<Option<Running>>,
    waits: Vec<Vec<Duration>>,
    served: Vec<Duration>,
    lengths: Vec<Duration>,
    random: u64,
    now: Duration,
}

const FLOODER: usize = 9;
const RUN: Duration = Duration::from_secs(4_000);

fn asker(user: usize) -> Asker {
    Asker { subject: Subject::Principal(PrincipalId::new(user.to_string())), weight: NonZeroU32::MIN, model: None }
}

impl Simulation {
    fn run(flood: usize, lengths: [u64; 2]) -> Self {
        let shape = QueueShape { slots: 4, length: 100, switches: None };
        let lengths = (0..10).map(|user| Duration::from_millis(lengths[usize::from(user == FLOODER)])).collect();
        let mut simulation = Self {
            queue: FairQueue::new(shape),
            events: BinaryHeap::new(),
            running: Vec::new(),
            waits: vec![Vec::new(); 10],
            served: vec![Duration::ZERO; 10],
            lengths,
            random: 42,
            now: Duration::ZERO,
        };
        (0..9).for_each(|user| simulation.at(Duration::from_millis(user as u64), Event::Comes(user)));
        (0..flood).for_each(|_| simulation.at(Duration::ZERO, Event::Comes(FLOODER)));
        while let Some(Reverse((now, event))) = simulation.events.pop().filter(|Reverse((now, _))| *now < RUN) {
            simulation.now = now;
            simulation.take(event);
        }
        simulation
    }

    fn at(&mut self, after: Duration, event: Event) {
        self.events.push(Reverse((self.now + after, event)));
    }

    /// Between half and one and a half of a length.
    fn around(&mut self, length: Duration) -> Duration {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        length.mul_f64(0.5 + (self.random >> 33) as f64 / f64::from(1_u32 << 31))
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Comes(user) => match self.queue.arrive(self.now, &asker(user), (user, self.now)) {
                Arrival::Runs(running, grant) => self.starts(running, grant),
                Arrival::Waits { pushed_out, .. } => {
                    if let Some((user, _)) = pushed_out {
                        assert_eq!(user, FLOODER, "a light user was pushed out");
                        self.at(Duration::from_secs(1), Event::Comes(FLOODER));
                    }
                }
                Arrival::Full => {
                    assert_eq!(user, FLOODER, "a light user was refused");
                    self.at(Duration::from_secs(1), Event::Comes(FLOODER));
                }
            },
            Event::Ends(user, index) => {
                let running = self.running[index as usize].take().unwrap();
                self.queue.release(self.now, running);
                let pause = if user == FLOODER { Duration::ZERO } else { self.around(Duration::from_millis(100)) };
                self.at(pause, Event::Comes(user));
            }
        }
        while let Some((running, grant)) = self.queue.next(self.now) {
            self.starts(running, grant);
        }
        assert!(self.queue.load().0 <= 4);
    }

    fn starts(&mut self, running: Running, (user, came): (usize, Duration)) {
        self.waits[user].push(self.now - came);
        let length = self.around(self.lengths[user]);
        self.served[user] += length;
        self.running.push(Some(running));
        self.at(length, Event::Ends(user, self.running.len() as u64 - 1));
    }

    /// 95 of 100 light requests waited no longer.
    fn p95(&self) -> f64 {
        let mut waits: Vec<_> = self.waits[..FLOODER].iter().flatten().copied().collect();
        waits.sort();
        waits[waits.len() * 95 / 100].as_secs_f64()
    }

    /// 1: all got the same of Ollama's time.
    fn jain(&self) -> f64 {
        let shares: Vec<_> = self.served.iter().map(Duration::as_secs_f64).collect();
        shares.iter().sum::<f64>().powi(2) / (shares.len() as f64 * shares.iter().map(|x| x * x).sum::<f64>())
    }
}

#[test]
fn a_flood_costs_the_others_no_more_than_one_more_user_would() {
    let (calm, flooded) = (Simulation::run(0, [2_000; 2]), Simulation::run(200, [2_000; 2]));
    let (before, after, jain) = (calm.p95(), flooded.p95(), flooded.jain());
    assert!(after <= before * 1.2, "p95 wait {before} s, with a flooder {after} s");
    assert!(jain >= 0.95, "{jain} of {:?}", flooded.served);
}

#[test]
fn long_answers_are_no_way_to_a_larger_share() {
    let flooded = Simulation::run(200, [2_000, 30_000]);
    assert!(flooded.jain() >= 0.95, "{} of {:?}", flooded.jain(), flooded.served);
}

proptest! {
    /// In any order of comings, goings and ends: the bounds hold, everybody who comes runs, waits or is told, and at the
    /// end nothing is left.
    #[test]
    fn nothing_is_lost_in_the_queue(steps in proptest::collection::vec((0..6_u8, 0..4_usize, 0..50_usize), 1..200)) {
        let mut queue = FairQueue::new(QueueShape { slots: 3, length: 5, switches: None });
        let (mut running, mut waiting) = (Vec::new(), Vec::new());
        let mut now = Duration::ZERO;
        for (number, (step, user, pick)) in steps.into_iter().enumerate() {
            now += Duration::from_millis(7);
            match step {
                0..=3 => match queue.arrive(now, &asker(user), number) {
                    Arrival::Runs(run, _) => running.push(run),
                    Arrival::Waits { ticket, pushed_out, .. } => {
                        waiting.retain(|(_, _, grant)| Some(*grant) != pushed_out);
                        waiting.push((user, ticket, number));
                    }
                    Arrival::Full => prop_assert_eq!(waiting.len(), 5),
                },
                4 if !waiting.is_empty() => {
                    let (user, ticket, _) = waiting.swap_remove(pick % waiting.len());
                    queue.leave(&asker(user).subject, ticket);
                }
                _ if !running.is_empty() => queue.release(now, running.swap_remove(pick % running.len())),
                _ => {}
            }
            while let Some((run, grant)) = queue.next(now) {
                prop_assert!(waiting.iter().any(|(_, _, waits)| *waits == grant), "{grant} ran twice, or had left");
                waiting.retain(|(_, _, waits)| *waits != grant);
                running.push(run);
            }
            prop_assert_eq!(queue.load(), (running.len(), waiting.len()));
            prop_assert!(running.len() <= 3 && waiting.len() <= 5);
            prop_assert!(waiting.is_empty() || running.len() == 3, "somebody waits before a free slot");
        }
    }
}

#[test]
fn a_weight_is_a_share() {
    let mut queue = FairQueue::new(QueueShape { slots: 1, length: 100, switches: None });
    let heavy = Asker { weight: NonZeroU32::new(3).unwrap(), ..asker(1) };
    let Arrival::Runs(mut running, _) = queue.arrive(Duration::ZERO, &asker(0), 9) else { panic!("no free slot") };
    for _ in 0..40 {
        assert!(matches!(queue.arrive(Duration::ZERO, &heavy, 1), Arrival::Waits { .. }));
        assert!(matches!(queue.arrive(Duration::ZERO, &asker(2), 2), Arrival::Waits { .. }));
    }
    let mut turns = Vec::new();
    for second in 1..=40 {
        queue.release(Duration::from_secs(second), running);
        let (next, who) = queue.next(Duration::from_secs(second)).unwrap();
        running = next;
        turns.push(who);
    }
    let heavy = turns.iter().filter(|who| **who == 1).count();
    assert!((29..=31).contains(&heavy), "{heavy} of 40 turns: {turns:?}");
}

// --- the gateway ---

fn chat(key: &str) -> Request {
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    Request::post("/api/chat", &body).key(key)
}

/// One slot, taken, and an Ollama that answers when the test lets it.
async fn busy(setup: impl FnOnce(Setup) -> Setup) -> (Ollama, Gateway, Gate) {
    let ollama = Ollama::start().await;
    let (reply, gate) = Reply::recording("chat_nostream").held();
    ollama.on("/api/chat", reply).on("/api/tags", Reply::recording("accept_encoding_gzip"));
    let gateway = setup(Setup::before(&ollama).set("queue", "slots", "1")).start().await;
    (ollama, gateway, gate)
}

/// A request that is sent, and its answer to come.
async fn sent(gateway: &Gateway, request: Request) -> Wire {
    let mut wire = Wire::tls(gateway).await;
    wire.write(&request.bytes()).await;
    wire
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_is_served_in_turn_and_what_runs_no_model_does_not_wait() {
    let (ollama, gateway, gate) = busy(|setup| setup).await;
    let mut first = sent(&gateway, chat(&gateway.user)).await;
    ollama.wait_for(1).await;
    let mut second = sent(&gateway, chat(&gateway.admin)).await;
    gateway.send(Request::get("/api/tags").key(&gateway.user)).await.expect(200);
    assert_eq!(ollama.count(), 2, "the second chat waits");
    gate.open();
    first.answer(false).await.expect(200);
    ollama.wait_for(3).await;
    gate.open();
    let answer = second.answer(false).await.expect(200);
    let record = gateway.record(answer.id()).await;
    assert_eq!(field(&record, "queue_position"), "1", "{record}");
    assert!(field(&record, "queue_ms").parse::<f64>().unwrap() > 0.0, "{record}");
    let text = metrics(&gateway).await;
    let series =
        |name: &str, more: &str| value(&text, &format!("ollama_gateway_queue_{name}{{class=\"inference\"{more}}}"));
    assert_eq!(series("position_bucket", ",le=\"0\""), 1.0, "one did not wait");
    assert_eq!(series("position_bucket", ",le=\"1\""), 2.0, "one was the next");
    assert_eq!((series("position_count", ""), series("position_sum", "")), (2.0, 1.0));
    assert_eq!(series("wait_seconds_count", ""), 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_does_not_come_is_a_503_with_an_honest_retry_after() {
    let (ollama, gateway, gate) = busy(|setup| setup.set("queue", "wait", "\"50ms\"")).await;
    let mut first = sent(&gateway, chat(&gateway.user)).await;
    ollama.wait_for(1).await;
    tokio::time::sleep(Duration::from_millis(2_100)).await;
    gate.open();
    first.answer(false).await.expect(200);
    let mut next = sent(&gateway, chat(&gateway.user)).await;
    ollama.wait_for(2).await;
    let refused = gateway.send(chat(&gateway.admin)).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (503, Some("overloaded")));
    assert_eq!(refused.one("retry-after"), Some("3"), "what the one before took, rounded up");
    let record = gateway.record(refused.id()).await;
    assert_eq!(field(&record, "queue_position"), "1", "in vain, and yet waited: {record}");
    assert!(field(&record, "queue_ms").parse::<f64>().unwrap() >= 50.0, "{record}");
    gate.open();
    next.answer(false).await.expect(200);
    drop(ollama);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_leaves_the_queue_has_waited() {
    let (ollama, gateway, _gate) = busy(|setup| setup).await;
    let _first = sent(&gateway, chat(&gateway.user)).await;
    ollama.wait_for(1).await;
    let waits = sent(&gateway, chat(&gateway.admin)).await;
    let look = async { while value(&metrics(&gateway).await, "ollama_gateway_queue_waiting") == 0.0 {} };
    within("one to wait", look).await;
    drop(waits);
    let record = gateway.event("request").await;
    assert_eq!((field(&record, "outcome"), field(&record, "queue_position")), ("client_left".into(), "1".into()));
    assert!(field(&record, "queue_ms").parse::<f64>().unwrap() > 0.0, "{record}");
    assert_eq!(ollama.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_whose_own_requests_fill_the_queue_gets_a_429_and_others_still_wait() {
    let (ollama, gateway, gate) = busy(|setup| setup.set("queue", "length", "2")).await;
    let mut waiting = vec![sent(&gateway, chat(&gateway.user)).await];
    ollama.wait_for(1).await;
    let refused = async {
        // Two wait; which of the next ones comes first is the network's affair, one too many is refused at once.
        let mut wires = Vec::new();
        for _ in 0..3 {
            wires.push(sent(&gateway, chat(&gateway.user)).await);
        }
        let answers = wires.into_iter().map(|mut wire| Box::pin(async move { (wire.answer(false).await, wire) }));
        let ((refused, _), _, rest) = futures_util::future::select_all(answers).await;
        (refused, rest)
    };
    let (refused, rest) = within("one too many", refused).await;
    assert_eq!((refused.status, refused.json()["code"].as_str()), (429, Some("too_many_waiting")));
    assert!(refused.one("retry-after").is_some());
    waiting.push(sent(&gateway, chat(&gateway.admin)).await);
    let ((pushed_out, _), _, rest) = within("one is pushed out", futures_util::future::select_all(rest)).await;
    assert_eq!((pushed_out.status, pushed_out.json()["code"].as_str()), (429, Some("too_many_waiting")));
    gate.open_all();
    for mut wire in waiting {
        wire.answer(false).await.expect(200);
    }
    assert_eq!(futures_util::future::join_all(rest).await[0].0.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_holds_its_slot_to_its_end_and_a_client_that_leaves_gives_it_back() {
    let (ollama, gateway, gate) = busy(|setup| setup).await;
    let (reply, frames) = Reply::recording("v1_chat_stream").gated();
    ollama.on("/v1/chat/completions", reply);
    let said = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": true});
    let request = Request::post("/v1/chat/completions", &said).key(&gateway.user);
    for version in Version::ALL {
        let mut stream = Stream::open(&gateway, version, &request).await;
        stream.frames(1).await;
        let before = ollama.count();
        let mut next = sent(&gateway, chat(&gateway.admin)).await;
        gateway.send(Request::get("/api/tags").key(&gateway.user)).await.expect(200);
        assert_eq!(ollama.count(), before + 1, "the chat waits for the stream");
        let _connection = stream.leave();
        ollama.wait_for(before + 2).await;
        gate.open();
        next.answer(false).await.expect(200);
    }
    frames.open_all();
}
