//! TLS with a client: what the client sends is read in large pieces and made plain where it lies.
//!
//! Guarantees: the server's side of TLS is rustls's, this moves bytes; a read takes what the socket has, up to eight of the
//! largest records, in one system call; a connection that waits for its client holds what it has of a record that is not
//! whole, and no more; what was taken to be sent is sent before more is taken; the end of what a client sends is its
//! `close_notify`, and a connection that just ends is broken off; nobody who came for a CA's challenge is served anything
//! else. Does not: keep time, which the socket does ([`super::timed`]).

use super::inbound::{Inbound, Plain};
use super::outbound::Outbound;
use super::timed::Timed;
use crate::gateway::{Handshakes, Purpose};
use rustls::ServerConfig;
use rustls::server::{Acceptor, ClientHello, ResolvesServerCert, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::unbuffered::{ConnectionState, UnbufferedStatus};
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that a record holds (RFC 8446 §5.1), and what its wrapping adds at most.
const RECORD: usize = 16 * 1024;
const WRAPPING: usize = 64;
/// Room for most messages of a handshake; more is made where it takes more.
const MESSAGE: usize = 2 * 1024;
/// Bytes of a handshake that may wait until a message is whole: the longest, in large records.
const HANDSHAKE: usize = 4 * RECORD + 4 * 1024;
/// Bytes that one write takes.
const AT_ONCE: usize = 4 * RECORD;

/// A connection on which TLS is spoken.
pub(super) struct TlsStream {
    tls: UnbufferedServerConnection,
    named: Arc<Named>,
    socket: Timed,
    inbound: Inbound,
    /// What was made plain and had no room with who reads.
    plain: Plain,
    outbound: Outbound,
    receiving: Receiving,
    sending: Sending,
}

/// Whether the client may send more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Receiving {
    Open,
    /// It has said goodbye.
    Over,
    /// It sent what is no TLS: rustls is not asked again.
    Broken,
}

/// Whether more is sent from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sending {
    Open,
    Over,
}

/// How far a look at what was received came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Something was made plain.
    Plain,
    /// What was to be sent is in the outbound bytes.
    Sent,
    /// There is no whole record.
    Waits,
    /// The client has said goodbye.
    Over,
}

/// What one turn is to do besides.
enum Errand<'a, 'b> {
    /// Hand out here what is made plain.
    Read(&'a mut ReadBuf<'b>),
    /// Send this.
    Write(&'a [u8]),
    /// Say goodbye.
    Close,
    /// Nothing.
    Shake,
}

impl<'b> Errand<'_, 'b> {
    /// Where plain bytes are wanted.
    fn out(&mut self) -> Option<&mut ReadBuf<'b>> {
        match self {
            Self::Read(out) => Some(out),
            Self::Write(_) | Self::Close | Self::Shake => None,
        }
    }
}

/// Speaks TLS on a socket until the handshake is done.
///
/// # Errors
/// It failed, and the client was told why, if it still listens.
pub(super) async fn accept(tls: Arc<Handshakes>, listener: SocketAddr, mut socket: Timed) -> io::Result<TlsStream> {
    let mut inbound = Inbound::default();
    let (config, purpose) = match tls.of_everybody(listener) {
        Some(config) => (config, Purpose::Any),
        None => by_hello(&tls, &mut socket, &mut inbound).await?,
    };
    let mut stream = TlsStream::new(&config, socket, inbound)?;
    poll_fn(|cx| stream.poll_handshake(cx)).await?;
    // A second hello, after a retry, may offer other protocols than the first, by which was chosen.
    if !purpose.fits(stream.alpn_protocol()) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    Ok(stream)
}

