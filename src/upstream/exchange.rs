//! One request and its answer, carried by a task of its own.
//!
//! Guarantees: the task reads Ollama promptly whatever the client does; when the reader of the answer is dropped, in any
//! phase, it hangs up and drains; a request that a kept connection lost unsent, or that got no byte of an answer on it,
//! is sent once more on a fresh one, if its body can be.

use super::Outgoing;
use super::connection::Connection;
use super::pipe::{NotTaken, PipeEnd, Reader, Writer, pipe};
use super::pool::{Bounds, Upstream};
use crate::config::types;
use bytes::Bytes;
use http::{Method, Request, response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long Ollama may go on writing after it was told that nobody waits.
const DRAIN: Duration = Duration::from_secs(10);
/// For HTTP's end to follow the protocol's end.
const END: Duration = Duration::from_secs(1);

/// An answer of Ollama: its head, and its body as it comes.
#[derive(Debug)]
pub struct Reply {
    /// Status and headers.
    pub head: response::Parts,
    /// The body.
    pub body: Reader,
}

/// What rides with an exchange: dropped when Ollama is done with it, though a client may still be reading.
pub type Carried = Vec<Box<dyn Send + Sync>>;

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// No connection.
    Unreachable(io::Error),
    /// The connection broke before the head of the answer was read.
    Broken(String),
    /// No head within the first-byte deadline.
    Silent,
}

/// What goes with a request.
pub struct Terms {
    /// Bytes of the answer that may wait to be taken.
    pub buffer: usize,
    /// What is held until Ollama has written its last byte, wherever the client is.
    pub carried: Carried,
}

/// Sends requests.
#[derive(Debug)]
pub struct Exchange;

impl Exchange {
    /// Sends the request and waits for the head of the answer. Dropping the future, or the body, cancels it.
    ///
    /// # Errors
    /// [`Failure`]: nothing of an answer was received.
    pub async fn start(
        upstream: &Arc<Upstream>,
        config: &types::Upstream,
        request: Request<Outgoing>,
        terms: Terms,
    ) -> Result<Reply, Failure> {
        let bounds = Bounds::of(config, terms.buffer);
        let (writer, body) = pipe(bounds.buffer);
        let (head_sender, head) = oneshot::channel();
        let upstream = Arc::clone(upstream);
        let task = Task { upstream, address: config.address.clone(), bounds, carried: terms.carried };
        tokio::spawn(task.run(request, head_sender, writer));
        match head.await {
            Ok(Ok(head)) => Ok(Reply { head, body }),
            Ok(Err(failure)) => Err(failure),
            Err(_) => Err(Failure::Broken("the exchange ended without an answer".to_owned())),
        }
    }
}

struct Task {
    upstream: Arc<Upstream>,
    address: String,
    bounds: Bounds,
    carried: Carried,
}

type HeadSender = oneshot::Sender<Result<response::Parts, Failure>>;

/// What became of waiting for the head.
enum Waited {
    Head(Box<http::Response<Incoming>>),
    Failed(Failure),
    Lost(hyper::Error),
    ClientGone,
}

impl Task {
    async fn run(self, request: Request<Outgoing>, mut head: HeadSender, writer: Writer) {
        let Some((connection, waited)) = self.send(request, &mut head).await else { return };
        match waited {
            Waited::Head(response) => {
                let (parts, body) = response.into_parts();
                connection.has_head();
                if head.send(Ok(parts)).is_err() {
                    return hang_up(connection, Some(body)).await;
                }
                self.pump(connection, body, writer).await;
            }
            Waited::Failed(failure) => {
                connection.hang_up();
                drop(head.send(Err(failure)));
            }
            Waited::Lost(error) => drop(head.send(Err(Failure::Broken(error_chain(&error))))),
            Waited::ClientGone => {}
        }
    }

    /// Sends on a kept connection, and once more on a fresh one where the kept one had died.
    async fn send(&self, request: Request<Outgoing>, head: &mut HeadSender) -> Option<(Connection, Waited)> {
        let Some(again) = copy(&request) else { return self.send_fresh(request, head).await };
        if let Some(mut kept) = self.upstream.kept(&self.address) {
            let method = request.method().clone();
            match self.wait_for_head(&mut kept, request, head).await {
                Waited::Lost(error) if may_repeat(&error, &method) => return self.send_fresh(again, head).await,
                waited @ (Waited::Head(_) | Waited::Failed(_) | Waited::Lost(_) | Waited::ClientGone) => {
                    return Some((kept, waited));
                }
            }
        }
        self.send_fresh(request, head).await
    }

    async fn send_fresh(&self, request: Request<Outgoing>, head: &mut HeadSender) -> Option<(Connection, Waited)> {
        let opened = tokio::select! {
            opened = Upstream::fresh(&self.address, self.bounds.connect) => opened,
            () = head.closed() => return None,
        };
        match opened {
            Ok(mut connection) => {
                let waited = self.wait_for_head(&mut connection, request, head).await;
                Some((connection, waited))
            }
            Err(error) => {
                // The sender is taken by value to be used; a fresh channel takes its place and is never read.
                let sender = std::mem::replace(head, oneshot::channel().0);
                drop(sender.send(Err(Failure::Unreachable(error))));
                None
            }
        }
    }

