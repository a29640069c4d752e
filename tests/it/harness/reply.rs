//! What the stand-in says: a script of bytes, waits and endings, so that it can misbehave in every way that a server can.

use super::message::Head;
use super::recording::{Answered, Recording};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// One step of a script.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Sends these.
    Bytes(Arc<[u8]>),
    /// Sends these so many times.
    Repeat(Arc<[u8]>, usize),
    /// Waits.
    Pause(Duration),
    /// Waits until the test opens the gate once more.
    Gate(Arc<Semaphore>),
    /// Says nothing more until the other side closes.
    Stall,
    /// Closes in order.
    Fin,
    /// Closes with a reset.
    Reset,
}

/// When the script starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// When the whole request is there.
    AfterBody,
    /// When its head is there.
    AfterHead,
}

/// A script.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) steps: Vec<Step>,
    pub(crate) start: Start,
}

/// The test's hand on a [`Step::Gate`].
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<Semaphore>);

impl Gate {
    /// Lets one more step pass.
    pub(crate) fn open(&self) {
        self.0.add_permits(1);
    }

    /// Lets all of them pass.
    pub(crate) fn open_all(&self) {
        self.0.add_permits(Semaphore::MAX_PERMITS / 2);
    }
}

impl Reply {
    /// A recorded answer: its head, its chunks one write each, its framing and its end.
    pub(crate) fn recording(name: &str) -> Self {
        let recording = Recording::load(name);
        let answered = recording.answered();
        let mut reply = Self::raw(recorded_head(answered));
        let chunked = answered.framing.as_deref() == Some("chunked");
        for chunk in &answered.chunks {
            let bytes = chunk.text.as_bytes();
            reply = reply.then(if chunked { chunk_of(bytes) } else { bytes.to_vec() });
        }
        match (answered.end.as_deref(), answered.framing.as_deref()) {
            (Some("incomplete:fin"), _) | (Some("complete"), Some("close")) => reply.then_fin(),
            (Some("incomplete:rst"), _) => reply.then_reset(),
            (Some("complete"), Some("chunked")) => reply.then(b"0\r\n\r\n".to_vec()),
            (Some("complete"), _) => reply,
            (end, _) => panic!("{name}: cannot be served, it ended with {end:?}"),
        }
    }

    /// A JSON answer with a length.
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self::typed(status, "application/json; charset=utf-8", body)
    }

    /// Any answer with a length.
    pub(crate) fn typed(status: u16, content_type: &str, body: &str) -> Self {
        let length = body.len();
        Self::raw(format!(
            "HTTP/1.1 {status} Said\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
    }

    /// A chunked answer: one chunk a piece.
    pub(crate) fn chunked<P: AsRef<[u8]>>(content_type: &str, pieces: impl IntoIterator<Item = P>) -> Self {
        let reply = Self::chunked_head(content_type);
        pieces.into_iter().fold(reply, |reply, piece| reply.then(chunk_of(piece.as_ref()))).then(b"0\r\n\r\n".to_vec())
    }

    /// The head of a chunked answer, nothing else yet.
    pub(crate) fn chunked_head(content_type: &str) -> Self {
        Self::raw(format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nTransfer-Encoding: chunked\r\n\r\n"))
    }

    /// Exactly these bytes, then the next request.
    pub(crate) fn raw(bytes: impl Into<Vec<u8>>) -> Self {
        Self { steps: vec![], start: Start::AfterBody }.then(bytes)
    }

    /// Nothing at all, until the other side closes.
    pub(crate) fn silence() -> Self {
        Self { steps: vec![Step::Stall], start: Start::AfterBody }
    }

    /// Closes without a word.
    pub(crate) fn hang_up() -> Self {
        Self { steps: vec![Step::Fin], start: Start::AfterBody }
    }

    /// And then these bytes.
    pub(crate) fn then(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Bytes(bytes.into().into()))
    }

    /// And then this piece as one chunk.
    pub(crate) fn then_chunk(self, piece: impl AsRef<[u8]>) -> Self {
        self.then(chunk_of(piece.as_ref()))
    }

    /// And then these bytes so many times.
    pub(crate) fn then_repeat(self, bytes: impl Into<Vec<u8>>, times: usize) -> Self {
        self.step(Step::Repeat(bytes.into().into(), times))
    }

    /// And then silence until the other side closes.
    pub(crate) fn then_stall(self) -> Self {
        self.step(Step::Stall)
    }

    /// And then an orderly close.
    pub(crate) fn then_fin(self) -> Self {
        self.step(Step::Fin)
    }

    /// And then a reset.
    pub(crate) fn then_reset(self) -> Self {
        self.step(Step::Reset)
    }

    /// Starts when the head of the request is there, not its end.
    pub(crate) fn before_body(mut self) -> Self {
        self.start = Start::AfterHead;
        self
    }

    /// Waits before everything.
    pub(crate) fn after(mut self, pause: Duration) -> Self {
        self.steps.insert(0, Step::Pause(pause));
        self
    }

    /// Waits between the writes.
    pub(crate) fn paced(self, pause: Duration) -> Self {
        self.between(|| Step::Pause(pause))
    }

    /// Sends each write after the second (the head and the first piece) only when the test opens the gate.
    pub(crate) fn gated(self) -> (Self, Gate) {
        let gate = Arc::new(Semaphore::new(0));
        let inner = Arc::clone(&gate);
        (self.between(move || Step::Gate(Arc::clone(&inner))), Gate(gate))
    }

    /// Sends nothing before the test opens the gate.
    pub(crate) fn held(mut self) -> (Self, Gate) {
        let gate = Arc::new(Semaphore::new(0));
        self.steps.insert(0, Step::Gate(Arc::clone(&gate)));
        (self, Gate(gate))
    }

    /// Only the first `writes` writes (the head counts as one), then what follows.
    pub(crate) fn cut_after(mut self, writes: usize) -> Self {
        self.steps.truncate(writes);
        self
    }

    /// Only the head: the answer to `HEAD`.
    pub(crate) fn head_only(mut self) -> Self {
        for (index, step) in self.steps.iter_mut().enumerate() {
            if let Step::Bytes(bytes) = step
                && let Some(end) = Head::end(bytes)
            {
                *bytes = bytes[..end].into();
                self.steps.truncate(index + 1);
                break;
            }
        }
        self
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    fn between(mut self, make: impl Fn() -> Step) -> Self {
        let steps = std::mem::take(&mut self.steps);
        for (index, step) in steps.into_iter().enumerate() {
            if index >= 2 {
                self.steps.push(make());
            }
            self.steps.push(step);
        }
        self
    }
}

/// A piece as one chunk of the wire.
pub(crate) fn chunk_of(piece: &[u8]) -> Vec<u8> {
    let mut chunk = format!("{:x}\r\n", piece.len()).into_bytes();
    chunk.extend_from_slice(piece);
    chunk.extend_from_slice(b"\r\n");
    chunk
}

/// The recorded head; `Connection: close` is left out, since it was the recorder's wish.
fn recorded_head(answered: &Answered) -> Vec<u8> {
    let status = answered.status.expect("a recording with a status");
    let mut head = format!("HTTP/1.1 {status} {}\r\n", answered.reason);
    for (name, value) in &answered.headers {
        let recorders_own = name.eq_ignore_ascii_case("connection") && answered.framing.as_deref() != Some("close");
        if !recorders_own {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str("\r\n");
    head.into_bytes()
}
