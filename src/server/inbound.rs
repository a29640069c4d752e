//! What was received of TLS and is not read yet, as it came and made plain.
//!
//! Guarantees: a read takes what the socket has, up to [`ROOM`] bytes with what is here already, in one system call;
//! between reads a connection holds its own bytes and no room besides, so an idle one holds nothing.

use super::timed::Timed;
use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead as _, ReadBuf};

/// Room for eight of TLS's largest records, or one message of a handshake.
const ROOM: usize = 132 * 1024;

thread_local! {
    /// Room that no connection of this thread uses.
    static UNUSED: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// The bytes.
#[derive(Default)]
pub(super) struct Inbound {
    /// Of [`ROOM`] bytes, or as long as what is in it.
    bytes: Box<[u8]>,
    at: usize,
    end: usize,
}

impl Inbound {
    /// What is not read yet.
    pub(super) fn unread(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.at..self.end).unwrap_or_default()
    }

    /// So much was read.
    pub(super) fn discard(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(bytes).min(self.end);
    }

    /// Receives more behind what is here; 0: there is no more.
    pub(super) fn poll_fill(&mut self, socket: &mut Timed, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.make_room();
        let Some(room) = self.bytes.get_mut(self.end..).filter(|room| !room.is_empty()) else {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "a message without an end")));
        };
        let mut read = ReadBuf::new(room);
        let received = Pin::new(socket).poll_read(cx, &mut read);
        let bytes = read.filled().len();
        if received.is_pending() {
            self.let_go();
        }
        ready!(received)?;
        self.end = self.end.saturating_add(bytes);
        Poll::Ready(Ok(bytes))
    }

    fn make_room(&mut self) {
        if self.bytes.len() < ROOM {
            let mut room = UNUSED.take().unwrap_or_else(|| vec![0; ROOM].into_boxed_slice());
            let here = self.unread();
            let length = here.len();
            if let Some(front) = room.get_mut(..length) {
                front.copy_from_slice(here);
            }
            *self = Self { bytes: room, at: 0, end: length };
        } else if self.at > 0 {
            self.bytes.copy_within(self.at..self.end, 0);
            (self.at, self.end) = (0, self.end.saturating_sub(self.at));
        }
    }

    /// Gives the room back, and keeps what is in it.
    fn let_go(&mut self) {
        if self.bytes.len() == ROOM {
            let kept: Box<[u8]> = Box::from(&*self.unread());
            (self.at, self.end) = (0, kept.len());
            UNUSED.set(Some(std::mem::replace(&mut self.bytes, kept)));
        }
    }
}

impl Drop for Inbound {
    fn drop(&mut self) {
        if self.bytes.len() == ROOM {
            UNUSED.set(Some(std::mem::take(&mut self.bytes)));
        }
    }
}

/// Plain bytes that wait for who reads.
#[derive(Default)]
pub(super) struct Plain {
    bytes: Vec<u8>,
    at: usize,
}

impl Plain {
    /// Hands a record out, or keeps what there is no room for.
    pub(super) fn deliver(&mut self, payload: &[u8], out: Option<&mut ReadBuf<'_>>) {
        let kept = match out {
            Some(out) if self.bytes.is_empty() => {
                let (now, later) = payload.split_at(payload.len().min(out.remaining()));
                out.put_slice(now);
                later
            }
            Some(_) | None => payload,
        };
        self.bytes.extend_from_slice(kept);
    }

    /// Hands out what was kept.
    pub(super) fn give(&mut self, out: &mut ReadBuf<'_>) {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let now = rest.len().min(out.remaining());
        out.put_slice(rest.get(..now).unwrap_or_default());
        self.at = self.at.saturating_add(now);
        if self.at == self.bytes.len() {
            *self = Self::default();
        }
    }
}
