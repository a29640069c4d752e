//! One connection, step by step: what is read when, and what is held meanwhile.

use super::*;
use futures_util::task::noop_waker_ref;
use tokio::io::{AsyncWriteExt as _, DuplexStream};

type Shared = Arc<Mutex<Wire<DuplexStream>>>;

fn connected() -> (Shared, DuplexStream) {
    let (near, far) = tokio::io::duplex(1 << 20);
    (Arc::new(Mutex::new(Wire::new(near))), far)
}

fn cx() -> Context<'static> {
    Context::from_waker(noop_waker_ref())
}

/// The request that has come, and its body to be read.
fn begun(wire: &Shared) -> (Head, ClientBody) {
    let next = wire.lock().unwrap().poll_head(&mut cx());
    let Poll::Ready(Ok(Next::Head(head))) = next else { panic!("{next:?}") };
    let body = ClientBody::of(wire, head.framing);
    (*head, body)
}

const HEAD: &[u8] = b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n";

#[tokio::test]
async fn a_client_whose_body_is_waited_for_is_listened_to() {
    for chunked in [false, true] {
        let (wire, mut client) = connected();
        let framing = if chunked { "Transfer-Encoding: chunked" } else { "Content-Length: 5" };
        client.write_all(format!("POST / HTTP/1.1\r\n{framing}\r\n\r\n").as_bytes()).await.unwrap();
        let (_, mut body) = begun(&wire);
        assert_eq!(wire.lock().unwrap().watch(&mut cx()), Client::Unseen, "nobody reads");
        let mut bytes = Vec::with_capacity(if chunked { 0 } else { 5 });
        assert!(body.poll_into(&mut bytes, &mut cx()).is_pending());
        assert_eq!(wire.lock().unwrap().watch(&mut cx()), Client::Listened);
        client.write_all(if chunked { b"5\r\nhello\r\n0\r\n\r\n" } else { b"hello" }).await.unwrap();
        while !matches!(body.poll_into(&mut bytes, &mut cx()), Poll::Ready(Ok(0))) {}
        assert_eq!(bytes, b"hello");
        assert_eq!(wire.lock().unwrap().watch(&mut cx()), Client::Listened);
        assert_eq!(wire.lock().unwrap().inbound.capacity(), 0, "nothing is held while it is answered");
        drop(client);
        assert_eq!(wire.lock().unwrap().watch(&mut cx()), Client::Gone);
    }
}

#[tokio::test]
async fn what_comes_early_is_kept_up_to_a_bound_and_is_the_next_request() {
    let (wire, mut client) = connected();
    client.write_all(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n").await.unwrap();
    let (first, _) = begun(&wire);
    assert_eq!(wire.lock().unwrap().watch(&mut cx()), Client::Listened);
    assert!(wire.lock().unwrap().is_at_an_end());
    let (second, _) = begun(&wire);
    assert_eq!((first.parts.uri.path(), second.parts.uri.path()), ("/1", "/2"));
    client.write_all(&vec![b'x'; 3 * AHEAD]).await.unwrap();
    while wire.lock().unwrap().watch(&mut cx()) == Client::Listened {
        tokio::task::yield_now().await; // a task may not read for ever
    }
    assert_eq!(wire.lock().unwrap().watch(&mut cx()), Client::Unseen);
    assert!(wire.lock().unwrap().inbound.len() < AHEAD + 1024);
}

#[tokio::test]
async fn a_body_that_outlives_its_request_reads_nothing_of_the_next() {
    let (wire, mut client) = connected();
    client.write_all(&[HEAD, b"hello", HEAD, b"other"].concat()).await.unwrap();
    let (_, mut first) = begun(&wire);
    assert!(matches!(first.poll_piece(&mut cx()), Poll::Ready(Ok(piece)) if piece == "hello"));
    first.left = Left::Unknown; // as if it did not know that it is over
    let (_, mut second) = begun(&wire);
    assert!(matches!(first.poll_piece(&mut cx()), Poll::Ready(Err(_))));
    assert!(matches!(second.poll_piece(&mut cx()), Poll::Ready(Ok(piece)) if piece == "other"));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_whole() {
    for framing in ["Content-Length: 6", "Transfer-Encoding: chunked"] {
        let (wire, mut client) = connected();
        client.write_all(format!("POST / HTTP/1.1\r\n{framing}\r\n\r\n5\r\nhe").as_bytes()).await.unwrap();
        client.shutdown().await.unwrap();
        let (_, mut body) = begun(&wire);
        let mut bytes = Vec::new();
        let ended = loop {
            match body.poll_into(&mut bytes, &mut cx()) {
                Poll::Ready(Ok(read)) if read > 0 => {}
                ended @ (Poll::Ready(_) | Poll::Pending) => break ended,
            }
        };
        assert!(matches!(ended, Poll::Ready(Err(_))), "{framing}: {ended:?}");
        assert!(!wire.lock().unwrap().is_at_an_end());
    }
}

/// Takes nothing until it is told to.
struct Full(DuplexStream, bool);

impl AsyncRead for Full {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Full {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    /// As TLS does: what it took may not be with the system yet.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.1 { Poll::Pending } else { Poll::Ready(Ok(())) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn the_body_is_asked_for_once_and_only_when_it_is_read_and_not_before_the_client_can_know() {
    let (near, mut client) = tokio::io::duplex(1 << 20);
    let wire = Arc::new(Mutex::new(Wire::new(Full(near, true))));
    client.write_all(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await.unwrap();
    let Poll::Ready(Ok(Next::Head(head))) = wire.lock().unwrap().poll_head(&mut cx()) else { panic!() };
    let mut body = ClientBody::of(&wire, head.framing);
    let mut bytes = Vec::with_capacity(5);
    for _ in 0..2 {
        assert!(body.poll_into(&mut bytes, &mut cx()).is_pending());
        assert_eq!(wire.lock().unwrap().interim, Interim::Leaving);
    }
    wire.lock().unwrap().stream.1 = false;
    assert!(body.poll_into(&mut bytes, &mut cx()).is_pending());
    client.write_all(b"hello").await.unwrap();
    assert!(matches!(body.poll_into(&mut bytes, &mut cx()), Poll::Ready(Ok(5))));
    drop((body, wire));
    let mut said = String::new();
    client.read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "HTTP/1.1 100 Continue\r\n\r\n");
}

#[tokio::test]
async fn no_interim_answer_stands_in_an_answer() {
    let (wire, mut client) = connected();
    client.write_all(b"POST / HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await.unwrap();
    let (_, mut body) = begun(&wire);
    wire.lock().unwrap().begin_answer();
    assert!(body.poll_piece(&mut cx()).is_pending());
    assert!(wire.lock().unwrap().outbound().is_empty());
}
