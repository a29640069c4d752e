//! The end of a request: it is counted, and its line is written.
//!
//! ```text
//! its record is in the audit log ─► it is counted ([`Record::settle`]) ─► the answer's end leaves ─► its line (dropped)
//! ```
//!
//! Guarantees: one line a request, whatever happens (answered, refused, client gone, panic), and it is counted once: before
//! the client has the end of its answer where whoever writes that asks for it, as `server::http1` does, else with the line.
//! The client has its answer before the line is written there. Does not: wait until the line is in its file.

use super::account;
use super::record::{Outcome, Record};
use super::route::OwnRoute;
use super::tokens::Tokens;
use super::trace;
use crate::pipeline::activity::InFlight;
use crate::telemetry::clock;
use crate::telemetry::metrics::metrics;
use crate::telemetry::printable::address;
use std::time::Duration;

/// Whether a request is counted.
#[derive(Debug)]
pub(super) enum Standing {
    /// It is not: its connection is busy with it.
    InFlight { _busy: InFlight },
    /// It is.
    Settled(Settled),
}

/// What a request is counted as.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settled {
    outcome: &'static str,
    took: Duration,
}

impl Record {
    /// Counts it, the first time that it is asked to.
    pub(super) fn settle(&mut self) -> Settled {
        if let Standing::Settled(settled) = self.standing {
            return settled;
        }
        let outcome = if std::thread::panicking() { "panicked" } else { self.outcome().name() };
        let (took, now) = (self.started.elapsed(), clock::now());
        let settled = Settled { outcome, took };
        // First: a panic in what follows comes here again. The connection is busy until the end of it.
        let _in_flight = std::mem::replace(&mut self.standing, Standing::Settled(settled));
        account::account(self, outcome, now);
        account::count(self, now);
        trace::end(self, (took, now));
        self.count(outcome, took);
        settled
    }

    fn count(&self, outcome: &'static str, took: Duration) {
        let metrics = metrics();
        let (endpoint, class) = self.endpoint.map_or(("none", "none"), |e| (e.facts().name, e.facts().class.name()));
        metrics.in_flight.decrement();
        metrics.requests.increment([endpoint, self.status_class()]);
        metrics.outcomes.increment([outcome]);
        metrics.duration.observe(class, took);
        // Refusals are quick: among them a slow model would not show.
        if let Some(first_byte) = self.first_byte().filter(|_| self.outcome() != Outcome::Refused) {
            metrics.first_byte.observe(class, first_byte);
        }
        if let Some(turn) = &self.turn {
            metrics.queue_wait.observe(class, turn.time());
            metrics.queue_position.observe_number(class, turn.position() as f64);
        }
        let tokens = Tokens::of(self);
        metrics.tokens.add(["prompt"], tokens.prompt.unwrap_or(0));
        metrics.tokens.add(["output"], tokens.output.unwrap_or(0));
        metrics.bytes.add(["in"], self.bytes_in);
        metrics.bytes.add(["out"], self.bytes_out);
    }

    /// `none`: the client was gone before there was an answer.
    fn status_class(&self) -> &'static str {
        if self.outcome() == Outcome::ClientLeft && self.first_byte().is_none() {
            return "none";
        }
        match self.status.map_or(0, |status| status.as_u16()) {
            ..=199 => "1xx",
            200..=299 => "2xx",
            300..=399 => "3xx",
            400..=499 => "4xx",
            500.. => "5xx",
        }
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let settled = self.settle();
        let (tokens, millis) = (Tokens::of(self), |d: Duration| d.as_secs_f64() * 1e3);
        tracing::info!(
            event = "request",
            request_id = %self.id,
            trace_id = self.trace.as_ref().map(|trace| trace.context.trace_id()),
            client = %address(self.client),
            protocol = self.protocol.name(),
            method = self.method(),
            path = &*self.path,
            endpoint = self.endpoint.map(|e| e.facts().name).or(self.own.map(OwnRoute::name)),
            principal = self.principal.as_deref(),
            role = self.role.as_deref(),
            model = self.model.as_deref(),
            status = self.status.map(|status| status.as_u16()),
            code = self.code,
            outcome = settled.outcome,
            detail = self.detail.as_deref(),
            duration_ms = millis(settled.took),
            first_byte_ms = self.first_byte().map(millis),
            queue_position = self.turn.map(|turn| turn.position()),
            queue_ms = self.turn.map(|turn| millis(turn.time())),
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            prompt_tokens = tokens.prompt,
            output_tokens = tokens.output,
            tokens_by = tokens.by,
        );
    }
}
