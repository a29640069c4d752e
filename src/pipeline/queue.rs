//! Seventh stage: a place among the requests in flight.
//!
//! Guarantees of [`Queued`]: one permit of the caller's own, one slot of the fair queue where a model is to run, and one of
//! the connections to Ollama, and what it needs of its budgets, all given back when the value is dropped, wherever that happens; the wait for a slot is
//! bounded, and a refusal says after how long a try may succeed. Answers `threats.md` §5 item 11.

use super::admit::{Admitted, Content, Facts};
use super::budget;
use super::record::Record;
use crate::gateway::{Gateway, Policy};
use crate::limits::{Asker, Cost, NoSlot, Permit, Reservation, Slot, Subject, UsedUp};
use crate::ollama::call::Call;
use crate::ollama::endpoint::Class;
use crate::ollama::response::Usage;
use crate::rejection::Rejection;
use crate::upstream::Carried;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// A request that may be sent.
///
/// ```compile_fail
/// fn forge(admitted: ollama_gateway::pipeline::admit::Admitted) -> ollama_gateway::pipeline::queue::Queued {
///     ollama_gateway::pipeline::queue::Queued { admitted }
/// }
/// ```
/// ```
/// fn read(q: &ollama_gateway::pipeline::queue::Queued) -> &ollama_gateway::pipeline::admit::Admitted { q.admitted() }
/// ```
#[derive(Debug)]
pub struct Queued {
    admitted: Admitted,
    permits: Permits,
    slot: Option<Slot>,
    connection: OwnedSemaphorePermit,
}

/// What a request holds as long as it runs.
#[derive(Debug)]
pub struct Permits {
    _own: Option<Permit>,
    reservation: Option<Reservation>,
}

impl Permits {
    /// The call goes out.
    pub(in crate::pipeline) fn sent(&mut self) {
        if let Some(reservation) = &mut self.reservation {
            reservation.sent();
        }
    }

    /// Ollama did not take the call.
    pub(in crate::pipeline) const fn refused(&mut self) {
        if let Some(reservation) = &mut self.reservation {
            reservation.refused();
        }
    }

    /// What the answer has cost so far.
    ///
    /// # Errors
    /// A budget ends here.
    pub(in crate::pipeline) fn spend(&mut self, usage: &Usage) -> Result<(), UsedUp> {
        let Some(reservation) = &mut self.reservation else { return Ok(()) };
        let cost = Cost {
            prompt: usage.prompt_tokens,
            answer: usage.output_tokens.unwrap_or(usage.pieces),
            time: usage.total_duration_ns.map(Duration::from_nanos),
        };
        reservation.spend(&cost, budget::now())
    }
}

impl Queued {
    /// The request.
    #[must_use]
    pub const fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    pub(in crate::pipeline) fn into_parts(self) -> (Facts, Content, Permits, Carried) {
        let (facts, content, own) = self.admitted.into_content();
        // Ollama's side of it ends when Ollama is done, the caller's side when the caller is.
        let mut carried = Carried::with_capacity(3); // the watchdog adds one
        carried.push(Box::new(self.slot));
        carried.push(Box::new(self.connection));
        (facts, content, Permits { _own: Some(own), ..self.permits }, carried)
    }
}

/// Takes what the request needs; what runs a model waits for its turn, everything else never waits.
///
/// # Errors
/// 429 where the caller's own requests are in its way, 503 where its turn did not come in time.
pub async fn queue(
    admitted: Admitted,
    gateway: &Gateway,
    policy: &Policy,
    record: &mut Record,
) -> Result<Queued, Rejection> {
    let subject = admitted.principal().subject(record.client);
    let reservation = budget::reserve(&admitted, gateway, record)?;
    let slot = match admitted.endpoint().facts().class {
        Class::Inference => Some(slot(&admitted, subject, (gateway, policy), record).await?),
        Class::Public | Class::Catalogue | Class::Management | Class::Egress | Class::Named => None,
    };
    let connection = gateway.upstream.slot().ok_or(Rejection::Overloaded { retry_after_s: 1 })?;
    Ok(Queued { admitted, permits: Permits { _own: None, reservation }, slot, connection })
}

async fn slot(
    admitted: &Admitted,
    subject: Subject,
    (gateway, policy): (&Gateway, &Policy),
    record: &mut Record,
) -> Result<Slot, Rejection> {
    let model = admitted.call().and_then(Call::model).map(|model| Arc::from(model.canonical()));
    let asker = Asker { subject, weight: admitted.role().weight, model };
    gateway.slots.take(&asker, policy.config.queue.wait, &mut record.turn).await.map_err(|none| match none {
        NoSlot::TooManyWaiting { retry_after } => {
            Rejection::TooManyWaiting { retry_after_s: whole_seconds(retry_after) }
        }
        NoSlot::TooLong { retry_after } => Rejection::Overloaded { retry_after_s: whole_seconds(retry_after) },
    })
}

/// What a `Retry-After` says: never nothing, never more than an hour.
pub(in crate::pipeline) fn whole_seconds(time: Duration) -> u64 {
    time.as_secs_f64().ceil().clamp(1.0, 3_600.0) as u64
}
