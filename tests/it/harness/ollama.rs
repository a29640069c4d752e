//! The stand-in Ollama: a raw HTTP/1.1 server that says what a test tells it to say and keeps what it was sent.
//!
//! It is written on the socket, not on an HTTP library, so that it can break off, lie about lengths and fall silent, and
//! so that nothing of what the gateway sent is tidied up before a test looks at it.

use super::message::{Decoder, Head};
use super::reply::{Reply, Start, Step};
use super::{recording::Recording, within};
use aws_lc_rs::digest::{Context, SHA256};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc, watch};

/// Bytes of one body that are kept; of longer ones the count and the hash are known.
const KEPT_BODY: usize = 1 << 20;

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
    /// When its head was there.
    pub(crate) at: Instant,
}

/// How and when a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Close {
    /// The gateway closed it in order.
    Fin(Instant),
    /// The gateway reset it.
    Reset(Instant),
}

#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Received>,
    closes: Vec<Option<Close>>,
    /// Every byte of every connection, heads and bodies (up to `KEPT_BODY` each).
    raw: Vec<Vec<u8>>,
    /// Answers that were written to their end.
    answered: usize,
}

#[derive(Debug, Default)]
struct Shared {
    seen: Mutex<Seen>,
    rules: Mutex<Vec<(String, Option<String>, Reply)>>,
    changed: Notify,
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
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { address, shared, accepting }
    }

    /// From now on requests to this path get this reply.
    pub(crate) fn on(&self, path: &str, reply: Reply) -> &Self {
        self.rule(path, None, reply)
    }

    /// From now on requests to this path that name this model get this reply.
    pub(crate) fn on_model(&self, path: &str, model: &str, reply: Reply) -> &Self {
        self.rule(path, Some(model.to_owned()), reply)
    }

    fn rule(&self, path: &str, model: Option<String>, reply: Reply) -> &Self {
        self.shared.rules.lock().unwrap().insert(0, (path.to_owned(), model, reply));
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
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", text(&self.body)))
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen());
        self.changed.notify_waiters();
    }

    fn reply_to(&self, received: &Received) -> Reply {
        let model = serde_json::from_slice::<serde_json::Value>(&received.body)
            .ok()
            .and_then(|body| body.get("model")?.as_str().map(str::to_owned));
        let rules = self.rules.lock().unwrap();
        let rule = rules.iter().find(|(path, of_model, _)| {
            path == received.path() && of_model.as_ref().is_none_or(|wanted| Some(wanted) == model.as_ref())
        });
        rule.map_or_else(|| Reply::recording("notfound"), |(_, _, reply)| reply.clone())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        stream.set_nodelay(true).unwrap();
        let mut connection = 0;
        shared.change(|seen| {
            connection = seen.closes.len();
            seen.closes.push(None);
            seen.raw.push(Vec::new());
        });
        tokio::spawn(serve(stream, connection, Arc::clone(&shared)));
    }
}

/// Reads in one task and writes in the other, so that the end of the connection is seen while an answer is written.
async fn serve(stream: TcpStream, connection: usize, shared: Arc<Shared>) {
    let (read, write) = stream.into_split();
    let (replies, to_write) = mpsc::channel(16);
    let (closed, is_closed) = watch::channel(false);
    let quit = Arc::new(Notify::new());
    tokio::spawn(write_replies(write, to_write, is_closed, Arc::clone(&shared), Arc::clone(&quit)));
    let mut reader = Reader { read, connection, shared, replies, buffer: Vec::new() };
    let close = tokio::select! {
        close = reader.read_requests() => close,
        () = quit.notified() => Close::Reset(Instant::now()),
    };
    reader.shared.change(|seen| seen.closes[connection] = Some(close));
    closed.send_replace(true);
}

struct Reader {
    read: OwnedReadHalf,
    connection: usize,
    shared: Arc<Shared>,
    replies: mpsc::Sender<Reply>,
    buffer: Vec<u8>,
}

