//! What happens now, once a second, as server-sent events.
//!
//! Guarantees: a stream ends within a second of its session, or of a stop; there is a bounded number of streams; everything in it is a
//! number, a fixed word, an address or a key's id.

use super::body::{Body, answer, page};
use super::{Console, pages};
use crate::gateway::{Gateway, Phase};
use crate::telemetry::metrics::metrics;
use crate::telemetry::{clock, recent};
use bytes::Bytes;
use futures_util::stream;
use http::header::HeaderMap;
use http::{Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

const EVERY: Duration = Duration::from_secs(1);
const MOST: usize = 16;
const EVENTS: usize = 12;

/// One open stream of the console, as long as it lives.
struct Place(Arc<Console>);

impl Place {
    fn take(console: &Arc<Console>) -> Option<Self> {
        let one_more = |open: usize| (open < MOST).then_some(open + 1);
        let taken = console.streams.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        taken.ok().map(|_| Self(Arc::clone(console)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The stream of a session.
pub(super) fn stream(console: &Arc<Console>, gateway: Arc<Gateway>, headers: HeaderMap) -> Response<Body> {
    let Some(place) = Place::take(console) else {
        return page(StatusCode::SERVICE_UNAVAILABLE, pages::message("Too many of these pages are open."));
    };
    let events = stream::unfold((place, Duration::ZERO), move |(place, wait)| {
        let (gateway, headers) = (Arc::clone(&gateway), headers.clone());
        async move {
            tokio::time::sleep(wait).await;
            // A stop waits for its connections.
            if gateway.phase() == Phase::Draining || !place.0.sessions.still(&headers, &gateway) {
                return None;
            }
            let frame = Frame::data(Bytes::from(format!("data: {}\n\n", now(&gateway))));
            Some((Ok::<_, Infallible>(frame), (place, EVERY)))
        }
    });
    answer(StatusCode::OK, "text/event-stream", StreamBody::new(events).boxed_unsync())
}

/// The moment, in numbers.
fn now(gateway: &Gateway) -> Value {
    let metrics = metrics();
    let by_status = |wanted: &str| -> u64 {
        let of = metrics.requests.snapshot().into_iter().filter(|([_, status], _)| *status == wanted);
        of.map(|(_, count)| count).sum()
    };
    let pairs = |counts: Vec<([&'static str; 1], u64)>| -> Value {
        counts.into_iter().map(|([name], count)| json!([name, count])).collect()
    };
    json!({
        "in_flight": metrics.in_flight.value(),
        "waiting": gateway.slots.load().1,
        "connections": gateway.connections.open(),
        "keys": gateway.keys.len(),
        "answered": by_status("2xx"),
        "refused": by_status("4xx"),
        "failed": by_status("5xx"),
        "tokens": pairs(metrics.tokens.snapshot()),
        "refusals": pairs(metrics.refusals.snapshot()),
        "certificates": certificates(gateway),
        "events": recent::last(EVENTS).iter().map(event).collect::<Value>(),
    })
}

fn certificates(gateway: &Gateway) -> Value {
    let today = clock::now();
    gateway.certificates.served().iter().map(|(name, leaf)| json!([name, leaf.days_left(today)])).collect()
}

fn event(recent: &recent::Recent) -> Value {
    json!({
        "at": clock::rfc3339(recent.at).to_string(),
        "event": recent.event.name(),
        "level": recent.event.level().as_str(),
        "client": recent.client.map(|address| address.to_string()),
        "principal": recent.principal,
        "reason": recent.reason,
    })
}