    async fn wait_for_head(
        &self,
        connection: &mut Connection,
        request: Request<Outgoing>,
        head: &mut HeadSender,
    ) -> Waited {
        let uploading = match request.body() {
            Outgoing::Upload(upload) => Some(upload.progress()),
            Outgoing::Made(_) => None,
        };
        connection.awaits_head();
        let line = connection.line();
        let mut sending = std::pin::pin!(connection.sender.send_request(request));
        loop {
            tokio::select! {
                sent = &mut sending => return match sent {
                    Ok(response) => Waited::Head(Box::new(response)),
                    Err(error) => Waited::Lost(error),
                },
                () = head.closed() => {
                    line.hang_up();
                    drop(tokio::time::timeout(DRAIN, drained(sending)).await);
                    return Waited::ClientGone;
                }
                () = tokio::time::sleep(self.bounds.first_byte) => {
                    // The deadline counts from the end of an upload, not from its start.
                    if uploading.as_ref().is_none_or(|progress| progress.done_for(self.bounds.first_byte)) {
                        return Waited::Failed(Failure::Silent);
                    }
                }
            }
        }
    }

    /// Reads the answer into the pipe, as fast as it comes.
    async fn pump(self, connection: Connection, mut body: Incoming, writer: Writer) {
        loop {
            let frame = tokio::select! {
                frame = tokio::time::timeout(self.bounds.idle, body.frame()) => frame,
                () = writer.reader_gone() => return self.left(connection, body, &writer).await,
            };
            match frame {
                Ok(Some(Ok(frame))) => {
                    let Ok(data) = frame.into_data() else { continue }; // trailers are dropped
                    match put(&writer, data) {
                        Ok(()) => {}
                        Err(NotTaken::Gone) => return self.left(connection, body, &writer).await,
                        Err(NotTaken::Full) => {
                            writer.end(PipeEnd::Stalled);
                            return hang_up(connection, Some(body)).await;
                        }
                    }
                }
                Ok(Some(Err(_))) => return writer.end(PipeEnd::Broken),
                Ok(None) => {
                    writer.end(PipeEnd::Clean);
                    return self.give_back(connection).await;
                }
                Err(_) => {
                    writer.end(PipeEnd::Silent);
                    return hang_up(connection, Some(body)).await;
                }
            }
        }
    }

    /// The reader is gone: after the protocol's end the rest is nothing but HTTP's own end, and the connection is kept.
    async fn left(self, connection: Connection, mut body: Incoming, writer: &Writer) {
        if !writer.reader_finished() {
            return hang_up(connection, Some(body)).await;
        }
        let rest = async {
            loop {
                match body.frame().await {
                    Some(Ok(_)) => {}
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
        };
        match tokio::time::timeout(END, rest).await {
            Ok(true) => self.give_back(connection).await,
            Ok(false) => {}
            Err(_) => connection.hang_up(),
        }
    }

    /// hyper reports the connection ready a moment after the body's end.
    async fn give_back(self, mut connection: Connection) {
        drop(self.carried);
        let ready = tokio::time::timeout(Duration::from_secs(1), connection.sender.ready()).await;
        if matches!(ready, Ok(Ok(()))) && connection.is_usable_for(&self.address) {
            self.upstream.keep(connection);
        }
    }
}

/// A kept connection that Ollama had closed: the request was not sent at all, or may be sent as often as one likes
/// (RFC 9110 §9.2.2). One that Ollama died of is not sent to the next.
fn may_repeat(error: &hyper::Error, method: &Method) -> bool {
    error.is_canceled() || matches!(*method, Method::GET | Method::HEAD)
}

fn put(writer: &Writer, data: Bytes) -> Result<(), NotTaken> {
    if data.is_empty() { Ok(()) } else { writer.put(data) }
}

/// Tells Ollama to stop and reads what it still sends, so that it is never left writing to nobody.
async fn hang_up(connection: Connection, body: Option<Incoming>) {
    connection.hang_up();
    let Some(mut body) = body else { return };
    let drained = async { while let Some(Ok(_)) = body.frame().await {} };
    drop(tokio::time::timeout(DRAIN, drained).await);
}

/// Reads an answer that came after all to its end.
async fn drained(sending: impl Future<Output = hyper::Result<http::Response<Incoming>>>) {
    if let Ok(response) = sending.await {
        let mut body = response.into_body();
        while let Some(Ok(_)) = body.frame().await {}
    }
}

fn copy(request: &Request<Outgoing>) -> Option<Request<Outgoing>> {
    let mut copy = Request::new(request.body().again()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    copy.headers_mut().clone_from(request.headers());
    Some(copy)
}

/// For the log: an error with its causes.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
