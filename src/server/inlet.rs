//! Reads a socket in large pieces for TLS, which asks for 4 KiB at a time.
//!
//! Guarantees: a read takes what is there, up to [`SPARE`] bytes more than was asked for, in one system call; what was not
//! asked for is given out first, in order; a connection holds that much only while it has such bytes, so an idle one
//! holds nothing. After a read that found less than there was room for, the socket is not read in vain: the system tells
//! when there is more.

use std::cell::Cell;
use std::io::{self, IoSliceMut, Read as _};
use std::task::{Context, Poll, ready};
use tokio::io::{Interest, ReadBuf};
use tokio::net::TcpStream;

/// Room for three more of TLS's largest records.
const SPARE: usize = 48 * 1024;

thread_local! {
    /// One that no connection of this thread holds.
    static UNUSED: Cell<Option<Box<[u8]>>> = const { Cell::new(None) };
}

/// What was read and not asked for yet.
#[derive(Debug, Default)]
pub(super) struct Inlet(Option<Ahead>);

#[derive(Debug)]
struct Ahead {
    bytes: Box<[u8]>,
    at: usize,
    end: usize,
}

impl Inlet {
    /// Reads as [`tokio::io::AsyncRead`] does.
    pub(super) fn poll_read(
        &mut self,
        socket: &TcpStream,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.give(buffer) {
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let mut spare = UNUSED.take().unwrap_or_else(|| vec![0; SPARE].into_boxed_slice());
            let wanted = buffer.initialize_unfilled();
            let room = wanted.len();
            match read_once(socket, wanted, &mut spare) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => UNUSED.set(Some(spare)),
                Err(error) => return Poll::Ready(Err(error)),
                Ok(read) => {
                    buffer.advance(read.min(room));
                    match read.saturating_sub(room) {
                        0 => UNUSED.set(Some(spare)),
                        more => self.0 = Some(Ahead { bytes: spare, at: 0, end: more }),
                    }
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }

    /// Gives out what is here; `false`: nothing is.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let Some(ahead) = &mut self.0 else { return false };
        let upto = ahead.end.min(ahead.at.saturating_add(buffer.remaining()));
        buffer.put_slice(ahead.bytes.get(ahead.at..upto).unwrap_or_default());
        ahead.at = upto;
        if ahead.at == ahead.end {
            UNUSED.set(self.0.take().map(|ahead| ahead.bytes));
        }
        true
    }
}

/// Reads once. `WouldBlock`: there was nothing after all.
fn read_once(socket: &TcpStream, wanted: &mut [u8], spare: &mut [u8]) -> io::Result<usize> {
    let room = wanted.len().saturating_add(spare.len());
    let mut taken = 0;
    let tried = socket.try_io(Interest::READABLE, || {
        let mut pieces = [IoSliceMut::new(wanted), IoSliceMut::new(spare)];
        taken = (&*socket2::SockRef::from(socket)).read_vectored(&mut pieces)?;
        // tokio forgets what it was told of the socket when it hears this: nothing is left to read.
        if taken > 0 && taken < room { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if taken > 0 { Ok(taken) } else { tried.map(|()| 0) }
}
