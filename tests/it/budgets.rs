//! Budgets: never more than there is, in any order of calls; an answer that a budget ends is a whole answer; what was
//! spent is still spent after a restart.

use crate::harness::gateway::field;
use crate::harness::ollama::Close;
use crate::harness::recording::Recording;
use crate::harness::stream::{Stream, Version};
use crate::harness::{Gateway, Ollama, Reply, Request, Setup};
use crate::sign_in;
use crate::tokens::SECRET;
use ollama_gateway::config::types::{Budget, Period, Resource};
use ollama_gateway::limits::{Account, Cost, Cut, Ledger, Need, Reservation};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

fn tokens(amount: u64, period: Period) -> (Account, Budget) {
    let budget = Budget { resource: Resource::Tokens, amount: NonZeroU64::new(amount).unwrap(), period };
    (Account::Role("r".into()), budget)
}

fn need(prompt: u64, answer: u64, cut: Cut) -> Need {
    Need { prompt, answer, cut, time: Duration::ZERO }
}

proptest! {
    /// Calls come, cost what they may and end in any order: in no minute is more spent than there is, nor in the hour, and
    /// what is reserved comes back.
    #[test]
    fn no_order_of_calls_spends_more_than_there_is(
        minutes in proptest::collection::vec(proptest::collection::vec((0..3_u8, 1..40_u64, 1..40_u64), 1..50), 1..6),
    ) {
        let (ledger, budgets) = (Ledger::default(), [tokens(100, Period::Minute), tokens(300, Period::Hour)]);
        let mut of_hour = 0;
        for (minute, steps) in minutes.into_iter().enumerate() {
            let (now, mut running, mut of_minute) = (60 * minute as u64, Vec::new(), 0);
            for (step, prompt, answer) in steps {
                if step < 2 {
                    let cut = if step == 0 { Cut::Possible } else { Cut::Impossible };
                    if let Ok(mut reservation) = Reservation::make(&ledger, &budgets, &need(prompt, answer, cut), now) {
                        reservation.sent();
                        of_minute += prompt;
                        running.push((reservation, answer));
                    }
                } else if !running.is_empty() {
                    // It says one token after the other, as a stream does, and stops where the budget ends.
                    let (mut reservation, most) = running.remove(answer as usize % running.len());
                    let cost = |said| Cost { answer: said, ..Cost::default() };
                    let said = (1..=most).take_while(|said| reservation.spend(&cost(*said), now).is_ok()).count() as u64;
                    reservation.spend(&cost(said), now).ok();
                    of_minute += said;
                }
                prop_assert!(of_minute <= 100, "{of_minute} in minute {minute}");
            }
            drop(running);
            of_hour += of_minute;
            prop_assert!(of_hour <= 300, "{of_hour} in the hour");
            prop_assert_eq!(ledger.left(&budgets[..1], Resource::Tokens, now), Some(100 - of_minute));
            prop_assert_eq!(ledger.left(&budgets[1..], Resource::Tokens, now), Some(300 - of_hour));
        }
    }
}

#[test]
fn a_call_that_lasts_into_the_next_period_pays_there_for_what_comes_then() {
    let (ledger, budgets) = (Ledger::default(), [tokens(10, Period::Minute)]);
    let mut reservation = Reservation::make(&ledger, &budgets, &need(2, 50, Cut::Possible), 59).unwrap();
    for said in 1..=8 {
        reservation.spend(&Cost { answer: said, ..Cost::default() }, 59).unwrap();
    }
    assert!(reservation.spend(&Cost { answer: 9, ..Cost::default() }, 59).is_err());
    reservation.spend(&Cost { answer: 9, ..Cost::default() }, 60).unwrap();
    drop(reservation);
    assert_eq!(ledger.left(&budgets, Resource::Tokens, 60), Some(9));
}

