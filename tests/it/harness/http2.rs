//! HTTP/2 as a well-behaved client speaks it. For the others see `frames`.

use super::client::{Answer, Request};
use super::wire::Wire;
use super::{Gateway, within};
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{RecvStream, SendStream};

/// One connection.
#[derive(Debug)]
pub(crate) struct Client {
    sender: SendRequest<Bytes>,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Client {
    /// TLS, ALPN `h2`.
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        let stream = Wire::tls_with(gateway, "localhost", &["h2"]).await.into_stream();
        let (sender, connection) = within("the HTTP/2 handshake", h2::client::handshake(stream)).await.unwrap();
        Self { sender, connection: tokio::spawn(connection) }
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn send(&mut self, request: Request) -> Answer {
        let (mut answer, mut body) = self.open(request).await;
        while let Some(piece) = body.next().await {
            answer.body.extend_from_slice(&piece);
        }
        answer
    }

    /// Sends a request and reads the head of the answer.
    pub(crate) async fn open(&mut self, request: Request) -> (Answer, Body) {
        let body = request.body.clone();
        let (response, mut send) = self.begin(&request, body.is_empty()).await;
        if !body.is_empty() {
            send.send_data(body.into(), true).unwrap();
        }
        head(response).await
    }

    /// Sends the head of a request; the body is the test's.
    pub(crate) async fn begin(
        &mut self,
        request: &Request,
        ended: bool,
    ) -> (h2::client::ResponseFuture, SendStream<Bytes>) {
        let uri = format!("https://localhost{}", request.path);
        let mut builder =
            http::Request::builder().method(request.method.as_str()).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in &request.fields {
            if !name.eq_ignore_ascii_case("host") {
                builder = builder.header(name.to_ascii_lowercase(), value);
            }
        }
        let mut sender = within("an HTTP/2 stream", self.sender.clone().ready()).await.unwrap();
        sender.send_request(builder.body(()).unwrap(), ended).unwrap()
    }
}

/// The head of an answer.
pub(crate) async fn head(response: h2::client::ResponseFuture) -> (Answer, Body) {
    let (head, body) = within("the head of an answer", response).await.unwrap().into_parts();
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let fields = head.headers.iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
    (Answer { status: head.status.as_u16(), fields, body: Vec::new() }, Body(body))
}

/// The body of an answer that is being read. Dropped early, it resets the stream.
#[derive(Debug)]
pub(crate) struct Body(RecvStream);

impl Body {
    /// The next piece; `None`: the body is whole. A stream that is reset fails the test.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        self.piece().await.unwrap_or_else(|error| panic!("{error} in the middle of a body"))
    }

    /// The same; a stream that is reset is an error.
    pub(crate) async fn piece(&mut self) -> Result<Option<Vec<u8>>, h2::Error> {
        let Some(data) = within("a piece of a body", self.0.data()).await else { return Ok(None) };
        let data = data?;
        self.0.flow_control().release_capacity(data.len()).unwrap();
        Ok(Some(data.to_vec()))
    }
}
