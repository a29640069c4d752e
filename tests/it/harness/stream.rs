//! An answer that is read piece by piece, by either version of HTTP.

use super::client::{Answer, Request};
use super::wire::{Body, Wire};
use super::{Gateway, http2};

/// A version of HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.1
    One,
    /// HTTP/2
    Two,
}

impl Version {
    pub(crate) const ALL: [Self; 2] = [Self::One, Self::Two];

    /// Sends a request on a connection of its own, and reads the whole answer.
    pub(crate) async fn send(self, gateway: &Gateway, request: Request) -> Answer {
        match self {
            Self::One => gateway.send(request).await,
            Self::Two => gateway.send_h2(request).await,
        }
    }
}

/// An answer whose head is there. Dropped, the client leaves.
pub(crate) struct Stream {
    /// The head.
    pub(crate) answer: Answer,
    from: From,
    /// What came until now.
    pub(crate) text: String,
}

enum From {
    One(Wire, Body),
    Two(http2::Body, http2::Client),
}

impl Stream {
    /// Sends a request on a connection of its own.
    pub(crate) async fn open(gateway: &Gateway, version: Version, request: &Request) -> Self {
        let (answer, from) = match version {
            Version::One => {
                let mut wire = Wire::tls(gateway).await;
                let (answer, body) = wire.open(request).await;
                (answer, From::One(wire, body))
            }
            Version::Two => {
                let mut client = http2::Client::connect(gateway).await;
                let (answer, body) = client.open(request.clone()).await;
                (answer, From::Two(body, client))
            }
        };
        Self { answer, from, text: String::new() }
    }

    /// Reads one more piece; `false`: the answer is whole. One that breaks off is an error.
    pub(crate) async fn more(&mut self) -> Result<bool, String> {
        let piece = match &mut self.from {
            From::One(wire, body) => body.piece(wire).await.map_err(|ending| format!("{ending:?}"))?,
            From::Two(body, _) => body.piece().await.map_err(|error| error.to_string())?,
        };
        let Some(piece) = piece else { return Ok(false) };
        self.text.push_str(std::str::from_utf8(&piece).expect("whole characters in every piece"));
        Ok(true)
    }

    /// Reads until so many whole frames are there: lines of NDJSON, or server-sent events.
    pub(crate) async fn frames(&mut self, count: usize) {
        while self.complete_frames() < count {
            assert_eq!(
                self.more().await,
                Ok(true),
                "after {} of {count} frames: {}",
                self.complete_frames(),
                self.text
            );
        }
    }

    fn complete_frames(&self) -> usize {
        if self.is_events() { self.text.matches("\n\n").count() } else { self.text.matches('\n').count() }
    }

    fn is_events(&self) -> bool {
        self.answer.one("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
    }

    /// Reads to the end, which must be an orderly one, and returns all frames.
    pub(crate) async fn read_to_end(&mut self) -> Vec<String> {
        while self.more().await.unwrap_or_else(|error| panic!("{error} after {}", self.text)) {}
        let separator = if self.is_events() { "\n\n" } else { "\n" };
        self.text.split(separator).filter(|frame| !frame.trim().is_empty()).map(str::to_owned).collect()
    }

    /// Leaves: by HTTP/2 the stream alone is reset, and the connection stays.
    pub(crate) fn leave(self) -> Option<http2::Client> {
        match self.from {
            From::One(..) => None,
            From::Two(_, client) => Some(client),
        }
    }
}