#[test]
fn what_is_not_sent_costs_nothing_and_what_is_not_told_is_estimated() {
    let (ledger, budgets) = (Ledger::default(), [tokens(100, Period::Day)]);
    let left = || ledger.left(&budgets, Resource::Tokens, 5).unwrap();
    let reservation = Reservation::make(&ledger, &budgets, &need(10, 60, Cut::Impossible), 5).unwrap();
    assert_eq!(left(), 30);
    assert!(Reservation::make(&ledger, &budgets, &need(10, 60, Cut::Impossible), 5).is_err());
    drop(reservation);
    assert_eq!(left(), 100, "never sent");
    let mut reservation = Reservation::make(&ledger, &budgets, &need(10, 60, Cut::Possible), 5).unwrap();
    reservation.sent();
    drop(reservation);
    assert_eq!(left(), 90, "the client left before the first word");
    let mut reservation = Reservation::make(&ledger, &budgets, &need(10, 60, Cut::Possible), 5).unwrap();
    reservation.sent();
    reservation.refused();
    drop(reservation);
    assert_eq!(left(), 90, "Ollama refused it");
    let mut reservation = Reservation::make(&ledger, &budgets, &need(10, 60, Cut::Possible), 5).unwrap();
    reservation.spend(&Cost { prompt: Some(3), answer: 20, time: None }, 5).unwrap();
    drop(reservation);
    assert_eq!(left(), 67, "what Ollama said");
    let refused = Reservation::make(&ledger, &budgets, &need(80, 1, Cut::Possible), 86_300).unwrap_err();
    assert_eq!(refused.retry_after_s, 100, "the day ends then");
}

// --- the gateway ---

/// How long upstream may live after the end of its answer. A machine that is busy with other things only adds to it: so
/// the least of a few ends is what is asserted.
const LEAVE: Duration = Duration::from_millis(100);

/// Route, recording, and what ends an answer whose length is reached.
const ENDS: [(&str, &str, &str); 6] = [
    ("/api/chat", "chat_stream", "\"done\":true,\"done_reason\":\"length\"}\n"),
    ("/api/generate", "", "\"done\":true,\"done_reason\":\"length\"}\n"),
    ("/v1/chat/completions", "v1_chat_stream_usage", "\n\ndata: [DONE]\n\n"),
    ("/v1/completions", "v1_completions_stream", "\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n"),
    ("/v1/messages", "v1_messages_stream", "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"),
    ("/v1/responses", "crash_runner_stream_v1_responses", "\"tools\":[]}}\n\n"),
];

/// Twenty words of `/api/generate`: no recording has as many.
fn words() -> Reply {
    let line = |_| format!("{}\n", json!({"model": "tiny", "created_at": "t", "response": " word", "done": false}));
    Reply::chunked("application/x-ndjson", (0..20).map(line))
}

fn ask(path: &str, key: &str) -> Request {
    let said = json!([{"role": "user", "content": "hi"}]);
    let body = match path {
        "/api/chat" => json!({"model": "tiny", "messages": said}),
        "/api/generate" => json!({"model": "tiny", "prompt": "hi"}),
        "/v1/completions" => json!({"model": "tiny", "prompt": "hi", "stream": true}),
        "/v1/responses" => json!({"model": "tiny", "input": "hi", "stream": true}),
        "/v1/messages" => json!({"model": "tiny", "messages": said, "max_tokens": 99, "stream": true}),
        _ => json!({"model": "tiny", "messages": said, "stream": true, "stream_options": {"include_usage": true}}),
    };
    Request::post(path, &body).key(key)
}

