//! What stands in for Ollama while the probe runs: it notes what reaches it, and refuses it.
//!
//! Guarantees: it listens on loopback alone, on a port of the system's choice; what it is sent stays in memory, the last
//! request at most. Does not: answer as Ollama would. That a request came here at all is what the probe wants to know.

use crate::cli::CommandError;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// The stand-in; dropping it ends it.
#[derive(Debug)]
pub(super) struct StandIn {
    address: SocketAddr,
    notes: Arc<Notes>,
    server: AbortHandle,
}

/// What it has seen.
#[derive(Debug)]
struct Notes {
    count: watch::Sender<usize>,
    last: Mutex<Bytes>,
    manner: watch::Sender<Manner>,
}

/// Whether requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    /// At once.
    Answering,
    /// Not until it answers again.
    Silent,
}

/// The longest that a client of it may be silent.
const IDLE: Duration = Duration::from_mins(5);

impl Drop for StandIn {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl StandIn {
    /// Starts one.
    pub(super) async fn start() -> Result<Self, CommandError> {
        let failed = |error| CommandError::System { doing: "starting what stands in for Ollama", error };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let (count, _) = watch::channel(0);
        let (manner, _) = watch::channel(Manner::Answering);
        let notes = Arc::new(Notes { count, last: Mutex::default(), manner });
        let server = tokio::spawn(accept(listener, Arc::clone(&notes))).abort_handle();
        Ok(Self { address, notes, server })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests that have reached it.
    pub(super) fn count(&self) -> usize {
        *self.notes.count.borrow()
    }

    /// Waits until so many have reached it.
    pub(super) async fn until(&self, count: usize) {
        let mut counts = self.notes.count.subscribe();
        // The sender lives as long as `self`.
        drop(counts.wait_for(|reached| *reached >= count).await);
    }

    /// From now on.
    pub(super) fn behave(&self, manner: Manner) {
        self.notes.manner.send_replace(manner);
    }

    /// The body of the last request.
    pub(super) fn last_body(&self) -> Bytes {
        self.notes.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn accept(listener: TcpListener, notes: Arc<Notes>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else { return };
        let notes = Arc::clone(&notes);
        let service = service_fn(move |request| answer(Arc::clone(&notes), request));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .serve_connection(TokioIo::new(stream), service);
        connections.spawn(async move { drop(connection.await) });
    }
}

async fn answer(notes: Arc<Notes>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let mut body = request.into_body();
    let mut bytes = Vec::new();
    // The gateway before it has bounded the body.
    while let Some(Ok(frame)) = body.frame().await {
        bytes.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    *notes.last.lock().unwrap_or_else(PoisonError::into_inner) = bytes.into();
    notes.count.send_modify(|count| *count = count.saturating_add(1));
    let mut manner = notes.manner.subscribe();
    drop(manner.wait_for(|manner| *manner == Manner::Answering).await);
    let mut response = Response::new(Full::from(r#"{"error":"this is the stand-in of check --probe"}"#));
    *response.status_mut() = http::StatusCode::BAD_REQUEST;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json; charset=utf-8"));
    Ok(response)
}
