//! The connections to Ollama: opened, kept, used for one exchange at a time, and ended.
//!
//! Guarantees: an answer is read by its taker itself ([`reader`]), and one that is not taken as fast as Ollama writes it by a
//! task ([`pump`]), into a buffer with a bound ([`pipe`]), whatever the client does; every wait has a deadline; when the client leaves, Ollama is told within one poll, by closing our half of
//! the connection, and what it still sends is read to its end (`threats.md` §0.5).
//! Does not: decide what is sent (`pipeline::forward`) or what of the answer may pass (`pipeline::sanitise`).

mod attendant;
mod connection;
mod dial;
mod exchange;
// Public for the fuzz targets alone, which read with it as `connection` does.
#[doc(hidden)]
pub mod head;
mod live;
mod pipe;
mod pool;
mod pump;
mod reader;
mod request;
mod silence;
pub mod upload;

pub use exchange::{Carried, Exchange, Failure, Reply, Terms};
pub use head::{Encoding, Head};
pub use pipe::PipeEnd;
pub use pool::Upstream;
pub use reader::{Reader, StreamReader};
pub use request::{HeaderLines, Request};
pub use silence::{Models, OnModel, Patience};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

/// What is sent to Ollama as a body.
#[derive(Debug)]
pub enum Outgoing {
    /// All of it, in pieces that follow each other, none of them empty; may be sent again on a fresh connection.
    Made(VecDeque<Bytes>),
    /// An upload, passed on piece by piece.
    Upload(Pin<Box<crate::upstream::upload::Upload>>),
}

impl Outgoing {
    /// No body.
    #[must_use]
    pub const fn nothing() -> Self {
        Self::Made(VecDeque::new())
    }

    /// The same body once more, where that is possible.
    fn again(&self) -> Option<Self> {
        match self {
            Self::Made(pieces) => Some(Self::Made(pieces.clone())),
            Self::Upload(_) => None,
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.get_mut() {
            Self::Made(pieces) => Poll::Ready(pieces.pop_front().map(|piece| Ok(Frame::data(piece)))),
            Self::Upload(upload) => upload.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Made(pieces) => pieces.is_empty(),
            Self::Upload(upload) => upload.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Made(pieces) => SizeHint::with_exact(pieces.iter().map(|piece| piece.len() as u64).sum()),
            Self::Upload(upload) => upload.size_hint(),
        }
    }
}
