//! The stand-in Ollama: a raw HTTP/1.1 server that says what a test tells it to say and keeps what it was sent.
//!
//! It is written on the socket, not on an HTTP library, so that it can break off, lie about lengths and fall silent, and
//! so that nothing of what the gateway sent is tidied up before a test looks at it.

use super::message::Head;
use super::recording::Recording;
use super::reply::Reply;
use super::serving::accept;
use super::within;
use serde_json::Value;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use tokio::net::TcpListener;
use tokio::sync::Notify;

/// One request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    /// Which connection it came by.
    pub(crate) connection: usize,
    /// Every byte of the head.
    pub(crate) raw_head: Vec<u8>,
    /// The head, taken apart.
    pub(crate) head: Head,
    /// The body out of its framing: its first bytes.
    pub(crate) body: Vec<u8>,
    /// The length of the whole body.
    pub(crate) body_length: u64,
    /// SHA-256 of the whole body, in hexadecimal; empty while it is not whole.
    pub(crate) sha256: String,
}

/// How and when a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// The gateway closed it in order.
    Fin(Instant),
    /// The gateway reset it.
    Reset(Instant),
}

/// What was seen until now.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) requests: Vec<Received>,
    pub(super) closes: Vec<Option<Close>>,
    /// The first bytes of every connection, heads and bodies.
    pub(super) raw: Vec<Vec<u8>>,
    /// Answers that were written to their end.
    pub(super) answered: usize,
    /// Requests that came whole, and connections that are open: also where nothing is kept.
    pub(super) whole: usize,
    pub(super) open: usize,
}

/// What is remembered of what came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Keeping {
    /// Every request, its first bytes, and each connection's end.
    #[default]
    Everything,
    /// How many: for more of them than fit in memory.
    Counts,
}

/// What the server, its connections and the test share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    seen: Mutex<Seen>,
    rules: Mutex<Vec<Rule>>,
    changed: Notify,
    pub(super) keeping: Keeping,
}

/// Which requests get which reply. The rule that was added last wins.
#[derive(Debug)]
struct Rule {
    path: String,
    model: Option<String>,
    streams: Option<bool>,
    reply: Reply,
}

/// The server.
#[derive(Debug)]
pub(crate) struct Ollama {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Drop for Ollama {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Ollama {
    /// A server that knows no route yet: everything is a 404 as Ollama says it.
    pub(crate) async fn start() -> Self {
        Self::keeping(Keeping::Everything).await
    }

    /// The same, for very many requests: it only counts them.
    pub(crate) async fn start_counting() -> Self {
        Self::keeping(Keeping::Counts).await
    }

    async fn keeping(keeping: Keeping) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { keeping, ..Shared::default() });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    /// From now on requests to this path get this reply; a path that ends in `/` stands for all below it.
    pub(crate) fn on(&self, path: &str, reply: Reply) -> &Self {
        self.rule(Rule { path: path.to_owned(), model: None, streams: None, reply })
    }

    /// The same for requests that name this model.
    pub(crate) fn on_model(&self, path: &str, model: &str, reply: Reply) -> &Self {
        self.rule(Rule { path: path.to_owned(), model: Some(model.to_owned()), streams: None, reply })
    }

    /// The same for requests that want a stream, or that want none.
    pub(crate) fn on_stream(&self, path: &str, streams: bool, reply: Reply) -> &Self {
        self.rule(Rule { path: path.to_owned(), model: None, streams: Some(streams), reply })
    }

    fn rule(&self, rule: Rule) -> &Self {
        self.shared.rules.lock().unwrap().insert(0, rule);
        self
    }

    /// Everything received until now.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.shared.seen().requests.clone()
    }

    /// Every byte received until now, connection by connection.
    pub(crate) fn raw(&self) -> Vec<Vec<u8>> {
        self.shared.seen().raw.clone()
    }