async fn ground(key: &str, budget: &str) -> (Ollama, Gateway) {
    let ollama = Ollama::start().await;
    let gateway = Box::pin(Setup::before(&ollama).set("roles.user", key, budget).start()).await;
    (ollama, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_ends_in_the_middle_ends_the_answer_politely_in_every_dialect() {
    let mut least = Duration::MAX;
    for (path, name, end) in ENDS {
        let (ollama, gateway) = ground("tokens", "\"6/day\"").await;
        let reply = if name.is_empty() { words() } else { Reply::recording(name) };
        let (reply, gate) = reply.gated();
        ollama.on(path, reply);
        let mut stream = Box::pin(Stream::open(&gateway, Version::One, &ask(path, &gateway.user))).await;
        gate.open();
        while stream.more().await.unwrap() {
            gate.open();
        }
        let ended = Instant::now();
        assert!(stream.text.ends_with(end), "{path}: {}", stream.text);
        let reason = match path {
            "/v1/messages" => "\"stop_reason\":\"max_tokens\"",
            "/v1/responses" => "\"reason\":\"max_output_tokens\"",
            "/v1/chat/completions" => "\"finish_reason\":\"length\"",
            _ => "length",
        };
        assert!(stream.text.contains(reason), "{path}: {}", stream.text);
        assert!(
            !path.ends_with("chat/completions") || stream.text.contains("\"completion_tokens\":"),
            "usage was asked for"
        );
        let (Close::Fin(closed) | Close::Reset(closed)) = ollama.wait_closed(0).await;
        let late = closed.saturating_duration_since(ended);
        assert!(late < 5 * LEAVE, "{path}: upstream goes on");
        least = least.min(late);
        let record = gateway.record(stream.answer.id()).await;
        assert_eq!((field(&record, "outcome"), field(&record, "code")), ("completed".into(), "budget_used_up".into()));
        let pieces: u64 = pieces(path, &stream.text);
        assert!((5..=6).contains(&pieces), "{path}: {pieces} pieces: {}", stream.text);
        let refused = Box::pin(gateway.send(ask(path, &gateway.user))).await;
        assert_eq!(refused.status, 429, "{path}");
        assert!(refused.text().contains("budget_used_up"), "{}", refused.text());
        let wait: u64 = refused.one("retry-after").unwrap().parse().unwrap();
        assert!((1..=86_400).contains(&wait));
    }
    assert!(least < LEAVE, "upstream goes on for {least:?}");
}

/// Pieces of text in an answer: no more than the budget and one.
fn pieces(path: &str, text: &str) -> u64 {
    let lines =
        text.lines().filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ").unwrap_or(line)).ok());
    let said = |frame: &Value| match path {
        "/api/chat" => frame["message"]["content"].as_str().map(str::to_owned),
        "/api/generate" => frame["response"].as_str().map(str::to_owned),
        "/v1/chat/completions" => frame["choices"][0]["delta"]["content"].as_str().map(str::to_owned),
        "/v1/completions" => frame["choices"][0]["text"].as_str().map(str::to_owned),
        "/v1/messages" => frame["delta"]["text"].as_str().map(str::to_owned),
        _ => frame["delta"].as_str().map(str::to_owned),
    };
    lines.filter_map(|frame| said(&frame)).filter(|said| !said.is_empty()).count() as u64
}

#[tokio::test(flavor = "multi_thread")]
async fn ollama_is_asked_for_no_more_than_is_left_and_what_is_spent_survives_a_restart() {
    let (ollama, mut gateway) = ground("tokens", "\"200/day\"").await;
    ollama.on("/api/chat", Reply::recording("chat_nostream"));
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    let request = Request::post("/api/chat", &body).key(&gateway.user);
    let answer = Box::pin(gateway.send(request.clone())).await.expect(200).json();
    let cost = answer["prompt_eval_count"].as_u64().unwrap() + answer["eval_count"].as_u64().unwrap();
    let asked = ollama.received()[0].json()["options"]["num_predict"].as_u64().unwrap();
    assert!((100..200).contains(&asked), "{asked}");
    assert_eq!(gateway.stop().await, 0);
    let gateway = Box::pin(gateway.setup.start()).await;
    Box::pin(gateway.send(request)).await.expect(200);
    let second = ollama.received()[1].json()["options"]["num_predict"].as_u64().unwrap();
    assert_eq!(second, asked - cost, "the first call cost {cost}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_and_time_have_budgets_of_their_own_and_listings_cost_nothing() {
    for (key, budget) in [("requests", "\"1/day\""), ("gpu_seconds", "\"1/day\"")] {
        let (ollama, gateway) = ground(key, budget).await;
        let slow = Reply::recording("chat_nostream").after(Duration::from_millis(1_100));
        ollama.on("/api/chat", slow).on("/api/tags", Reply::recording("accept_encoding_gzip"));
        let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
        let request = Request::post("/api/chat", &body);
        for _ in 0..3 {
            Box::pin(gateway.send(Request::get("/api/tags").key(&gateway.user))).await.expect(200);
        }
        Box::pin(gateway.send(request.clone().key(&gateway.user))).await.expect(200);
        let again = Box::pin(gateway.send(request.clone().key(&gateway.user))).await;
        let expected = if key == "requests" { 429 } else { 200 };
        assert_eq!(again.status, expected, "{key}: Ollama says that it took less than a second");
        Box::pin(gateway.send(request.key(&gateway.admin))).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_keys_of_a_role_share_what_they_have_together() {
    let ollama = Ollama::start().await;
    let gateway = Box::pin(Setup::before(&ollama).set("roles.user.together", "requests", "\"2/day\"").start()).await;
    ollama.on("/api/chat", Reply::recording("chat_nostream"));
    let other = gateway.setup.key("user").await;
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    let mut statuses = Vec::new();
    for key in [&gateway.user, &gateway.user, &gateway.user] {
        statuses.push(Box::pin(gateway.send(Request::post("/api/chat", &body).key(key))).await.status);
    }
    assert_eq!(statuses, [200, 200, 429]);
    let answer = loop {
        let answer = Box::pin(gateway.send(Request::post("/api/chat", &body).key(&other))).await;
        if answer.status != 401 {
            break answer; // the new key is known
        }
    };
    assert_eq!(answer.status, 429);
}

/// The seconds are Ollama's own, not those that the gateway waited.
#[tokio::test(flavor = "multi_thread")]
async fn seconds_that_ollama_says_it_took_are_spent() {
    let (ollama, gateway) = ground("gpu_seconds", "\"1/day\"").await;
    let mut said = Recording::load("chat_nostream").answered().body().parse::<Value>().unwrap();
    said["total_duration"] = json!(2_000_000_000_u64);
    ollama.on("/api/chat", Reply::json(200, &said.to_string()));
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    let request = Request::post("/api/chat", &body).key(&gateway.user);
    Box::pin(gateway.send(request.clone())).await.expect(200);
    let refused = Box::pin(gateway.send(request)).await.expect(429);
    assert_eq!(refused.json()["code"], "budget_used_up");
    assert!(refused.one("retry-after").unwrap().parse::<u64>().unwrap() > 0);
    assert_eq!(ollama.count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_one_budget_however_often_they_sign_in() {
    let ollama = Ollama::start().await;
    ollama.on("/api/chat", Reply::recording("chat_nostream"));
    let setup = Setup::before(&ollama).environment("SECRET", SECRET).set("roles.user", "requests", "\"1/day\"");
    let setup = setup.set("auth.jwt", "issue", "true").set("auth.jwt", "secret", "\"env:SECRET\"");
    let gateway = Box::pin(setup.start()).await;
    let body = json!({"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": false});
    for (name, expected) in [("ana", [200, 429]), ("ben", [200, 429])] {
        let add = ["user", "add", name, "--role", "user", "--password-stdin"];
        sign_in::typed(&gateway, &add, &format!("{}\n", sign_in::PASSWORD)).await;
        for status in expected {
            let token = Box::pin(gateway.send(sign_in::by_password(name, sign_in::PASSWORD))).await.expect(200);
            let request = Request::post("/api/chat", &body).key(&sign_in::text(&token, "access_token"));
            assert_eq!(Box::pin(gateway.send(request)).await.status, status, "{name}");
        }
    }
    assert_eq!(ollama.count(), 2);
}
