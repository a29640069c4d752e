//! What is on its way to the client, as TLS wrapped it.
//!
//! Guarantees: it leaves in order and whole, or the connection ends; once it has left, nothing is held. Does not: bound
//! itself; who adds to it sends first what is in it.

use super::timed::Timed;
use rustls::unbuffered::{EncodeError, EncryptError};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite as _;

/// Bytes on their way to the client's system.
#[derive(Default)]
pub(super) struct Outbound {
    bytes: Vec<u8>,
    at: usize,
}

/// How much room is missing, where that is what failed.
pub(super) trait Missing: std::error::Error + Send + Sync + 'static {
    fn missing(&self) -> Option<usize>;
}

impl Missing for EncodeError {
    fn missing(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::AlreadyEncoded => None,
        }
    }
}

impl Missing for EncryptError {
    fn missing(&self) -> Option<usize> {
        match self {
            Self::InsufficientSize(size) => Some(size.required_size),
            Self::EncryptExhausted => None,
        }
    }
}

impl Outbound {
    pub(super) const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds what is written into room of about this size.
    pub(super) fn add<E: Missing>(
        &mut self,
        room: usize,
        mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
    ) -> io::Result<()> {
        let (start, mut room) = (self.bytes.len(), room);
        loop {
            self.bytes.resize(start.saturating_add(room), 0);
            let written = write(self.bytes.get_mut(start..).unwrap_or_default());
            match written {
                Ok(written) => {
                    self.bytes.truncate(start.saturating_add(written));
                    return Ok(());
                }
                Err(error) => {
                    self.bytes.truncate(start);
                    room = error
                        .missing()
                        .filter(|missing| *missing > room)
                        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, error))?;
                }
            }
        }
    }

    /// Sends it; ready when the client's system has all of it.
    pub(super) fn poll_send(&mut self, socket: &mut Timed, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.bytes.get(self.at..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *socket).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.at = self.at.saturating_add(written),
            }
        }
        *self = Self::default(); // nothing is held for a connection that waits
        Poll::Ready(Ok(()))
    }
}
