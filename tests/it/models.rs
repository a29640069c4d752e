//! Models: pins are set whatever a client says; Ollama is made to switch no oftener than the bound says, and yet no model
//! is starved.

use crate::harness::{Gateway, Ollama, Reply, Request, Setup, within};
use ollama_gateway::config::types::ModelSwitches;
use ollama_gateway::limits::{Arrival, Asker, FairQueue, PrincipalId, QueueShape, Running, Subject};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroU32;
use std::time::Duration;

const LONGEST: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Comes { user: u8, model: u8, length: Duration },
    Ends(usize),
    Opens,
}

/// What a request was, and when it came.
type Grant = (u8, Duration, Duration);

struct Simulation {
    queue: FairQueue<Grant>,
    switches: ModelSwitches,
    events: BinaryHeap<Reverse<(Duration, u64, Event)>>,
    order: u64,
    running: Vec<Option<Running>>,
    loaded: Vec<u8>,
    switched: Vec<Duration>,
    waits: Vec<(u8, Duration)>,
}

impl Simulation {
    fn run(slots: usize, switches: ModelSwitches, arrivals: &[(Duration, Event)]) -> Self {
        let shape = QueueShape { slots, length: 10_000, switches: Some(switches) };
        let mut simulation = Self {
            queue: FairQueue::new(shape),
            switches,
            events: BinaryHeap::new(),
            order: 0,
            running: Vec::new(),
            loaded: Vec::new(),
            switched: Vec::new(),
            waits: Vec::new(),
        };
        arrivals.iter().for_each(|(at, event)| simulation.at(*at, *event));
        while let Some(Reverse((now, _, event))) = simulation.events.pop() {
            simulation.take(now, event);
        }
        assert_eq!(simulation.queue.load(), (0, 0), "somebody waits for ever");
        simulation
    }

    fn at(&mut self, at: Duration, event: Event) {
        self.order += 1;
        self.events.push(Reverse((at, self.order, event)));
    }

    fn take(&mut self, now: Duration, event: Event) {
        match event {
            Event::Comes { user, model, length } => {
                let subject = Subject::Principal(PrincipalId::new(user.to_string()));
                let asker = Asker { subject, weight: NonZeroU32::MIN, model: Some(model.to_string().into()) };
                match self.queue.arrive(now, &asker, (model, now, length)) {
                    Arrival::Runs(running, grant) => self.starts(now, running, grant),
                    Arrival::Waits { .. } => {}
                    Arrival::Full => panic!("full"),
                }
            }
            Event::Ends(index) => self.queue.release(now, self.running[index].take().unwrap()),
            Event::Opens => {}
        }
        while let Some((running, grant)) = self.queue.next(now) {
            self.starts(now, running, grant);
        }
        if let Some(at) = self.queue.opens_at() {
            assert!(at > now, "it opens now, and nobody was let in");
            self.at(at, Event::Opens);
        }
    }

    fn starts(&mut self, now: Duration, running: Running, (model, came, length): Grant) {
        if !self.loaded.contains(&model) && self.loaded.len() >= self.switches.loaded {
            self.switched.push(now);
        }
        self.loaded.retain(|loaded| *loaded != model);
        self.loaded.push(model);
        let surplus = self.loaded.len().saturating_sub(self.switches.loaded);
        self.loaded.drain(..surplus);
        self.waits.push((model, now - came));
        self.running.push(Some(running));
        self.at(now + length, Event::Ends(self.running.len() - 1));
    }

    /// The most switches in any minute.
    fn worst_minute(&self) -> usize {
        let minute = Duration::from_secs(60);
        let count = |from: Duration| self.switched.iter().filter(|at| (from..from + minute).contains(*at)).count();
        self.switched.iter().map(|from| count(*from)).max().unwrap_or(0)
    }
}

fn switches(per_minute: u32, loaded: usize) -> ModelSwitches {
    ModelSwitches { per_minute: NonZeroU32::new(per_minute).unwrap(), loaded }
}

