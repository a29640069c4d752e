//! A recorded chat on its way through the path, stage by stage: what `stages` takes the time of and `instructions` counts.

mod ground;
pub(crate) mod recorded;
pub(crate) mod stand_in;

pub(crate) use ground::Ground;

use bytes::BytesMut;
use futures_util::FutureExt as _;
use ground::Stream;
use http_body::Body as _;
use ollama_gateway::http1::request::Reader;
use ollama_gateway::ollama::endpoint::Endpoint;
use ollama_gateway::ollama::response;
use ollama_gateway::pipeline::record::Record;
use ollama_gateway::pipeline::reply::Reply;
use ollama_gateway::pipeline::{
    admit, authenticate, authorize, forward, inspect, limit, queue, respond, route, sanitise,
};
use ollama_gateway::upstream::head;
use recorded::Recorded;
use std::pin::Pin;
use std::task::{Context, Waker};

/// What a stage is measured by.
pub(crate) trait Meter {
    /// Measures `stage` of what `begin` makes, but not the making, nor the letting go of what comes of it.
    fn stage<I, O>(&mut self, name: &str, begin: impl FnMut() -> I, stage: impl FnMut(I) -> O);
}

/// All stages of the path, in its order.
pub(crate) fn stages(ground: &Ground, meter: &mut impl Meter) {
    let head = || BytesMut::from(&*ground.request);
    meter.stage("a head, read", head, |mut bytes| Reader::default().take(&mut bytes).unwrap().unwrap());
    let policy = &ground.policy;
    meter.stage("record", || ground.incoming(), |request| Record::open(&ground.peer, policy, request));
    before_the_body(ground, meter);
    let begun = || ground.limited();
    meter.stage("admit, a small body", begun, |(limited, mut record)| {
        let admitted = admit::admit(limited, &ground.gateway, policy, &mut record);
        (admitted.now_or_never().unwrap().unwrap(), record)
    });
    let begun = || ground.admitted();
    meter.stage("queue", begun, |(admitted, mut record)| {
        let queued = queue::queue(admitted, &ground.gateway, policy, &mut record);
        (queued.now_or_never().unwrap().unwrap(), record)
    });
    with_ollama(ground, meter);
    meter.stage(
        "respond",
        || ground.answered(),
        |(answer, record)| {
            let reply = respond::respond(answer, policy, record);
            let mut out = BytesMut::with_capacity(1024);
            reply.headers.write_lines(&mut out);
            (reply, out)
        },
    );
    meter.stage("end: the audit record and the log line", || ground.replied(), end);
}

fn before_the_body(ground: &Ground, meter: &mut impl Meter) {
    let (gateway, policy) = (&ground.gateway, &ground.policy);
    meter.stage(
        "inspect",
        || ground.opened(),
        |(head, mut record)| (inspect::inspect(head, policy, ground.bans(), &mut record).unwrap(), record),
    );
    meter.stage(
        "route",
        || ground.inspected(),
        |(inspected, mut record)| (route::route(inspected, &mut record).unwrap(), record),
    );
    meter.stage(
        "authenticate, by a key",
        || ground.routed(),
        |(routed, mut record)| (authenticate::authenticate(routed, gateway, policy, &mut record).unwrap(), record),
    );
    meter.stage(
        "authorize",
        || ground.authenticated(),
        |(authenticated, record)| (authorize::authorize(authenticated, &record).unwrap(), record),
    );
    meter.stage(
        "limit",
        || ground.authorized(),
        |(authorized, mut record)| (limit::limit(authorized, gateway, &mut record).unwrap(), record),
    );
}

/// What is done for Ollama, and to what it says.
fn with_ollama(ground: &Ground, meter: &mut impl Meter) {
    let (gateway, policy) = (&ground.gateway, &ground.policy);
    meter.stage(
        "forward and sanitise, the stand-in's time too",
        || ground.queued(),
        |(queued, mut record)| {
            let answer = ground.runtime.block_on(async {
                let received = forward::forward(queued, gateway, policy, &mut record).await.unwrap();
                sanitise::sanitise(received, policy, &mut record).await.unwrap()
            });
            (answer, record)
        },
    );
    let whole = Recorded::read("chat_nostream");
    let (answer, head) = (whole.answer(), whole.head());
    meter.stage("Ollama's head, read", || (), |()| head::begin(&head, head::Expects::Body).unwrap());
    meter.stage("Ollama's answer, whole", || (), |()| response::whole(Endpoint::Chat, &answer, &ground::VIEW).unwrap());
    let streamed = Recorded::read("chat_stream").chunks;
    let Some(first) = streamed.first() else { return };
    meter.stage("a chunk of a stream", Stream::begin, |mut stream| {
        stream.push(first);
        stream
    });
    meter.stage(&format!("a stream of {} chunks", streamed.len()), Stream::begin, |mut stream| {
        streamed.iter().for_each(|chunk| stream.push(chunk));
        stream
    });
}

/// Takes an answer to its end.
fn end(reply: Reply) {
    let (mut body, cx) = (reply.body, &mut Context::from_waker(Waker::noop()));
    while !body.is_end_stream() {
        assert!(Pin::new(&mut body).poll_frame(cx).is_ready(), "the answer is whole");
    }
    let mut soon = body.account_soon().unwrap();
    while soon.poll(cx).is_pending() {}
}
