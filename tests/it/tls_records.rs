//! TLS's records as clients cut them: what is in them is read the same however they come, and what is none is told so.

use crate::harness::{Gateway, Ollama, Reply, Request, Setup, Wire};
use crate::tls::speaking;
use crate::tls_clients::{self, Authority};
use serde_json::json;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{SupportedProtocolVersion, version};

/// A socket that sends and receives no more than so many bytes at a time, and changes what it sends, once it is to.
struct Cut {
    socket: TcpStream,
    most: usize,
    changes: Arc<AtomicBool>,
}

impl AsyncRead for Cut {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut room = vec![0; out.remaining().min(self.most)];
        let mut part = ReadBuf::new(&mut room);
        let read = Pin::new(&mut self.socket).poll_read(cx, &mut part);
        out.put_slice(part.filled());
        read
    }
}

impl AsyncWrite for Cut {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut part = bytes[..bytes.len().min(self.most)].to_vec();
        if self.changes.load(Ordering::SeqCst) {
            *part.last_mut().unwrap() ^= 1;
        }
        Pin::new(&mut self.socket).poll_write(cx, &part)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// How a client cuts what it sends.
#[derive(Debug, Clone, Copy)]
struct Cuts {
    /// Bytes of a record; `None`: as many as fit.
    record: Option<usize>,
    /// Bytes of a write.
    write: usize,
}

const CUTS: [Cuts; 5] = [
    Cuts { record: None, write: 1 },
    Cuts { record: Some(37), write: 7 },
    Cuts { record: Some(37), write: 1 << 20 },
    Cuts { record: None, write: 16_401 },
    Cuts { record: None, write: 1 << 20 },
];

const VERSIONS: [&SupportedProtocolVersion; 2] = [&version::TLS12, &version::TLS13];

async fn connect(
    gateway: &Gateway,
    (cuts, changes): (Cuts, &Arc<AtomicBool>),
    version: &'static SupportedProtocolVersion,
) -> Wire {
    let mut config = speaking(gateway, version);
    config.max_fragment_size = cuts.record;
    let socket = TcpStream::connect(gateway.https()).await.unwrap();
    socket.set_nodelay(true).unwrap();
    let (connector, name) = (TlsConnector::from(Arc::new(config)), "localhost".try_into().unwrap());
    Wire::over(connector.connect(name, Cut { socket, most: cuts.write, changes: Arc::clone(changes) }).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_and_its_answer_are_the_same_however_their_records_come() {
    let ollama = Ollama::start().await;
    let said = "an answer, ".repeat(30_000);
    let message = json!({ "role": "assistant", "content": said });
    let answer = json!({ "model": "tiny", "message": message, "done": true, "done_reason": "stop" }).to_string();
    ollama.on("/api/chat", Reply::json(200, &answer));
    let gateway = Setup::before(&ollama)
        .set("tls", "min_version", "\"1.2\"")
        .set("validation", "max_message_chars", "1000000")
        .start()
        .await;
    let mut sent = 0;
    for (version, cuts) in VERSIONS.iter().flat_map(|version| CUTS.map(|cuts| (*version, cuts))) {
        let mut wire = connect(&gateway, (cuts, &Arc::default()), version).await;
        for turn in ["short".to_owned(), "a question ".repeat(if cuts.write == 1 { 500 } else { 20_000 }) + "?"] {
            let asked = json!({ "model": "tiny", "stream": false, "messages": [{ "role": "user", "content": turn }] });
            let told = wire.exchange(&Request::post("/api/chat", &asked).key(&gateway.user)).await.expect(200);
            assert_eq!(told.json()["message"]["content"], said, "{cuts:?}");
            sent += 1;
            let received = ollama.wait_for_whole(sent).await.json();
            assert_eq!(received["messages"][0]["content"], turn, "{cuts:?}");
        }
    }
}

/// A gateway that does not look at what a client says first, and one that does, whose authority is to be kept.
fn both(ollama: &Ollama) -> ([Setup; 2], Authority) {
    let asking = tls_clients::setup(ollama, "\"optional\"");
    let authority = Authority::new(&asking);
    ([Setup::before(ollama), asking], authority)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_handshake_gets_an_alert_and_the_end() {
    let ollama = Ollama::start().await;
    let (setups, _authority) = both(&ollama);
    for setup in setups {
        let gateway = setup.start().await;
        for bytes in [&b"\x16\x03\x01\x00\x05\x01\0\0\x01\0"[..], b"GET / HTTP/1.1\r\n\r\n", b"\x17\x03\x03\x00\x01x"] {
            let mut wire = Wire::cleartext(gateway.https()).await;
            wire.write(bytes).await;
            let (told, _) = wire.read_to_end().await;
            assert!(matches!(told.as_slice(), [0x15, 3, _, 0, 2, 2, _]), "one fatal alert for {bytes:?}: {told:?}");
        }
    }
    ollama.assert_nothing_received();
}

/// A message of a handshake in records of one byte each, with no end to it: so much of it is not kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_is_not_whole_takes_no_more_room_than_a_long_one() {
    let ollama = Ollama::start().await;
    let (setups, _authority) = both(&ollama);
    for setup in setups {
        let setup = setup.set("server", "handshake_timeout", "\"10m\"").set("server", "head_timeout", "\"10m\"");
        let gateway = setup.start().await;
        let mut wire = Wire::cleartext(gateway.https()).await;
        let begun = [1, 0, 0xff, 0xff].into_iter().chain(std::iter::repeat(0));
        let records: Vec<u8> = begun.take(17_000).flat_map(|byte| [0x16, 3, 3, 0, 1, byte]).collect();
        wire.write(&records).await;
        wire.read_to_end().await;
    }
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_was_changed_on_its_way_reaches_nobody_and_ends_the_connection() {
    let ollama = Ollama::start().await;
    let gateway = Setup::before(&ollama).start().await;
    for (version, cuts) in VERSIONS.iter().flat_map(|version| CUTS.map(|cuts| (*version, cuts))) {
        let changes = Arc::default();
        let mut wire = connect(&gateway, (cuts, &changes), version).await;
        wire.exchange(&Request::get("/api/health")).await.expect(200);
        changes.store(true, Ordering::SeqCst);
        let asked = json!({ "model": "tiny", "messages": [{ "role": "user", "content": "?" }] });
        wire.try_write(&Request::post("/api/chat", &asked).key(&gateway.user).bytes()).await;
        assert!(wire.try_answer(false).await.is_none(), "{version:?}, {cuts:?}");
    }
    ollama.assert_nothing_received();
    gateway.send(Request::get("/api/health")).await.expect(200);
}
