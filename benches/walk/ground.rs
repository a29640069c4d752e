//! What the stages are walked through with: a gateway with everything on, a client with a key, and a stand-in for Ollama.

use super::recorded::Recorded;
use super::stand_in::StandIn;
use futures_util::FutureExt as _;
use http::Request;
use http::request::Parts as Head;
use ollama_gateway::certificates::Certificates;
use ollama_gateway::config::{self, Environment};
use ollama_gateway::gateway::{Gateway, Parts, Policy};
use ollama_gateway::http1::incoming::Incoming;
use ollama_gateway::http1::wire::{ClientBody, Next, Wire};
use ollama_gateway::identity::accounts::Accounts;
use ollama_gateway::identity::issue::KeyRequest;
use ollama_gateway::identity::key_ring::KeyRing;
use ollama_gateway::identity::keys::PresentedKey;
use ollama_gateway::identity::pepper::Pepper;
use ollama_gateway::ollama::endpoint::Endpoint;
use ollama_gateway::ollama::response::{Context, Full, StreamOptions, StreamSanitiser, UsageChunk, View};
use ollama_gateway::pipeline::activity::Activity;
use ollama_gateway::pipeline::admit::{Admitted, admit};
use ollama_gateway::pipeline::answer::Answer;
use ollama_gateway::pipeline::authenticate::{Authenticated, authenticate};
use ollama_gateway::pipeline::authorize::{Authorized, authorize};
use ollama_gateway::pipeline::ban::BansAt;
use ollama_gateway::pipeline::forward::forward;
use ollama_gateway::pipeline::inspect::{Inspected, inspect};
use ollama_gateway::pipeline::limit::{Limited, limit};
use ollama_gateway::pipeline::peer::{self, Peer, Protocol, Via};
use ollama_gateway::pipeline::queue::{Queued, queue};
use ollama_gateway::pipeline::record::Record;
use ollama_gateway::pipeline::reply::Reply;
use ollama_gateway::pipeline::respond::respond;
use ollama_gateway::pipeline::route::{Route, Routed, route};
use ollama_gateway::pipeline::sanitise::sanitise;
use ollama_gateway::store::Store;
use ollama_gateway::store::key_record::KeyName;
use ollama_gateway::store::timestamp::Timestamp;
use ollama_gateway::telemetry::audit::Audit;
use ollama_gateway::telemetry::{clock, logs};
use std::io::Cursor;
use std::sync::{Arc, Mutex};
use tokio::io::{join, sink};
use tokio::runtime::Runtime;

pub(crate) struct Ground {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) policy: Arc<Policy>,
    pub(crate) peer: Arc<Peer>,
    /// A request, as it comes in.
    pub(crate) request: Vec<u8>,
    pub(crate) runtime: Runtime,
    _upstream: StandIn,
    _folder: tempfile::TempDir,
}

/// What the caller may see of an answer.
pub(super) const VIEW: View<'static> =
    View { may_see: &|_| true, full: Full::Reduced, shown_version: "0.0.0", wanted: None, context: Context::Drop };

impl Ground {
    pub(crate) fn prepare() -> Self {
        let (folder, upstream) = (tempfile::tempdir().unwrap(), StandIn::start());
        let key = PresentedKey::generate().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let gateway = Arc::new(runtime.block_on(gateway(folder.path(), &upstream.address, &key)));
        let policy = gateway.policy();
        let logs = logs::dispatch(&policy.config.log, std::io::sink).unwrap();
        tracing::dispatcher::set_global_default(logs).unwrap();
        let peer = Arc::new(Peer {
            address: [127, 0, 0, 1].into(),
            via: Via::Direct,
            sni: Some("localhost".to_owned()),
            certificate: None,
            protocol: Protocol::Http1,
            signed_in: None,
            number: peer::next_number(),
            activity: Activity::new(),
        });
        let (body, key) = (Recorded::read("chat_nostream").asked, key.reveal());
        let (key, length) = (key.expose(), body.len());
        let request = format!(
            "POST /api/chat HTTP/1.1\r\nHost: localhost\r\nUser-Agent: ollama-python/0.6.1 (x86_64 linux) Python/3.12\r\n\
             Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
             Authorization: Bearer {key}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        Self { gateway, policy, peer, request: request.into(), runtime, _upstream: upstream, _folder: folder }
    }

    pub(super) fn bans(&self) -> BansAt<'_> {
        BansAt { list: &self.gateway.bans, now: clock::now() }
    }

    pub(super) fn incoming(&self) -> Request<Incoming> {
        let mut wire = Wire::new(join(Cursor::new(self.request.clone()), sink()));
        let head = std::future::poll_fn(|cx| wire.poll_head(cx)).now_or_never().unwrap().unwrap();
        let Next::Head(head) = head else { unreachable!("a whole request: {head:?}") };
        let body = ClientBody::of(&Arc::new(Mutex::new(wire)), head.framing);
        Request::from_parts(head.parts, body.into())
    }

