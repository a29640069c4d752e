//! What lies between Ollama, which is always read at once, and a client, which reads when it likes.
//!
//! Guarantees: the writer never waits; when more bytes wait than the bound allows, or the reader takes none of them for
//! its deadline, the pipe is cut and says so. Memory is the bound, not a function of either side.
//! Answers `threats.md` §0.5, §5 item 10.

use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum PipeEnd {
    /// Complete, by HTTP's framing.
    Clean = 1,
    /// Ollama's connection broke.
    Broken = 2,
    /// Ollama was silent for too long.
    Silent = 3,
    /// The client did not take it in time.
    Stalled = 4,
}

/// Pieces that may wait, besides the bound on their bytes.
const MAX_PIECES: usize = 65_536;
/// A smaller piece has its own memory while it waits.
const SMALL: usize = 8 * 1024;

#[derive(Debug)]
struct Shared {
    waiting: AtomicUsize,
    finished: AtomicBool,
    end: AtomicU8,
}

/// The end that Ollama's answer is put into.
#[derive(Debug)]
pub(super) struct Writer {
    pieces: mpsc::Sender<Bytes>,
    shared: Arc<Shared>,
    bound: usize,
}

/// The end that the client's response takes from. Dropping it cancels the exchange.
#[derive(Debug)]
pub(super) struct Piped {
    pieces: mpsc::Receiver<Bytes>,
    shared: Arc<Shared>,
}

/// Makes a pipe in which at most `bound` bytes wait.
pub(super) fn pipe(bound: usize) -> (Writer, Piped) {
    let (sender, receiver) = mpsc::channel(MAX_PIECES);
    let shared = Arc::new(Shared {
        waiting: AtomicUsize::new(0),
        finished: AtomicBool::new(false),
        end: AtomicU8::new(PipeEnd::Broken as u8),
    });
    (Writer { pieces: sender, shared: Arc::clone(&shared), bound }, Piped { pieces: receiver, shared })
}

/// Why a piece was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The reader is gone.
    Gone,
    /// The bound is reached.
    Full,
}

impl Writer {
    /// Puts a piece in, at once or not at all.
    pub(super) fn put(&self, piece: Bytes) -> Result<(), NotTaken> {
        let length = piece.len();
        let waiting = self.shared.waiting.fetch_add(length, Ordering::AcqRel);
        // One piece always fits: a single large frame is bounded by the sanitiser, not here.
        if waiting > 0 && waiting.saturating_add(length) > self.bound {
            return Err(NotTaken::Full);
        }
        // It is a part of what was read in one go, which would all be held for it.
        let piece = if length < SMALL { Bytes::copy_from_slice(&piece) } else { piece };
        self.pieces.try_send(piece).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotTaken::Full,
            mpsc::error::TrySendError::Closed(_) => NotTaken::Gone,
        })
    }

    /// Returns when the reader is gone.
    pub(super) async fn reader_gone(&self) {
        self.pieces.closed().await;
    }

    /// Whether the reader left because the answer was over, not because the client did.
    pub(super) fn reader_finished(&self) -> bool {
        self.shared.finished.load(Ordering::Acquire)
    }

    /// Ends the pipe.
    pub(super) fn end(self, end: PipeEnd) {
        self.shared.end.store(end as u8, Ordering::Release);
    }
}

impl Piped {
    /// The next piece, or how it ended.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<Bytes, PipeEnd>> {
        self.pieces.poll_recv(cx).map(|piece| match piece {
            Some(piece) => {
                self.shared.waiting.fetch_sub(piece.len(), Ordering::AcqRel);
                Ok(piece)
            }
            None => Err(self.ended()),
        })
    }

    /// The answer is over, whatever still comes: the connection is good for another one.
    pub(super) fn finish(self) {
        self.shared.finished.store(true, Ordering::Release);
    }

    fn ended(&self) -> PipeEnd {
        match self.shared.end.load(Ordering::Acquire) {
            1 => PipeEnd::Clean,
            3 => PipeEnd::Silent,
            4 => PipeEnd::Stalled,
            _ => PipeEnd::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(piped: &mut Piped) -> Result<Bytes, PipeEnd> {
        std::future::poll_fn(|cx| piped.poll_next(cx)).await
    }

    #[tokio::test]
    async fn never_holds_more_than_its_bound() {
        let (writer, mut reader) = pipe(10);
        assert_eq!(writer.put(Bytes::from_static(b"12345678")), Ok(()));
        assert_eq!(writer.put(Bytes::from_static(b"12345678")), Err(NotTaken::Full));
        assert_eq!(next(&mut reader).await, Ok(Bytes::from_static(b"12345678")));
        writer.end(PipeEnd::Clean);
        assert_eq!(next(&mut reader).await, Err(PipeEnd::Clean));
    }

    #[tokio::test]
    async fn a_small_piece_does_not_hold_what_it_was_read_with() {
        let (writer, mut reader) = pipe(1 << 20);
        let read = Bytes::from(vec![0; 128 * 1024]);
        assert_eq!(writer.put(read.slice(..100)), Ok(()));
        assert!(next(&mut reader).await.unwrap().is_unique());
    }

    #[tokio::test]
    async fn a_reader_that_leaves_is_noticed() {
        let (writer, reader) = pipe(10);
        drop(reader);
        writer.reader_gone().await;
        assert_eq!(writer.put(Bytes::from_static(b"1")), Err(NotTaken::Gone));
    }

    #[tokio::test]
    async fn a_writer_that_is_dropped_is_no_clean_end() {
        let (writer, mut reader) = pipe(10);
        drop(writer);
        assert_eq!(next(&mut reader).await, Err(PipeEnd::Broken));
    }
}
