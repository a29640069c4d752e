//! A connection to the gateway on which a test writes any bytes and sees every byte of the answer.

use super::client::{Answer, Request};
use super::message::{Decoder, Head};
use super::{Gateway, within};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};

/// Any stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How the other side ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// In order: FIN, with or without TLS's own goodbye.
    Closed,
    /// By a reset.
    Reset,
}

/// One connection.
pub(crate) struct Wire {
    stream: Box<dyn Stream>,
    buffer: Vec<u8>,
}

impl Wire {
    /// TLS, ALPN `http/1.1`.
    pub(crate) async fn tls(gateway: &Gateway) -> Self {
        Self::tls_with(gateway, "localhost", &["http/1.1"]).await
    }

    /// TLS with another SNI or other protocols.
    pub(crate) async fn tls_with(gateway: &Gateway, name: &str, alpn: &[&str]) -> Self {
        Self::over(tls_stream(gateway, name, alpn).await)
    }

    /// No TLS.
    pub(crate) async fn cleartext(address: SocketAddr) -> Self {
        Self::over(tcp(address).await)
    }

    /// Over a stream that is there already.
    pub(crate) fn over(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), buffer: Vec::new() }
    }

    /// Writes bytes; that the other side may have closed is seen when the answer is read.
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        within("bytes to be taken", self.try_write(bytes)).await;
    }

    /// Writes bytes as long as they are taken; `false`: no more are.
    pub(crate) async fn try_write(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok() && self.stream.flush().await.is_ok()
    }

    /// Says that no more will be sent, and goes on reading.
    pub(crate) async fn half_close(&mut self) {
        within("the end of what is sent", self.stream.shutdown()).await.unwrap();
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn exchange(&mut self, request: &Request) -> Answer {
        self.write(&request.bytes()).await;
        self.answer(request.method == "HEAD").await
    }

    /// Reads one whole answer; interim answers are passed over.
    pub(crate) async fn answer(&mut self, to_head: bool) -> Answer {
        let (mut answer, mut body) = self.start_answer(to_head).await;
        while let Some(piece) = body.next(self).await {
            answer.body.extend_from_slice(&piece);
        }
        answer
    }

    /// Reads one whole answer; `None`: the other side ended before it was whole.
    pub(crate) async fn try_answer(&mut self, to_head: bool) -> Option<Answer> {
        while Head::end(&self.buffer).is_none() {
            self.fill().await.ok()?;
        }
        let (mut answer, mut body) = self.start_answer(to_head).await;
        while let Some(piece) = body.piece(self).await.ok()? {
            answer.body.extend_from_slice(&piece);
        }
        Some(answer)
    }

    /// What was read and not looked at yet.
    pub(crate) fn buffered(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Sends a request and reads the head of the answer: the body is read piece by piece.
    pub(crate) async fn open(&mut self, request: &Request) -> (Answer, Body) {
        self.write(&request.bytes()).await;
        self.start_answer(request.method == "HEAD").await
    }

    /// Reads the head of an answer; interim answers are passed over.
    pub(crate) async fn start_answer(&mut self, to_head: bool) -> (Answer, Body) {
        let head = within("the head of an answer", self.head()).await;
        let status: u16 = head.first_line.split(' ').nth(1).unwrap().parse().unwrap();
        let none = to_head || status == 204 || status == 304;
        let framing = if none { super::message::Framing::Length(0) } else { head.framing() };
        (Answer { status, fields: head.fields, body: Vec::new() }, Body(Decoder::new(framing)))
    }

    async fn head(&mut self) -> Head {
        loop {
            if let Some(end) = Head::end(&self.buffer) {
                let head = Head::parse(&self.buffer.drain(..end).collect::<Vec<_>>());
                if head.first_line.starts_with("HTTP/1.1 1") {
                    continue;
                }
                return head;
            }
            if let Err(ending) = self.fill().await {
                panic!("{ending:?} instead of a head, after {:?}", String::from_utf8_lossy(&self.buffer));
            }
        }
    }

    /// Reads everything until the other side ends.
    pub(crate) async fn read_to_end(&mut self) -> (Vec<u8>, Ending) {
        let ending = within("the other side to close", async {
            loop {
                if let Err(ending) = self.fill().await {
                    return ending;
                }
            }
        })
        .await;
        (std::mem::take(&mut self.buffer), ending)
    }

    /// Reads more into the buffer.
    pub(crate) async fn fill(&mut self) -> Result<(), Ending> {
        let mut bytes = vec![0; 16 * 1024];
        match self.stream.read(&mut bytes).await {
            Ok(0) => Err(Ending::Closed),
            Ok(count) => {
                self.buffer.extend_from_slice(&bytes[..count]);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(Ending::Closed),
            Err(_) => Err(Ending::Reset),
        }
    }

    /// Takes so many bytes off the front, and waits for them; `None`: the other side ended before.
    pub(crate) async fn take(&mut self, count: usize) -> Option<Vec<u8>> {
        while self.buffer.len() < count {
            within("bytes", self.fill()).await.ok()?;
        }
        Some(self.buffer.drain(..count).collect())
    }

    /// The stream itself, for a library that speaks on it.
    pub(crate) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }
}

/// The body of an answer that is being read.
#[derive(Debug)]
pub(crate) struct Body(Decoder);

impl Body {
    /// The next piece as it comes off the wire; `None`: the body is whole. A body that breaks off fails the test.
    pub(crate) async fn next(&mut self, wire: &mut Wire) -> Option<Vec<u8>> {
        match self.piece(wire).await {
            Ok(piece) => piece,
            Err(ending) => panic!("{ending:?} in the middle of a body"),
        }
    }

    /// The same; a body that breaks off is an error.
    pub(crate) async fn piece(&mut self, wire: &mut Wire) -> Result<Option<Vec<u8>>, Ending> {
        loop {
            if let Some(piece) = self.0.next(&mut wire.buffer) {
                return Ok(Some(piece));
            }
            if self.0.done() {
                return Ok(None);
            }
            match within("a piece of a body", wire.fill()).await {
                Ok(()) => {}
                Err(_) if self.0.ends_with_connection() => return Ok(None),
                Err(ending) => return Err(ending),
            }
        }
    }
}

/// A TCP connection.
pub(crate) async fn tcp(address: SocketAddr) -> TcpStream {
    let stream = within("a connection", TcpStream::connect(address)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A TLS connection to the gateway that trusts its certificate and nothing else.
pub(crate) async fn tls_stream(
    gateway: &Gateway,
    name: &str,
    alpn: &[&str],
) -> tokio_rustls::client::TlsStream<TcpStream> {
    handshake(gateway, Arc::new(tls_config(&gateway.certificate(), alpn)), name).await.unwrap()
}

/// A TLS connection with a configuration of the test's.
pub(crate) async fn handshake(
    gateway: &Gateway,
    config: Arc<ClientConfig>,
    name: &str,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let stream = tcp(gateway.https()).await;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    within("a TLS handshake", TlsConnector::from(config).connect(name, stream)).await
}

/// A client's configuration that trusts the certificates of one file.
pub(crate) fn tls_config(trusted: &Path, alpn: &[&str]) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(trusted).unwrap() {
        roots.add(certificate.unwrap()).unwrap();
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    config
}