    /// Waits for the `n`th request, and returns it.
    pub(crate) async fn wait_for(&self, n: usize) -> Received {
        self.until(&format!("request {n} upstream"), |seen| seen.requests.get(n - 1).cloned()).await
    }

    /// Waits until `n` requests came whole.
    pub(crate) async fn wait_for_whole(&self, n: usize) -> Received {
        self.until(&format!("the whole request {n} upstream"), |seen| {
            seen.requests.get(n - 1).filter(|r| !r.sha256.is_empty()).cloned()
        })
        .await
    }

    /// Waits until the connection is closed by the gateway.
    pub(crate) async fn wait_closed(&self, connection: usize) -> Close {
        self.until(&format!("the end of upstream connection {connection}"), |seen| seen.closes[connection]).await
    }

    /// Waits until so many answers were written to their end.
    pub(crate) async fn wait_answered(&self, n: usize) {
        self.until(&format!("{n} answers written upstream"), |seen| (seen.answered >= n).then_some(())).await;
    }

    /// Fails where a byte was received.
    pub(crate) fn assert_nothing_received(&self) {
        let raw = self.raw();
        assert!(
            raw.iter().all(Vec::is_empty),
            "upstream received {:?}",
            raw.iter().map(|b| text(b)).collect::<Vec<_>>()
        );
    }

    /// How many requests came, and a mark to compare with later.
    pub(crate) fn count(&self) -> usize {
        self.shared.seen().requests.len()
    }

    /// How many requests came whole.
    pub(crate) fn whole(&self) -> usize {
        self.shared.seen().whole
    }

    /// Waits until so many requests came whole.
    pub(crate) async fn wait_whole(&self, n: usize) {
        self.until(&format!("{n} whole requests upstream"), |seen| (seen.whole >= n).then_some(())).await;
    }

    /// Waits until no more connections than these are open.
    pub(crate) async fn wait_open(&self, most: usize) {
        self.until("upstream connections to be closed", |seen| (seen.open <= most).then_some(())).await;
    }

    async fn until<T>(&self, what: &str, look: impl Fn(&Seen) -> Option<T>) -> T {
        within(what, async {
            loop {
                let changed = self.shared.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = look(&self.shared.seen()) {
                    return found;
                }
                changed.await;
            }
        })
        .await
    }
}

impl Received {
    /// `POST`
    pub(crate) fn method(&self) -> &str {
        self.head.first_line.split(' ').next().unwrap()
    }

    /// The target, as it stands in the request line.
    pub(crate) fn path(&self) -> &str {
        self.head.first_line.split(' ').nth(1).unwrap()
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", text(&self.body)))
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen());
        self.changed.notify_waiters();
    }

    pub(super) fn reply_to(&self, received: &Received) -> Reply {
        let rules = self.rules.lock().unwrap();
        let rule = rules.iter().find(|rule| rule.fits(received));
        let reply = rule.map_or_else(|| Reply::recording("notfound"), |rule| rule.reply.clone());
        if received.method() == "HEAD" { reply.head_only() } else { reply }
    }
}

impl Rule {
    fn fits(&self, received: &Received) -> bool {
        let path = received.path();
        let below = self.path.len() > 1 && self.path.ends_with('/') && path.starts_with(&self.path);
        let body = serde_json::from_slice::<Value>(&received.body).unwrap_or_default();
        let model = body.get("model").and_then(Value::as_str);
        let streams = body.get("stream").and_then(Value::as_bool).unwrap_or_else(|| path.starts_with("/api/"));
        (path == self.path || below)
            && self.model.as_deref().is_none_or(|wanted| model == Some(wanted))
            && self.streams.is_none_or(|wanted| wanted == streams)
    }
}

/// Bytes, readable.
pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Checks that a recording is one that [`Reply::recording`] can serve.
pub(crate) fn servable(recording: &Recording) -> bool {
    recording.response.as_ref().is_some_and(|answered| {
        answered.status.is_some()
            && matches!(answered.end.as_deref(), Some("complete" | "incomplete:fin" | "incomplete:rst"))
    })
}