/// Waits for what the client says first, and chooses by it. It is left where it is, to be read once more.
async fn by_hello(
    tls: &Handshakes,
    socket: &mut Timed,
    inbound: &mut Inbound,
) -> io::Result<(Arc<ServerConfig>, Purpose)> {
    let (mut acceptor, mut seen) = (Acceptor::default(), 0);
    loop {
        let mut fresh = inbound.unread().get(seen..).unwrap_or_default();
        while !fresh.is_empty() {
            seen = seen.saturating_add(acceptor.read_tls(&mut fresh)?);
            match acceptor.accept() {
                Ok(Some(accepted)) => return Ok(tls.choose(&accepted.client_hello())),
                Ok(None) => {}
                Err(_) => return Ok((tls.asking(), Purpose::Any)), // the connection itself fails on it, and says why
            }
        }
        poll_fn(|cx| poll_handshake_more(inbound, socket, cx)).await?;
    }
}

/// Receives more of a handshake, while what is not read yet of it is not too much: nobody knows who sends it.
fn poll_handshake_more(inbound: &mut Inbound, socket: &mut Timed, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    if inbound.unread().len() > HANDSHAKE {
        return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
    }
    match ready!(inbound.poll_fill(socket, cx))? {
        0 => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
        _ => Poll::Ready(Ok(())),
    }
}

/// Chooses the certificate as the policy does, and remembers the name that was asked for.
#[derive(Debug)]
struct Named {
    policy: Arc<dyn ResolvesServerCert>,
    name: OnceLock<String>,
}

impl ResolvesServerCert for Named {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let Some(name) = hello.server_name() {
            self.name.get_or_init(|| name.to_ascii_lowercase());
        }
        self.policy.resolve(hello)
    }
}

impl Deref for TlsStream {
    type Target = rustls::CommonState;

    fn deref(&self) -> &Self::Target {
        &self.tls
    }
}

impl TlsStream {
    fn new(config: &ServerConfig, socket: Timed, inbound: Inbound) -> io::Result<Self> {
        let named = Arc::new(Named { policy: Arc::clone(&config.cert_resolver), name: OnceLock::new() });
        let mut config = config.clone();
        config.cert_resolver = Arc::<Named>::clone(&named);
        let tls = UnbufferedServerConnection::new(Arc::new(config)).map_err(invalid)?;
        let (plain, outbound) = (Plain::default(), Outbound::default());
        let (receiving, sending) = (Receiving::Open, Sending::Open);
        Ok(Self { tls, named, socket, inbound, plain, outbound, receiving, sending })
    }

    /// The name that the client asked for, in lower case.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.named.name.get().map(String::as_str)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let turn = self.turn(Errand::Shake, cx)?;
            ready!(self.poll_out(cx))?;
            if !self.tls.is_handshaking() {
                return Poll::Ready(Ok(()));
            }
            if turn != Turn::Plain {
                ready!(poll_handshake_more(&mut self.inbound, &mut self.socket, cx))?;
            }
        }
    }

    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outbound.poll_send(&mut self.socket, cx)
    }

    /// Looks at what was received, record by record, until something is to be told.
    fn turn(&mut self, mut errand: Errand<'_, '_>, cx: &mut Context<'_>) -> io::Result<Turn> {
        if self.receiving == Receiving::Broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        loop {
            match self.one_turn(&mut errand) {
                Ok(Some(turn)) => return Ok(turn),
                Ok(None) => {}
                Err(error) => {
                    self.receiving = Receiving::Broken;
                    // What waits to be told, and the alert that says why; with nothing left it would read on.
                    while self.tls.wants_write() && self.one_turn(&mut Errand::Shake).is_ok() {}
                    drop(self.poll_out(cx));
                    return Err(error);
                }
            }
        }
    }

    fn one_turn(&mut self, errand: &mut Errand<'_, '_>) -> io::Result<Option<Turn>> {
        let Self { tls, inbound, plain, outbound, .. } = self;
        let UnbufferedStatus { mut discard, state } = tls.process_tls_records(inbound.unread());
        let turn = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(invalid)?;
                    discard = discard.saturating_add(record.discard);
                    plain.deliver(record.payload, errand.out());
                }
                Some(Turn::Plain)
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                outbound.add(MESSAGE, |room| data.encode(room))?;
                None
            }
            Ok(ConnectionState::TransmitTlsData(written)) => {
                written.done();
                None
            }
            Ok(ConnectionState::WriteTraffic(mut traffic)) => Some(match errand {
                Errand::Write(bytes) => {
                    outbound.add(wrapped(bytes.len()), |room| traffic.encrypt(bytes, room))?;
                    Turn::Sent
                }
                Errand::Close => {
                    outbound.add(MESSAGE, |room| traffic.queue_close_notify(room))?;
                    Turn::Sent
                }
                Errand::Read(_) | Errand::Shake => Turn::Waits,
            }),
            Ok(ConnectionState::BlockedHandshake) => Some(Turn::Waits),
            Ok(ConnectionState::PeerClosed | ConnectionState::Closed) => Some(Turn::Over),
            Ok(_) => return Err(invalid("what is not offered was used")), // early data
            Err(error) => {
                inbound.discard(discard);
                return Err(invalid(error));
            }
        };
        inbound.discard(discard);
        if turn == Some(Turn::Over) {
            self.receiving = Receiving::Over;
        }
        Ok(turn)
    }
}

