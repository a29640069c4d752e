//! The path of a request, on one screen.
//!
//! Each stage takes the value of the stage before it and returns the next; only its own file can make its value, so a
//! stage that is deleted, reordered or forgotten does not compile. `forward` takes nothing but a [`queue::Queued`], and
//! only an [`answer::Answer`] becomes a response.

mod account;
pub mod activity;
pub mod admit;
pub mod answer;
pub mod authenticate;
pub mod authorize;
pub mod ban;
pub mod body;
pub mod budget;
mod conversation;
pub mod cors;
pub mod credential;
mod end;
pub mod form;
pub mod forward;
pub mod headers;
mod heartbeat;
mod identify;
pub mod inspect;
pub mod limit;
mod output;
pub mod peer;
mod pulse;
pub mod queue;
pub mod record;
pub mod reply;
pub mod respond;
pub mod route;
pub mod sanitise;
pub mod token;
mod tokens;
mod trace;
pub mod unread;
mod watchdog;

use crate::gateway::{Gateway, Policy};
use crate::http1::incoming::Incoming;
use crate::rejection::Rejection;
use crate::telemetry::clock;
use admit::Admitted;
use answer::Answer;
use futures_util::FutureExt as _;
use heartbeat::Waited;
use http::Request;
use http::request::Parts;
use peer::Peer;
use record::Record;
use reply::Reply;
use route::{Local, Own, Route};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

/// Answers a request, whatever it is, and leaves one record of it; a panic too has an answer.
pub async fn handle(gateway: Arc<Gateway>, peer: Arc<Peer>, request: Request<Incoming>) -> Reply {
    let path = pin!(answered(&gateway, peer, request));
    // After a panic, the record has been written while unwinding; the connection goes on.
    AssertUnwindSafe(path).catch_unwind().await.unwrap_or_else(|_| answer::after_panic(&gateway.policy()))
}

async fn answered(gateway: &Arc<Gateway>, peer: Arc<Peer>, request: Request<Incoming>) -> Reply {
    let policy = gateway.policy(); // one load: one policy a request
    let (mut record, head) = Record::open(&peer, &policy, request); // writes its one line when dropped
    record.audit = gateway.audit.clone();
    record.trace = gateway.traces.begin(policy.config.traces.as_ref(), &head.headers, peer.address);
    record.usage_meter = Some(Arc::clone(&gateway.usage));
    let answer = match admitted(gateway, &policy, head, &mut record).await {
        Ok(Passed::Here(local)) => Ok(Answer::local(local)),
        Ok(Passed::Own(own)) => {
            let answer = Box::pin(token::answer(*own, gateway, &policy, &mut record)).await;
            answer.inspect_err(|rejection| ban::judge(rejection, gateway, &record))
        }
        Ok(Passed::Onward(admitted)) => {
            let early = respond::Head::of(&policy, &record);
            let format = heartbeat::Format::of(&admitted);
            let ground = heartbeat::Ground { gateway: Arc::clone(gateway), policy: Arc::clone(&policy), record };
            match heartbeat::wait(format, admitted, ground).await {
                Waited::Done((answer, its_record)) => {
                    record = its_record;
                    answer
                }
                Waited::Silent(pending) => return early.respond(Answer::pending(pending, &peer)),
            }
        }
        Err(rejection) => {
            ban::judge(&rejection, gateway, &record);
            Err(limit::limit_refusal(rejection, gateway, &mut record))
        }
    };
    let answer = answer.unwrap_or_else(|rejection| Answer::refuse(rejection, &mut record));
    record.body.discard().await;
    respond::respond(answer, &policy, record) // the record and the permits leave inside the body
}

/// How far a request came without Ollama.
enum Passed {
    /// It is answered here.
    Here(Local),
    /// It is answered here, and says who somebody is.
    Own(Box<Own>),
    /// It may be sent.
    Onward(Box<Admitted>),
}

/// What the policy says of a request: until its body has been read.
async fn admitted(
    gateway: &Gateway,
    policy: &Arc<Policy>,
    head: Parts,
    record: &mut Record,
) -> Result<Passed, Rejection> {
    let bans = ban::BansAt { list: &gateway.bans, now: clock::now() };
    let inspected = inspect::inspect(head, policy, bans, record)?;
    let routed = match route::route(inspected, record)? {
        Route::Onward(routed) => routed,
        Route::Own(own) => return Ok(Passed::Own(own)),
        Route::Here(local) => return limit::limit_local(local, gateway, record).map(Passed::Here),
    };
    let authenticated = authenticate::authenticate(*routed, gateway, policy, record)?;
    let authorized = authorize::authorize(authenticated, record)?;
    let limited = limit::limit(authorized, gateway, record)?;
    admit::admit(limited, gateway, policy, record).await.map(|admitted| Passed::Onward(Box::new(admitted)))
}

/// What Ollama says: it may take minutes, so [`heartbeat`] keeps it in the answer's body.
async fn exchange(
    admitted: Admitted,
    gateway: &Gateway,
    policy: &Arc<Policy>,
    record: &mut Record,
) -> Result<Answer, Rejection> {
    let queued = queue::queue(admitted, gateway, policy, record).await?;
    let received = forward::forward(queued, gateway, policy, record).await?;
    sanitise::sanitise(received, policy, record).await
}
