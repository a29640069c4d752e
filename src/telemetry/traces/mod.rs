//! Traces: one span a request, sent to a collector by OTLP (HTTP, protobuf), named by the GenAI conventions.
//!
//! Guarantees: off unless the configuration names a collector, and then nothing is made, drawn or kept for a request; a
//! request never waits for the collector: spans go through a bounded queue, and what does not fit is counted as lost; no
//! span has a prompt, an answer, a credential, an address or a query. A `traceparent` is believed from the sources that the
//! configuration names alone: from others it would let a client write into somebody's trace, or switch spans off. A trace
//! that begins here is kept by its id, in the ratio that the configuration names (`parentbased_traceidratio`).
//! Does not: keep spans of requests that are for no endpoint (scanners), or forward `tracestate` and `baggage`.

mod context;
mod export;
mod otlp;

pub use context::Context;
pub use otlp::Span;

use crate::config::types;
use crate::telemetry::metrics::metrics;
use http::HeaderMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use tokio::sync::mpsc::{self, error::TrySendError};

/// Spans that wait for the collector at most.
const WAITING: usize = 4096;

/// Where spans go. One for the life of the process.
#[derive(Debug)]
pub struct Traces {
    sender: mpsc::Sender<Span>,
    receiver: Mutex<Option<mpsc::Receiver<Span>>>,
}

impl Default for Traces {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        Self { sender, receiver: Mutex::new(Some(receiver)) }
    }
}

/// The trace of one request; `None` of it where there are none.
#[derive(Debug)]
pub struct Trace {
    /// Its ids.
    pub context: Context,
    sender: mpsc::Sender<Span>,
}

impl Traces {
    /// Begins the trace of a request that came from `from`, where there are traces.
    #[must_use]
    pub fn begin(&self, config: Option<&types::Traces>, headers: &HeaderMap, from: IpAddr) -> Option<Trace> {
        let config = config?;
        let believed = config.trusted.iter().any(|network| network.contains(&from));
        let parent = if believed { headers.get("traceparent").and_then(|value| value.to_str().ok()) } else { None };
        Some(Trace { context: Context::begin(parent, config.ratio)?, sender: self.sender.clone() })
    }

    /// Sends spans for ever; `config` tells where to. To be spawned once.
    pub async fn export(&self, config: impl Fn() -> Option<types::Traces> + Send) {
        let receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(receiver) = receiver {
            export::export(receiver, config).await;
        }
    }
}

impl Trace {
    /// Hands a finished span over; whoever makes one asks [`Context::is_sampled`] first.
    pub fn end(&self, span: Span) {
        match self.sender.try_send(span) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => metrics().spans_lost.add([QUEUE_FULL], 1),
        }
    }
}

/// The collector is slower than requests come.
pub(crate) const QUEUE_FULL: &str = "queue_full";
/// The collector did not take them.
pub(crate) const NOT_TAKEN: &str = "not_taken";