impl Reader {
    async fn read_requests(&mut self) -> Close {
        loop {
            while Head::end(&self.buffer).is_none() {
                if let Err(close) = self.read_more().await {
                    return close;
                }
            }
            if let Err(close) = self.read_request().await {
                return close;
            }
        }
    }

    async fn read_request(&mut self) -> Result<(), Close> {
        let raw_head: Vec<u8> = self.buffer.drain(..Head::end(&self.buffer).unwrap()).collect();
        let head = Head::parse(&raw_head);
        let framing = head.request_framing();
        let mut received = Received {
            connection: self.connection,
            raw_head,
            head,
            body: Vec::new(),
            body_length: 0,
            sha256: String::new(),
            at: Instant::now(),
        };
        let mut index = 0;
        self.shared.change(|seen| {
            index = seen.requests.len();
            seen.requests.push(received.clone());
        });
        let early = self.shared.reply_to(&received);
        if early.start == Start::AfterHead {
            let _ = self.replies.send(early.clone()).await;
        }
        let (mut decoder, mut hash) = (Decoder::new(framing), Context::new(&SHA256));
        while !decoder.done() {
            while let Some(piece) = decoder.next(&mut self.buffer) {
                hash.update(&piece);
                received.body_length += piece.len() as u64;
                received.body.extend(piece.iter().take(KEPT_BODY - received.body.len().min(KEPT_BODY)));
            }
            self.shared.change(|seen| seen.requests[index].body_length = received.body_length);
            if !decoder.done() {
                self.read_more().await?;
            }
        }
        received.sha256 = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.shared.change(|seen| seen.requests[index] = received.clone());
        if early.start == Start::AfterBody {
            let _ = self.replies.send(self.shared.reply_to(&received)).await;
        }
        Ok(())
    }

    async fn read_more(&mut self) -> Result<(), Close> {
        let mut bytes = vec![0; 64 * 1024];
        match self.read.read(&mut bytes).await {
            Ok(0) => Err(Close::Fin(Instant::now())),
            Err(_) => Err(Close::Reset(Instant::now())),
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                let connection = self.connection;
                self.shared.change(|seen| {
                    let raw = &mut seen.raw[connection];
                    raw.extend(bytes[..count].iter().take(KEPT_BODY - raw.len().min(KEPT_BODY)));
                });
                Ok(())
            }
        }
    }
}

async fn write_replies(
    mut write: OwnedWriteHalf,
    mut replies: mpsc::Receiver<Reply>,
    mut closed: watch::Receiver<bool>,
    shared: Arc<Shared>,
    quit: Arc<Notify>,
) {
    while let Some(reply) = replies.recv().await {
        for step in reply.steps {
            if matches!(step, Step::Reset) {
                socket2::SockRef::from(write.as_ref()).set_linger(Some(Duration::ZERO)).unwrap();
                write.forget();
                quit.notify_one();
                return;
            }
            tokio::select! {
                alive = run(&mut write, step) => if !alive { return },
                _ = closed.wait_for(|closed| *closed) => return,
            }
        }
        shared.change(|seen| seen.answered += 1);
    }
}

/// Takes one step; `false`: there will be no more.
async fn run(write: &mut OwnedWriteHalf, step: Step) -> bool {
    match step {
        Step::Bytes(bytes) => write.write_all(&bytes).await.is_ok(),
        Step::Repeat(bytes, times) => {
            for _ in 0..times {
                if write.write_all(&bytes).await.is_err() {
                    return false;
                }
            }
            true
        }
        Step::Pause(pause) => {
            tokio::time::sleep(pause).await;
            true
        }
        Step::Gate(gate) => {
            gate.acquire().await.unwrap().forget();
            true
        }
        Step::Stall => std::future::pending().await,
        Step::Fin => {
            let _ = write.shutdown().await;
            false
        }
        Step::Reset => false,
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