/// What so many bytes are when they are sent, at most.
const fn wrapped(bytes: usize) -> usize {
    bytes.saturating_add(WRAPPING.saturating_mul(bytes / RECORD + 1))
}

/// As much as one write takes: what is written together is wrapped together.
fn together(pieces: &[IoSlice<'_>]) -> Vec<u8> {
    let length = pieces.iter().map(|piece| piece.len()).sum::<usize>().min(AT_ONCE);
    let mut bytes = Vec::with_capacity(length);
    for piece in pieces {
        let room = length.saturating_sub(bytes.len());
        bytes.extend_from_slice(piece.get(..room).unwrap_or(piece));
    }
    bytes
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

impl AsyncRead for TlsStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let (this, before) = (self.get_mut(), out.filled().len());
        this.plain.give(out);
        loop {
            let some = out.filled().len() > before;
            let full = if some { out.remaining() < RECORD } else { out.remaining() == 0 };
            if full || this.receiving == Receiving::Over {
                return Poll::Ready(Ok(()));
            }
            let nothing_leaves = this.outbound.is_empty(); // else who writes sends it, and is to be woken for it
            match this.turn(Errand::Read(out), cx)? {
                Turn::Plain | Turn::Over | Turn::Sent => {}
                Turn::Waits => {
                    if nothing_leaves && let Poll::Ready(sent) = this.poll_out(cx) {
                        sent?; // what TLS itself had to say
                    }
                    if some {
                        return Poll::Ready(Ok(()));
                    }
                    if ready!(this.inbound.poll_fill(&mut this.socket, cx))? == 0 {
                        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                    }
                }
            }
        }
    }
}

impl TlsStream {
    fn poll_take(&mut self, bytes: &[u8], cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.sending == Sending::Over {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        ready!(self.poll_out(cx))?;
        let taken = bytes.get(..AT_ONCE).unwrap_or(bytes);
        self.send(|| Errand::Write(taken), cx)?;
        if let Poll::Ready(sent) = self.poll_out(cx) {
            sent?;
        }
        Poll::Ready(Ok(taken.len()))
    }

    fn send<'a>(&mut self, errand: impl Fn() -> Errand<'a, 'static>, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            match self.turn(errand(), cx)? {
                Turn::Sent => return Ok(()),
                Turn::Plain | Turn::Over => {}
                Turn::Waits => return Err(io::ErrorKind::NotConnected.into()),
            }
        }
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_take(bytes, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut some = pieces.iter().filter(|piece| !piece.is_empty());
        match (some.next(), some.next()) {
            (Some(_), Some(_)) => self.get_mut().poll_take(&together(pieces), cx),
            (one, _) => self.get_mut().poll_take(one.map_or(&[], |one| one), cx),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_out(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.sending == Sending::Open {
            this.sending = Sending::Over;
            if !this.tls.is_handshaking() && this.receiving != Receiving::Broken {
                this.send(|| Errand::Close, cx)?;
            }
        }
        ready!(this.poll_out(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
