//! The threads that carry connections: one for each processor, each with a runtime of its own.
//!
//! Guarantees: a connection, its requests and the connections to Ollama that they use stay on one thread, so that nothing
//! of a request waits for another thread to wake, and memory is given back where it was taken; a new connection goes
//! where the fewest are. What is dropped ends: its tasks are dropped on their own threads, and their records written.
//! Does not: move a connection that turns out busy. What takes a processor long holds up its neighbours on that thread: a
//! body of 16 MB that is searched for blocked words, for some 60 ms (benches/README.md).

use crate::telemetry::logs::gathered;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// All of them.
#[derive(Debug)]
pub(super) struct Workers {
    workers: Vec<Worker>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    carried: Arc<AtomicUsize>,
    thread: Option<JoinHandle<()>>,
}

/// One connection on a worker, as long as this lives.
struct Carried(Arc<AtomicUsize>);

impl Carried {
    fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(count))
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Workers {
    /// One for each processor that this process may use.
    ///
    /// # Errors
    /// The system has no thread, or no descriptor, left.
    pub(super) fn start() -> io::Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, NonZero::get);
        let stop = CancellationToken::new();
        let workers = (0..count).map(|_| Worker::start(stop.clone())).collect::<io::Result<_>>()?;
        Ok(Self { workers, stop })
    }

    /// Tasks on all of them that are not over.
    pub(super) fn tasks(&self) -> usize {
        self.workers.iter().map(|worker| worker.runtime.metrics().num_alive_tasks()).sum()
    }

    /// Gives a connection to the one that carries the fewest.
    pub(super) fn carry<C>(
        &self,
        tracker: &TaskTracker,
        (socket, peer): (TcpStream, SocketAddr),
        each: impl FnOnce(TcpStream, SocketAddr) -> C + Send + 'static,
    ) where
        C: Future<Output = ()> + Send,
    {
        let Some(worker) = self.workers.iter().min_by_key(|worker| worker.carried.load(Ordering::Acquire)) else {
            return;
        };
        // Each runtime has a reactor of its own.
        let Ok(socket) = socket.into_std() else { return };
        let carried = Carried::new(&worker.carried);
        let serve = async move {
            if let Ok(socket) = TcpStream::from_std(socket) {
                each(socket, peer).await;
            }
            drop(carried);
        };
        tracker.spawn_on(serve, &worker.runtime);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.stop.cancel();
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            drop(thread.join()); // a panic of a task was told when it happened
        }
    }
}

impl Worker {
    fn start(stop: CancellationToken) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().on_thread_park(gathered::write_out).build()?;
        let handle = runtime.handle().clone();
        let thread = std::thread::Builder::new().name("connections".to_owned()).spawn(move || {
            gathered::gather();
            runtime.block_on(stop.cancelled());
            // A password that is being hashed is not waited for.
            runtime.shutdown_background();
        })?;
        Ok(Self { runtime: handle, carried: Arc::default(), thread: Some(thread) })
    }
}