fn comes(at: u64, user: u8, model: u8, length: u64) -> (Duration, Event) {
    (Duration::from_millis(at), Event::Comes { user, model, length: Duration::from_millis(length) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes: no minute sees more switches than the bound says, and everybody is served.
    #[test]
    fn no_minute_sees_more_switches_than_the_bound(
        (slots, per_minute, loaded) in (1..5_usize, 1..31_u32, 1..4_usize),
        arrivals in proptest::collection::vec((0..300_000_u64, 0..5_u8, 0..6_u8, 1..5_000_u64), 1..150),
    ) {
        let arrivals: Vec<_> = arrivals.into_iter().map(|(at, user, model, length)| comes(at, user, model, length)).collect();
        let simulation = Simulation::run(slots, switches(per_minute, loaded), &arrivals);
        prop_assert!(simulation.worst_minute() <= per_minute as usize, "{}", simulation.worst_minute());
        prop_assert_eq!(simulation.waits.len(), arrivals.len());
    }

    /// One model is wanted at any time by more than can be served; each other one gets its turn within one switch to every
    /// other, and one more, and what runs meanwhile.
    #[test]
    fn a_flood_on_one_model_starves_no_other(
        (slots, per_minute) in (1..4_usize, 4..31_u32),
        others in proptest::collection::vec((20_000..120_000_u64, 1..5_u8), 1..5),
    ) {
        let bound = switches(per_minute, 1);
        let flood = (0..450_u64).map(|n| comes(n * 300, 0, 0, 1_000));
        let mut wanted = std::collections::BTreeMap::new();
        for (at, model) in others {
            wanted.entry(model).or_insert(at);
        }
        let single = wanted.iter().map(|(model, at)| comes(*at, *model, *model, 3_000));
        let simulation = Simulation::run(slots, bound, &flood.chain(single).collect::<Vec<_>>());
        let most = (bound.every() + LONGEST) * (wanted.len() as u32 + 2);
        for (model, wait) in simulation.waits.iter().filter(|(model, _)| *model != 0) {
            prop_assert!(*wait <= most, "model {model} waited {wait:?}, more than {most:?}");
        }
    }
}

/// Two models, called in turns by two users: by their turns alone each call would switch.
#[test]
fn what_is_loaded_goes_first_and_saves_switches() {
    let arrivals: Vec<_> = (0..200).map(|n| comes(n * 500, (n % 2) as u8, (n % 2) as u8, 450)).collect();
    let simulation = Simulation::run(1, switches(6, 1), &arrivals);
    let (count, longest) = (simulation.switched.len(), simulation.waits.iter().map(|(_, wait)| *wait).max().unwrap());
    assert!((8..=12).contains(&count), "{count} switches in 100 seconds");
    assert!(longest <= Duration::from_secs(25), "{longest:?}");
}

/// Two models fit: calls of both never wait for each other.
#[test]
fn models_that_fit_together_are_no_switch() {
    let arrivals: Vec<_> = (0..100).map(|n| comes(n * 500, 0, (n % 2) as u8, 400)).collect();
    let simulation = Simulation::run(1, switches(1, 2), &arrivals);
    assert_eq!(simulation.switched.len(), 0);
    assert!(simulation.waits.iter().all(|(_, wait)| wait.is_zero()));
}

fn body(model: &str, more: &Value) -> Value {
    let mut body = json!({"model": model, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

async fn sent(gateway: &Gateway, ollama: &Ollama, path: &str, body: &Value) -> Value {
    Box::pin(gateway.send(Request::post(path, body).key(&gateway.user))).await;
    ollama.received().last().unwrap().json()
}

#[tokio::test]
async fn a_pin_is_set_whatever_the_client_and_the_role_say() {
    let ollama = Ollama::start().await;
    ollama.on("/api/chat", Reply::recording("chat_stream"));
    ollama.on("/api/embed", Reply::recording("embed_string"));
    let setup = Setup::before(&ollama)
        .set("models.\"Library/Tiny\"", "num_ctx", "8192")
        .set("models.\"Library/Tiny\"", "keep_alive", "\"forever\"")
        .set("models.\"other:1b\"", "keep_alive", "\"90s\"")
        .set("roles.user.options", "num_ctx", "{ max = 4096 }");
    let gateway = Box::pin(setup.start()).await;
    let asked = json!({"keep_alive": "99h", "options": {"num_ctx": 131_072}});
    for model in ["tiny", "TINY:latest", "registry.ollama.ai/library/tiny"] {
        let got = sent(&gateway, &ollama, "/api/chat", &body(model, &asked)).await;
        assert_eq!((&got["options"]["num_ctx"], &got["keep_alive"]), (&json!(8192), &json!("-1s")), "{got}");
        let got = sent(&gateway, &ollama, "/api/chat", &body(model, &json!({}))).await;
        assert_eq!((&got["options"]["num_ctx"], &got["keep_alive"]), (&json!(8192), &json!("-1s")), "{got}");
    }
    let got = sent(&gateway, &ollama, "/api/chat", &body("other:1b", &asked)).await;
    assert_eq!(
        (&got["options"]["num_ctx"], &got["keep_alive"]),
        (&json!(4096), &json!("90s")),
        "the role's, and the pin"
    );
    let got = sent(&gateway, &ollama, "/api/chat", &body("third", &asked)).await;
    assert_eq!((&got["options"]["num_ctx"], &got["keep_alive"]), (&json!(4096), &json!("5m")), "no pin");
    let embed = json!({"model": "tiny", "input": "hi", "options": {"num_ctx": 1}, "keep_alive": 0});
    let got = sent(&gateway, &ollama, "/api/embed", &embed).await;
    assert_eq!((&got["options"], &got["keep_alive"]), (&json!({"num_ctx": 8192}), &json!("-1s")));
    let embed = json!({"model": "third", "input": "hi", "options": {"num_ctx": 1}});
    assert_eq!(sent(&gateway, &ollama, "/api/embed", &embed).await.get("options"), None);
}

/// The real thing: a call of the model that runs overtakes one that would switch, which gets its turn nevertheless.
#[tokio::test]
async fn the_loaded_model_goes_first_and_the_other_gets_its_turn() {
    let ollama = Ollama::start().await;
    ollama.on("/api/chat", Reply::recording("chat_stream"));
    let setup = Setup::before(&ollama).set("queue", "slots", "1").set("queue", "wait", "\"30s\"").set(
        "queue",
        "model_switches_per_minute",
        "20",
    ); // one in three seconds
    let gateway = Box::pin(setup.start()).await;
    let chat = |model: &str| Request::post("/api/chat", &body(model, &json!({}))).key(&gateway.user);
    Box::pin(gateway.send(chat("one"))).await.expect(200);
    Box::pin(gateway.send(chat("two"))).await.expect(200); // the first switch; the next in three seconds
    let began = std::time::Instant::now();
    let (switching, loaded) = (Box::pin(gateway.send(chat("one"))), async {
        // While the other one waits, five of the loaded model are answered.
        for _ in 0..5 {
            Box::pin(gateway.send(chat("two"))).await.expect(200);
        }
        began.elapsed()
    });
    let (switched, loaded) = within("both models", async { tokio::join!(switching, loaded) }).await;
    switched.expect(200);
    let (switched_after, models) = (began.elapsed(), ollama.received());
    let models: Vec<_> = models.iter().map(|request| request.json()["model"].as_str().unwrap().to_owned()).collect();
    assert_eq!(models[..2], ["one:latest", "two:latest"]);
    assert_eq!(models.last().unwrap(), "one:latest", "{models:?}");
    assert!(loaded < switched_after && switched_after >= Duration::from_secs(2), "{loaded:?} {switched_after:?}");
}