    pub(super) fn opened(&self) -> (Head, Box<Record>) {
        let (mut record, head) = Record::open(&self.peer, &self.policy, self.incoming());
        record.audit = self.gateway.audit.clone();
        record.usage_meter = Some(Arc::clone(&self.gateway.usage));
        (head, record)
    }

    pub(super) fn inspected(&self) -> (Inspected, Box<Record>) {
        let (head, mut record) = self.opened();
        (inspect(head, &self.policy, self.bans(), &mut record).unwrap(), record)
    }

    pub(super) fn routed(&self) -> (Routed, Box<Record>) {
        let (inspected, mut record) = self.inspected();
        let Route::Onward(routed) = route(inspected, &mut record).unwrap() else { unreachable!("Ollama's own route") };
        (*routed, record)
    }

    pub(super) fn authenticated(&self) -> (Authenticated, Box<Record>) {
        let (routed, mut record) = self.routed();
        (authenticate(routed, &self.gateway, &self.policy, &mut record).unwrap(), record)
    }

    pub(super) fn authorized(&self) -> (Authorized, Box<Record>) {
        let (authenticated, record) = self.authenticated();
        (authorize(authenticated, &record).unwrap(), record)
    }

    pub(super) fn limited(&self) -> (Limited, Box<Record>) {
        let (authorized, mut record) = self.authorized();
        (limit(authorized, &self.gateway, &mut record).unwrap(), record)
    }

    pub(super) fn admitted(&self) -> (Admitted, Box<Record>) {
        let (limited, mut record) = self.limited();
        let admitted = admit(limited, &self.gateway, &self.policy, &mut record).now_or_never();
        (admitted.unwrap().unwrap(), record)
    }

    pub(super) fn queued(&self) -> (Queued, Box<Record>) {
        let (admitted, mut record) = self.admitted();
        let queued = queue(admitted, &self.gateway, &self.policy, &mut record).now_or_never();
        (queued.unwrap().unwrap(), record)
    }

    pub(super) fn answered(&self) -> (Answer, Box<Record>) {
        let (queued, mut record) = self.queued();
        let answer = self.runtime.block_on(async {
            let received = forward(queued, &self.gateway, &self.policy, &mut record).await.unwrap();
            sanitise(received, &self.policy, &mut record).await.unwrap()
        });
        (answer, record)
    }

    pub(super) fn replied(&self) -> Reply {
        let (answer, record) = self.answered();
        respond(answer, &self.policy, record)
    }
}

const RATE: &str = "{ rate = \"1000000/second\", burst = 10000 }";

async fn gateway(state: &std::path::Path, upstream: &str, key: &PresentedKey) -> Gateway {
    std::fs::set_permissions(state, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let text = format!(
        "[server]\nnames = [\"localhost\"]\nstate = \"{}\"\n[tls]\ncertificate = \"self-signed\"\n\
         [upstream]\nurl = \"http://{upstream}\"\n[queue]\nslots = 1000\n\
         [limits]\ngeneral = {RATE}\nchat = {RATE}\n[roles.user]\nmodels = [\"tiny\"]\n",
        state.display()
    );
    let config = config::parse("gateway.toml", &text, &Environment::default()).unwrap();
    let store = Store::open(&config.store, state).await.unwrap();
    let pepper = Pepper::open(state, &store).await.unwrap();
    let name = KeyName::parse("bench").unwrap();
    let wanted = KeyRequest { name, role: Arc::from("user"), expires_at: None, bounds: Default::default() };
    let record = wanted.record(key, &pepper, Timestamp::from(clock::now()));
    let parts = Parts {
        keys: Arc::new(KeyRing::of_records(pepper.clone(), vec![record])),
        accounts: Arc::new(Accounts::load(store, pepper).await.unwrap()),
        audit: Some(Arc::new(Audit::open(state, None).unwrap())),
        certificates: Certificates::open(&config, clock::now).unwrap(),
    };
    Gateway::new(Policy::new(config).unwrap(), parts).unwrap()
}

/// A stream on its way through, and what the client got of it.
pub(super) struct Stream {
    sanitiser: StreamSanitiser,
    out: Vec<u8>,
}

impl Stream {
    pub(super) fn begin() -> Self {
        let options = StreamOptions {
            request_id: "req_00000000000000000000000000".to_owned(),
            usage_chunk: UsageChunk::Hide,
            context: Context::Drop,
            max_frame: 1 << 20,
            rules: None,
        };
        Self { sanitiser: StreamSanitiser::new(Endpoint::Chat, options), out: Vec::with_capacity(4096) }
    }

    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.sanitiser.push(chunk, &mut self.out);
    }
}
