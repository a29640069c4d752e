//! Seventh stage: a place among the requests in flight.
//!
//! Guarantees of [`Queued`]: one permit of the caller's own and one of the connections to Ollama, both given back when
//! the value is dropped, wherever that happens; the wait for them is bounded. Answers `threats.md` §5 item 11.

use super::admit::{Admitted, Content, Facts};
use super::record::Record;
use crate::gateway::{Gateway, Policy};
use crate::limits::Permit;
use crate::rejection::Rejection;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// The longest wait for a connection to Ollama.
const WAIT: Duration = Duration::from_secs(30);

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
}

/// What a request holds as long as it runs.
#[derive(Debug)]
pub struct Permits {
    _own: Permit,
    _connection: OwnedSemaphorePermit,
}

impl Queued {
    /// The request.
    #[must_use]
    pub const fn admitted(&self) -> &Admitted {
        &self.admitted
    }

    pub(in crate::pipeline) fn into_parts(self) -> (Facts, Content, Permits) {
        let (facts, content) = self.admitted.into_content();
        (facts, content, self.permits)
    }
}

/// Waits for a place.
///
/// # Errors
/// 429 where the caller has too many in flight, 503 where nothing became free in time.
pub async fn queue(
    admitted: Admitted,
    gateway: &Gateway,
    _policy: &Policy,
    record: &Record,
) -> Result<Queued, Rejection> {
    let own = own_permit(&admitted, gateway, record)?;
    let connection = gateway.upstream.slot(WAIT).await.ok_or(Rejection::Overloaded)?;
    Ok(Queued { admitted, permits: Permits { _own: own, _connection: connection } })
}

fn own_permit(admitted: &Admitted, gateway: &Gateway, record: &Record) -> Result<Permit, Rejection> {
    let subject = admitted.principal().subject(record.client);
    gateway.concurrency.acquire(&subject, admitted.role().concurrent).map_err(|_| Rejection::TooManyInFlight)
}
