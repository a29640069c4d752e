//! Signs of life while Ollama is silent: it loads a model, or reads a long prompt, and says nothing for minutes.
//!
//! Guarantees: an answer that comes soon, and every refusal that does, keeps its own status; after the delay the head goes
//! out, and then bytes that mean nothing in the format of the answer (a comment of server-sent events, a space before
//! JSON) keep proxies and clients from giving up; a refusal that comes after that is said in the answer, in the caller's
//! dialect. Waiting for a slot is silence too; a stream that falls silent after its first frame has the same signs, in
//! [`super::body`]. Does not: pass anything of Ollama's but an [`Answer`].

use super::admit::{Admitted, Asked};
use super::answer::{Answer, told};
use super::body::Body;
use super::pulse::{Beat, Pulse};
use super::record::Record;
use crate::gateway::{Gateway, Policy};
use crate::ollama::call::AnswerShape;
use crate::ollama::dialect::{LastSeen, error_body, error_frames};
use crate::ollama::endpoint::{Class, Dialect, Endpoint};
use crate::ollama::response::UpstreamFault;
use crate::rejection::Rejection;
use http::header::{self, HeaderValue};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::task::JoinHandle;

/// An answer or a refusal, and the record of either.
type Done = (Result<Answer, Rejection>, Box<Record>);

/// The rest of the path.
type Rest = Pin<Box<dyn Future<Output = Done> + Send>>;

/// How an answer can be kept alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::pipeline) struct Format {
    endpoint: Endpoint,
    shape: AnswerShape,
}

impl Format {
    /// Of the answer to this request; `None`: it has none that can wait.
    pub(in crate::pipeline) fn of(admitted: &Admitted) -> Option<Self> {
        let endpoint = admitted.endpoint();
        let slow = endpoint.facts().class == Class::Inference
            || matches!(endpoint, Endpoint::Pull | Endpoint::Push | Endpoint::Create);
        let shape = admitted.call()?.shape();
        (slow && admitted.asked() == Asked::Whole).then_some(Self { endpoint, shape })
    }

    pub(in crate::pipeline) const fn content_type(self) -> HeaderValue {
        match self.shape {
            AnswerShape::Whole => HeaderValue::from_static("application/json; charset=utf-8"),
            AnswerShape::Stream => self.beat().stream_type(),
        }
    }

    const fn beat(self) -> Beat {
        match (self.shape, self.endpoint.facts().dialect) {
            (AnswerShape::Whole, _) | (AnswerShape::Stream, Dialect::Ollama) => Beat::Space,
            (AnswerShape::Stream, Dialect::OpenAi | Dialect::Anthropic) => Beat::Comment,
        }
    }

    /// A refusal, said where the answer would be.
    fn refusal(self, rejection: &Rejection, record: &Record) -> Vec<u8> {
        let (text, id) = (rejection.text(), record.id.to_string());
        let told = told(rejection, &text, &id);
        match self.shape {
            AnswerShape::Whole => error_body(self.endpoint.facts().dialect, &told).into_bytes(),
            AnswerShape::Stream => error_frames(self.endpoint, &told, &LastSeen::default()),
        }
    }
}

/// The rest of the path, and whether it took too long to wait for.
pub(in crate::pipeline) enum Waited {
    /// It is done.
    Done(Done),
    /// It goes on inside the body.
    Silent(Box<Pending>),
}

/// The rest of the path, in a task of its own from now on: it goes on though the client takes nothing, not even a
/// heartbeat. Dropping it cancels everything.
struct Going(JoinHandle<Done>);

impl Going {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Done> {
        match ready!(Pin::new(&mut self.0).poll(cx)) {
            Ok(done) => Poll::Ready(done),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Poll::Pending, // cancelled: the process ends
            },
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An answer to come. Dropping it cancels everything.
pub(in crate::pipeline) struct Pending {
    rest: Going,
    format: Format,
    pulse: Pulse,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("format", &self.format).finish_non_exhaustive()
    }
}

/// What is to be sent next.
pub(in crate::pipeline) enum Next {
    /// A sign of life.
    Beat(&'static [u8]),
    /// The answer's own body.
    Body(Body, Box<Record>),
}

/// Waits for the rest of the path, for so long as an answer in this format may be silent.
pub(in crate::pipeline) async fn wait(format: Option<Format>, admitted: Box<Admitted>, ground: Ground) -> Waited {
    let every = ground.policy.config.upstream.heartbeat_after;
    // Made where it stays: `Box::pin` would copy all of it, most of which is not used yet.
    let rest = Box::write(Box::new_uninit(), rest(admitted, ground));
    let mut rest: Rest = Box::into_pin(rest);
    let Some(format) = format else {
        return Waited::Done(rest.await);
    };
    match tokio::time::timeout(every, &mut rest).await {
        Ok(done) => Waited::Done(done),
        Err(_) => {
            let rest = Going(tokio::spawn(rest));
            Waited::Silent(Box::new(Pending { rest, format, pulse: Pulse::overdue(format.beat(), every) }))
        }
    }
}

/// What the rest of the path works with.
pub(in crate::pipeline) struct Ground {
    pub(in crate::pipeline) gateway: Arc<Gateway>,
    pub(in crate::pipeline) policy: Arc<Policy>,
    pub(in crate::pipeline) record: Box<Record>,
}

async fn rest(admitted: Box<Admitted>, ground: Ground) -> Done {
    let Ground { gateway, policy, mut record } = ground;
    let result = pin!(super::exchange(*admitted, &gateway, &policy, &mut record)).await;
    (result, record)
}

impl Pending {
    /// The next thing to send.
    pub(in crate::pipeline) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Next> {
        if let Poll::Ready((result, record)) = self.rest.poll(cx) {
            let (body, record) = self.arrived(result, record);
            return Poll::Ready(Next::Body(body, record));
        }
        self.pulse.poll(cx).map(Next::Beat)
    }

    /// What came of it, as the rest of an answer that has begun.
    fn arrived(&self, result: Result<Answer, Rejection>, mut record: Box<Record>) -> (Body, Box<Record>) {
        let rejection = match result {
            Ok(answer) => {
                let (status, headers, body, ..) = answer.into_parts();
                if headers.contains(&(header::CONTENT_TYPE, self.format.content_type())) {
                    record.answered(status);
                    return (body, record);
                }
                let detail = "an answer of another kind than was asked for".to_owned();
                Rejection::Upstream { fault: UpstreamFault::Invalid, detail }
            }
            Err(rejection) => rejection,
        };
        record.refused(&rejection);
        record.answered(http::StatusCode::OK);
        let bytes = self.format.refusal(&rejection, &record);
        (Body::refusal(bytes), record)
    }

    /// Its format.
    pub(in crate::pipeline) const fn format(&self) -> Format {
        self.format
    }
}
