//! The body of a request as it comes in, of either protocol.
//!
//! Guarantees: bytes alone; trailers are dropped. Does not: bound it; its readers do.

use super::wire::ClientBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A body that comes in.
#[derive(Debug)]
pub struct Incoming(Origin);

#[derive(Debug)]
enum Origin {
    Http1(ClientBody),
    Library(hyper::body::Incoming),
}

impl From<ClientBody> for Incoming {
    fn from(body: ClientBody) -> Self {
        Self(Origin::Http1(body))
    }
}

impl From<hyper::body::Incoming> for Incoming {
    fn from(body: hyper::body::Incoming) -> Self {
        Self(Origin::Library(body))
    }
}

impl Incoming {
    /// Reads on, to the end of these bytes; how many, 0: there is no more.
    pub(crate) fn poll_into(&mut self, bytes: &mut Vec<u8>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Origin::Http1(body) => body.poll_into(bytes, cx),
            Origin::Library(body) => {
                let piece = ready!(poll_piece(body, cx))?;
                bytes.extend_from_slice(&piece);
                Poll::Ready(Ok(piece.len()))
            }
        }
    }
}

/// The next bytes; empty: there are no more.
fn poll_piece(body: &mut hyper::body::Incoming, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    loop {
        let Some(frame) = ready!(Pin::new(&mut *body).poll_frame(cx)) else { return Poll::Ready(Ok(Bytes::new())) };
        match frame.map_err(io::Error::other)?.into_data() {
            Ok(data) if !data.is_empty() => return Poll::Ready(Ok(data)),
            Ok(_) | Err(_) => {}
        }
    }
}

impl Body for Incoming {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = match &mut self.get_mut().0 {
            Origin::Http1(body) => ready!(body.poll_piece(cx)),
            Origin::Library(body) => ready!(poll_piece(body, cx)),
        };
        Poll::Ready(match piece {
            Ok(piece) if piece.is_empty() => None,
            piece => Some(piece.map(Frame::data)),
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Origin::Http1(body) => body.left() == Some(0),
            Origin::Library(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Origin::Http1(body) => body.left().map_or_else(SizeHint::default, SizeHint::with_exact),
            Origin::Library(body) => body.size_hint(),
        }
    }
}
