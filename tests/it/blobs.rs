//! Uploads of any size: through at once, in constant memory, with Ollama's verdict at the end.

use crate::harness::calls::Call;
use crate::harness::gateway::field;
use crate::harness::stream::Version;
use crate::harness::{Gateway, Ollama, Reply, Request, Setup, Wire, http2, sha256, within};
use bytes::Bytes;
use h2::SendStream;
use ollama_gateway::ollama::endpoint::Endpoint;
use std::future::poll_fn;
use std::time::Duration;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};

const PIECE: usize = 1 << 20;
const PIECES: usize = 1024;

fn upload(digest: &str, key: &str) -> Request {
    Request::new("POST", &format!("/api/blobs/sha256:{digest}"))
        .key(key)
        .header("Content-Type", "application/octet-stream")
}

async fn ground() -> (Ollama, Gateway) {
    let ollama = Ollama::start().await;
    ollama.on("/api/blobs/", Reply::recording("blob_post_ok"));
    let gateway = Setup::before(&ollama).start().await;
    (ollama, gateway)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gibibyte_passes_in_constant_memory() {
    let (ollama, gateway) = ground().await;
    let piece = vec![0_u8; PIECE];
    let total = (PIECE * PIECES).to_string();
    let digest = "49bc20df15e412a64472421e13fe86ff1c5165e18b2afccf160d4dc19fe68a14"; // of so many zeros
    let mut wire = Wire::tls(&gateway).await;
    wire.write(&upload(digest, &gateway.admin).header("Content-Length", &total).bytes()).await;
    wire.write(&piece).await;
    let received = ollama.wait_for(1).await;
    assert!(received.sha256.is_empty(), "upstream must not wait for the end of the upload");
    let before = gateway.resident();
    for _ in 1..PIECES {
        wire.write(&piece).await;
    }
    let grown = gateway.resident().saturating_sub(before);
    assert!(grown < 24 << 20, "{} MiB more memory", grown >> 20);
    wire.answer(false).await.expect(200);
    let whole = ollama.wait_for_whole(1).await;
    assert_eq!((whole.body_length.to_string(), whole.sha256.as_str()), (total, digest));
    assert_eq!(whole.path(), format!("/api/blobs/sha256:{digest}"));
    assert_eq!(std::fs::read_dir(gateway.setup.state()).unwrap().filter(|f| large(f.as_ref().unwrap())).count(), 0);
}

fn large(file: &std::fs::DirEntry) -> bool {
    file.metadata().unwrap().len() > 8 << 20
}

#[tokio::test(flavor = "multi_thread")]
async fn chunked_and_http2_uploads_pass_too() {
    let (ollama, gateway) = ground().await;
    let body = vec![b'b'; 300_000];
    let digest = sha256(&body);
    let request = upload(&digest, &gateway.admin);
    let mut wire = Wire::tls(&gateway).await;
    wire.write(&request.clone().header("Transfer-Encoding", "chunked").bytes()).await;
    for piece in body.chunks(70_000) {
        wire.write(&crate::harness::reply::chunk_of(piece)).await;
    }
    wire.write(b"0\r\n\r\n").await;
    wire.answer(false).await.expect(200);
    Version::Two.send(&gateway, request.body(body)).await.expect(200);
    for n in [1, 2] {
        assert_eq!(ollama.wait_for_whole(n).await.sha256, digest, "upload {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ollamas_verdict_on_the_digest_is_told() {
    let (ollama, gateway) = ground().await;
    ollama.on("/api/blobs/", Reply::recording("blob_post_mismatch"));
    let answer = gateway.send(upload(&"0".repeat(64), &gateway.admin).body("x")).await.expect(400);
    assert!(answer.json()["error"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_upload_is_told_before_a_byte_of_it() {
    let (ollama, gateway) = ground().await;
    for (key, status) in [(gateway.user.as_str(), 403), ("wrong", 401)] {
        let head =
            upload(&"0".repeat(64), key).header("Content-Length", "53687091200").header("Expect", "100-continue");
        let mut wire = Wire::tls(&gateway).await;
        wire.write(&head.bytes()).await;
        let (bytes, _) = wire.read_to_end().await;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        assert!(text.starts_with(&format!("HTTP/1.1 {status}")), "no 100, and the connection ends: {text}");
    }
    ollama.assert_nothing_received();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_is_never_whole_upstream() {
    let (ollama, gateway) = ground().await;
    let head = upload(&"0".repeat(64), &gateway.admin).header("Content-Length", "1000000");
    let mut wire = Wire::tls(&gateway).await;
    wire.write(&head.bytes()).await;
    wire.write(&[0; 100_000]).await;
    let received = ollama.wait_for(1).await;
    drop(wire);
    ollama.wait_closed(received.connection).await;
    let mut client = http2::Client::connect(&gateway).await;
    let (response, mut send) = client.begin(&upload(&"0".repeat(64), &gateway.admin), false).await;
    send.send_data(vec![0; 10_000].into(), false).unwrap();
    let received = ollama.wait_for(2).await;
    send.send_reset(h2::Reason::CANCEL);
    drop(response);
    ollama.wait_closed(received.connection).await;
    assert!(ollama.received().iter().all(|received| received.sha256.is_empty()), "half a blob must not look whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_upload_passes_and_a_trickle_beside_it_is_cut() {
    let ollama = Ollama::start().await;
    ollama.on("/api/blobs/", Reply::recording("blob_post_ok"));
    let gateway = Setup::before(&ollama)
        .set("server", "body_min_rate", "\"10 KiB\"")
        .set("server", "body_grace", "\"1s\"")
        .set("upstream", "first_byte_timeout", "\"1s\"") // counts from the end of the upload
        .start()
        .await;
    let head = |length: usize| upload(&"0".repeat(64), &gateway.admin).header("Content-Length", &length.to_string());
    let slow = async {
        let mut slow = Wire::tls(&gateway).await;
        slow.write(&head(30 * 2_000).bytes()).await;
        for _ in 0..30 {
            slow.write(&[0; 2_000]).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        slow.answer(false).await.expect(200);
    };
    let trickle = async {
        let mut trickle = Wire::tls(&gateway).await;
        trickle.write(&head(1_000).bytes()).await;
        while trickle.try_write(&[0]).await {
            let wait = Duration::from_millis(100);
            if let Ok(Err(_)) = tokio::time::timeout(wait, trickle.fill()).await {
                return;
            }
        }
    };
    tokio::join!(slow, within("a trickle to be cut", trickle));
    let cut = gateway.event_where("request", |record| field(record, "code") == "body_too_slow").await;
    assert_eq!(field(&cut, "status"), "408", "{cut}");
}

/// Ollama has all that was announced, and takes its time: that the client's stream has no end yet is no fault of anybody's.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_announced_is_whole_though_its_stream_does_not_end() {
    let ollama = Ollama::start().await;
    let (reply, verdict) = Reply::recording("blob_post_ok").held();
    ollama.on("/api/blobs/", reply);
    let gateway = Setup::before(&ollama).set("server", "body_grace", "\"100ms\"").start().await;
    let body = vec![b'b'; 10_000];
    let request = upload(&sha256(&body), &gateway.admin).header("content-length", "10000");
    let mut client = http2::Client::connect(&gateway).await;
    let (response, mut send) = client.begin(&request, false).await;
    send.send_data(body.into(), false).unwrap();
    ollama.wait_for_whole(1).await;
    tokio::time::sleep(Duration::from_millis(500)).await; // the grace of a client that owes something
    verdict.open();
    let (answer, _) = http2::head(response).await;
    assert_eq!(answer.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ollama_that_takes_no_more_of_an_upload_is_given_up() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Setup::before_address(deaf.local_addr().unwrap())
        .set("server", "body_grace", "\"500ms\"")
        .set("upstream", "first_byte_timeout", "\"500ms\"")
        .start()
        .await;
    let mut client = http2::Client::connect(&gateway).await;
    let (response, mut send) = client.begin(&upload(&"0".repeat(64), &gateway.admin), false).await;
    send.send_data(vec![0; 64 << 20].into(), false).unwrap(); // more than all buffers between
    let (_held, _) = deaf.accept().await.unwrap();
    let (answer, _) = http2::head(response).await;
    assert_eq!(answer.status, 504);
}

/// By HTTP/2, where a window holds for all of a connection together: three uploads wait for an Ollama that takes no more,
/// and a chat beside them passes.
#[tokio::test(flavor = "multi_thread")]
async fn uploads_that_wait_leave_their_connection_to_others() {
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = Box::pin(Setup::before_address(deaf.local_addr().unwrap()).start()).await;
    let mut client = http2::Client::connect(&gateway).await;
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let (response, mut send) = client.begin(&upload(&"0".repeat(64), &gateway.admin), false).await;
        let socket = within("an upload at Ollama", asked(&deaf, "POST /api/blobs")).await;
        fill(&mut send).await;
        waiting.push((response, send, socket));
    }
    let chat = Call::of(Endpoint::Chat).request(Some(&gateway.admin));
    let (_response, mut send) = client.begin(&chat, false).await;
    send.send_data(chat.body.into(), true).unwrap();
    within("a chat at Ollama", asked(&deaf, "POST /api/chat")).await;
}

/// Sends until nothing more is taken.
async fn fill(send: &mut SendStream<Bytes>) {
    loop {
        send.reserve_capacity(64 * 1024);
        let room = tokio::time::timeout(Duration::from_secs(1), poll_fn(|cx| send.poll_capacity(cx)));
        let Ok(room) = room.await else { return };
        let room = room.expect("an open stream").unwrap();
        send.send_data(vec![0; room].into(), false).unwrap();
    }
}

/// The next connection on which this is asked; no more of it is read.
async fn asked(deaf: &TcpListener, what: &str) -> TcpStream {
    loop {
        let (mut socket, _) = deaf.accept().await.unwrap();
        let mut start = vec![0; what.len()];
        if socket.read_exact(&mut start).await.is_ok() && start == what.as_bytes() {
            return socket;
        }
    }
}
