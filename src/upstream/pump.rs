//! Reads Ollama into a pipe, for a client that does not keep up.
//!
//! Guarantees: Ollama is read promptly whatever the client does; when the client leaves, or falls back by more than the
//! pipe holds, Ollama is hung up on and drained.

use super::live::Live;
use super::pipe::{NotTaken, PipeEnd, Writer};
use std::future::poll_fn;

/// Reads to the end.
pub(super) async fn pump(mut live: Live, writer: Writer) {
    let within = live.rest.bounds.idle;
    loop {
        let piece = tokio::select! {
            piece = tokio::time::timeout(within, poll_fn(|cx| live.poll_piece(cx))) => piece,
            () = writer.reader_gone() => return left(live, &writer).await,
        };
        match piece {
            Ok(Ok(piece)) => match writer.put(piece) {
                Ok(()) => {}
                Err(NotTaken::Gone) => return left(live, &writer).await,
                Err(NotTaken::Full) => {
                    writer.end(PipeEnd::Stalled);
                    return live.drain().await;
                }
            },
            Ok(Err(end)) => {
                writer.end(end);
                if end == PipeEnd::Clean {
                    live.finish();
                }
                return;
            }
            Err(_) => {
                writer.end(PipeEnd::Silent);
                return live.drain().await;
            }
        }
    }
}

/// The reader is gone: because the answer is over, or because the client is.
async fn left(live: Live, writer: &Writer) {
    if writer.reader_finished() {
        live.finish();
    } else {
        live.drain().await;
    }
}
