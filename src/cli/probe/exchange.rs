//! One request of the probe and what came back: raw HTTP/1.1 through the pipeline that serves, in this process.
//!
//! Guarantees: the bytes go to the same parser, with the same limits, and into the same `pipeline::handle` as those of a
//! client; the address that they come from is chosen, which no socket could. Does not: pass TLS or a socket.

use crate::gateway::Gateway;
use crate::pipeline::activity::Activity;
use crate::pipeline::peer::next_number;
use crate::pipeline::peer::{Peer, Protocol, Via};
use crate::server::converse;
use serde_json::Value;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

/// A request to be sent.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    /// GET, POST, …
    pub(super) method: &'static str,
    /// The target, as it stands in the request line.
    pub(super) target: String,
    /// Header lines besides those that are always there: a name of these replaces one of those.
    pub(super) headers: Vec<(&'static str, String)>,
    /// The body; its length is told where no header tells another one.
    pub(super) body: Vec<u8>,
    /// Where it comes from.
    pub(super) from: IpAddr,
}

impl Ask {
    /// Without a body.
    pub(super) fn plain(method: &'static str, target: &str, from: IpAddr) -> Self {
        Self { method, target: target.to_owned(), headers: Vec::new(), body: Vec::new(), from }
    }

    /// With a header more.
    #[must_use]
    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With this body.
    #[must_use]
    pub(super) fn carrying(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Without the headers of this name.
    #[must_use]
    pub(super) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(there, _)| *there != name);
        self
    }

    fn bytes(&self, host: &str) -> Vec<u8> {
        let has = |name: &str| self.headers.iter().any(|(there, _)| *there == name);
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.target);
        if !has("host") {
            head.push_str(&format!("host: {host}\r\n"));
        }
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if self.method != "GET" && !has("content-length") && !has("transfer-encoding") {
            head.push_str(&format!("content-length: {}\r\n", self.body.len()));
        }
        head.push_str("connection: close\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// 0: nothing.
    pub(super) status: u16,
    /// The stable code; empty: none.
    pub(super) code: String,
    /// Which of the request rates is meant.
    pub(super) policy: String,
    /// The whole body, as text.
    pub(super) text: String,
    /// Whether what stands in for Ollama was reached.
    pub(super) reached: Reached,
}

/// Whether a request came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Reached {
    /// The gateway kept it.
    #[default]
    No,
    /// It came to what stands in for Ollama.
    Upstream,
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.reached, self.status, self.code.as_str()) {
            (Reached::Upstream, _, _) => f.write_str("it went through to Ollama"),
            (Reached::No, 0, _) => f.write_str("it got no answer"),
            (Reached::No, status, "") => write!(f, "it was answered with {status}"),
            (Reached::No, status, code) => write!(f, "it was refused with {status} {code}"),
        }
    }
}

/// Longer than any answer of the gateway's own takes, but for waits that the configuration names.
pub(super) const PATIENCE: Duration = Duration::from_secs(8);
const MOST: u64 = 1024 * 1024;
const PIPE: usize = 256 * 1024;

/// Sends it and reads the answer.
pub(super) async fn exchange(gateway: &Arc<Gateway>, host: &str, ask: &Ask) -> Seen {
    let mut client = open(gateway, ask.from);
    let bytes = ask.bytes(host);
    let (reading, mut writing) = tokio::io::split(&mut client);
    let write = async {
        // Whoever is refused at the head need not be read to the end.
        drop(writing.write_all(&bytes).await);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        seen = read(reading) => seen,
        () = write => Seen::default(),
    }
}

/// Sends it, and leaves its answer unread.
pub(super) async fn send(gateway: &Arc<Gateway>, host: &str, ask: &Ask) -> DuplexStream {
    let mut client = open(gateway, ask.from);
    drop(client.write_all(&ask.bytes(host)).await);
    client
}

fn open(gateway: &Arc<Gateway>, from: IpAddr) -> DuplexStream {
    let (client, server) = tokio::io::duplex(PIPE);
    let peer = Peer {
        address: from,
        via: Via::Direct,
        sni: None,
        certificate: None,
        signed_in: None,
        protocol: Protocol::Http1,
        number: next_number(),
        activity: Activity::new(),
    };
    tokio::spawn(converse(Arc::clone(gateway), Arc::new(peer), server));
    client
}

async fn read(stream: impl AsyncRead + Unpin) -> Seen {
    let mut bytes = Vec::new();
    let mut bounded = stream.take(MOST);
    drop(tokio::time::timeout(PATIENCE, bounded.read_to_end(&mut bytes)).await);
    parse(&String::from_utf8_lossy(&bytes))
}

fn parse(answer: &str) -> Seen {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
    let policy = lines.find_map(|line| line.strip_prefix("ratelimit-policy: \"")).unwrap_or_default();
    let policy = policy.split('"').next().unwrap_or_default().to_owned();
    let json: Value = serde_json::from_str(body).unwrap_or_default();
    let code = json.get("code").or_else(|| json.get("error")?.get("code")).and_then(Value::as_str);
    Seen {
        status: status.unwrap_or(0),
        code: code.unwrap_or_default().to_owned(),
        policy,
        text: body.to_owned(),
        reached: Reached::No,
    }
}
