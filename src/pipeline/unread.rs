//! The body of a request, before and if it is read at all.
//!
//! Guarantees: a request is refused on its head alone, with no byte of its body asked for (no `100 Continue` for those who
//! may not send); and yet the refusal arrives: a small body that is on its way is thrown away first, since a connection
//! that is reset with unread bytes can lose the answer. Answers `threats.md` §4.1 (early response with an unread body),
//! §4.2 (Expect).

use crate::http1::incoming::Incoming;
use http::header::{self, HeaderMap};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use std::time::Duration;

/// A body that is this small is on its way already.
const SMALL: u64 = 256 * 1024;
/// For a small body to arrive.
const DEADLINE: Duration = Duration::from_secs(1);

/// A body that may not have been read.
#[derive(Debug)]
pub struct Unread {
    body: Option<Incoming>,
    awaits: Awaits,
    discarded: Discarded,
}

/// Whether bytes were thrown away that nobody looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Discarded {
    Some,
    None,
}

/// Whether the client sends without being asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    Nothing,
    Continue,
}

impl Unread {
    pub(super) fn new(headers: &HeaderMap, body: Incoming) -> Self {
        let awaits = if headers.contains_key(header::EXPECT) { Awaits::Continue } else { Awaits::Nothing };
        Self { body: (!body.is_end_stream()).then_some(body), awaits, discarded: Discarded::None }
    }

    /// Whether the connection can go on: what a refused request carried may have been meant as a request of its own.
    #[must_use]
    pub fn leaves_the_connection_clean(&self) -> bool {
        self.body.is_none() && self.discarded == Discarded::None
    }

    /// Whether nothing of it can still come.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.body.is_none()
    }

    /// Takes the body out, to be read or passed on. `None`: there is none.
    pub(super) const fn take(&mut self) -> Option<Incoming> {
        self.body.take()
    }

    /// The body, to be read in place: what a refusal leaves of it is still known as unread.
    pub(super) const fn peek(&mut self) -> Option<&mut Incoming> {
        self.body.as_mut()
    }

    /// It has been read to its end.
    pub(super) fn done(&mut self) {
        self.body = None;
    }

    /// Throws a small body away.
    pub(super) async fn discard(&mut self) {
        let Some(body) = &mut self.body else { return };
        if self.awaits == Awaits::Continue || body.size_hint().lower() > SMALL {
            return;
        }
        if tokio::time::timeout(DEADLINE, read(body)).await == Ok(Read::ToTheEnd) {
            self.body = None;
            self.discarded = Discarded::Some;
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Read {
    ToTheEnd,
    InPart,
}

async fn read(body: &mut Incoming) -> Read {
    let mut left = SMALL;
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return Read::InPart };
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(length) {
            Some(rest) => left = rest,
            None => return Read::InPart,
        }
    }
    Read::ToTheEnd
}
