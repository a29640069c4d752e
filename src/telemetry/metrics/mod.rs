//! What is counted: the closed list of metrics of this process.
//!
//! Guarantees: every metric is a field of [`Metrics`], so what is not in this list is not counted; labels come from
//! closed sets (see [`instrument`]); a count never decides anything.
//! Does not: serve them (`server::admin`), or know what is only true at the moment it is asked for (`server::gauges`).
//!
//! A list of one process, and so a `static`: a count belongs to whatever happened in it, whoever asked for it.

pub mod exposition;
pub mod instrument;
mod shares;

use super::event::SecurityEvent;
use exposition::{Kind, Page};
use instrument::{Counter, Counters, Gauge, Histograms, PLACES, SECONDS};
use std::sync::OnceLock;
use std::time::SystemTime;

/// The metrics.
#[derive(Debug)]
pub struct Metrics {
    /// Requests, when they are over.
    pub requests: Counters<2>,
    /// How they ended.
    pub outcomes: Counters<1>,
    /// Why they were refused.
    pub refusals: Counters<1>,
    /// How long they took.
    pub duration: Histograms,
    /// How long until the first byte of an answer that is no refusal: with a stream, the first token.
    pub first_byte: Histograms,
    /// How long until their turn came, or they stopped waiting for it.
    pub queue_wait: Histograms,
    /// Which place in the queue they came to.
    pub queue_position: Histograms,
    /// Tokens, as far as Ollama tells.
    pub tokens: Counters<1>,
    /// Bytes of bodies.
    pub bytes: Counters<1>,
    /// Requests that have begun and are not over.
    pub in_flight: Gauge,
    /// Connections that were accepted.
    pub connections: Counters<1>,
    /// TLS handshakes.
    pub handshakes: Counters<1>,
    /// Failures of Ollama.
    pub upstream_failures: Counters<1>,
    /// Security events.
    pub events: Counters<1>,
    /// Log lines that could not be written.
    pub lines_lost: Counter,
    /// Records of the audit log that could not be written.
    pub audit_lost: Counter,
    /// Spans that did not reach the collector.
    pub spans_lost: Counters<1>,
    /// Whether the last reload, if there was one, was taken.
    reload_taken: Gauge,
    started: OnceLock<SystemTime>,
}

static METRICS: Metrics = Metrics::new();

/// The metrics of this process.
#[must_use]
pub fn metrics() -> &'static Metrics {
    &METRICS
}

impl Metrics {
    const fn new() -> Self {
        Self {
            requests: Counters::new("requests_total", "Requests that are over.", ["endpoint", "status"]),
            outcomes: Counters::new("request_outcomes_total", "How requests ended.", ["outcome"]),
            refusals: Counters::new("refusals_total", "Refused requests, by the code of the refusal.", ["code"]),
            duration: Histograms::new(
                "request_duration_seconds",
                "From the head of a request to the last byte of its answer.",
                "class",
                SECONDS,
            ),
            first_byte: Histograms::new(
                "first_byte_seconds",
                "From the head of a request to the first byte of an answer that is no refusal.",
                "class",
                SECONDS,
            ),
            queue_wait: Histograms::new(
                "queue_wait_seconds",
                "How long requests waited for their turn, in vain or not.",
                "class",
                SECONDS,
            ),
            queue_position: Histograms::new(
                "queue_position",
                "Which turn requests had when they came: 1 was the next one, 0 did not wait.",
                "class",
                PLACES,
            ),
            tokens: Counters::new("tokens_total", "Tokens, as Ollama counted them, or else estimated.", ["kind"]),
            bytes: Counters::new("body_bytes_total", "Bytes of request and answer bodies.", ["direction"]),
            in_flight: Gauge::new(0),
            connections: Counters::new("connections_total", "Connections accepted.", ["listener"]),
            handshakes: Counters::new("tls_handshakes_total", "TLS handshakes.", ["result"]),
            upstream_failures: Counters::new("upstream_failures_total", "Failures of Ollama.", ["code"]),
            events: Counters::new("security_events_total", "Security events.", ["event"]),
            lines_lost: Counter::new(),
            audit_lost: Counter::new(),
            spans_lost: Counters::new("spans_lost_total", "Spans that did not reach the collector.", ["reason"]),
            reload_taken: Gauge::new(1),
            started: OnceLock::new(),
        }
    }

    /// Shows every event that could happen, so that its first occurrence is an increase; notes the time of the start.
    pub fn begin(&self, now: SystemTime) {
        self.started.get_or_init(|| now);
        for event in SecurityEvent::ALL {
            self.events.add([event.name()], 0);
        }
        for result in [HANDSHAKE_DONE, HANDSHAKE_FAILED, HANDSHAKE_SLOW] {
            self.handshakes.add([result], 0);
        }
    }

    /// Counts a security event.
    pub(super) fn happened(&self, event: SecurityEvent) {
        self.events.increment([event.name()]);
        if event == SecurityEvent::PolicyReloaded {
            self.reload_taken.set(1);
        } else if event == SecurityEvent::PolicyReloadFailed {
            self.reload_taken.set(0);
        }
    }

    /// Writes them all.
    pub fn write(&self, page: &mut Page) {
        page.counters(&self.requests);
        page.counters(&self.outcomes);
        page.counters(&self.refusals);
        page.histograms(&self.duration);
        page.histograms(&self.first_byte);
        page.histograms(&self.queue_wait);
        page.histograms(&self.queue_position);
        page.counters(&self.tokens);
        page.counters(&self.bytes);
        page.counters(&self.connections);
        page.counters(&self.handshakes);
        page.counters(&self.upstream_failures);
        page.counters(&self.spans_lost);
        page.counters(&self.events);
        let in_flight = self.in_flight.value();
        page.single("requests_in_flight", "Requests that are not over.", (Kind::Gauge, in_flight));
        let lost = self.lines_lost.value();
        page.single("log_lines_lost_total", "Log lines that could not be written.", (Kind::Counter, lost));
        let about = "Records of the audit log that could not be written.";
        page.single("audit_records_lost_total", about, (Kind::Counter, self.audit_lost.value()));
        let taken = self.reload_taken.value();
        page.single("last_reload_taken", "1 unless the last reload was refused.", (Kind::Gauge, taken));
        if let Some(started) = self.started.get() {
            let seconds = super::clock::unix_seconds(*started);
            page.single("process_start_time_seconds", "When the process started.", (Kind::Gauge, seconds));
        }
    }
}

/// A TLS handshake was completed.
pub const HANDSHAKE_DONE: &str = "completed";
/// A TLS handshake failed.
pub const HANDSHAKE_FAILED: &str = "failed";
/// A TLS handshake took too long.
pub const HANDSHAKE_SLOW: &str = "timed_out";
