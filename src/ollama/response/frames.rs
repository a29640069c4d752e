//! Cuts a stream of bytes into frames: lines of NDJSON, or server-sent events.
//!
//! Guarantees: the frames are the same wherever the bytes were split; a frame is never longer than the bound; a frame
//! that came in one piece is borrowed, not copied. `LF`, `CRLF` and `CR` end a line of an event stream.
//! Does not: look into a frame, except for the fields of an event (see [`Event`]).
//! Answers: an upstream that sends one endless line (memory), and frames split over reads (`ollama-facts.md` (e)).

use std::borrow::Cow;

/// How a stream is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// One JSON value a line.
    Lines,
    /// Server-sent events.
    Events,
}

/// A frame above the bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Kept for the next frame even when it is empty; more is given back.
const KEPT_BUFFER: usize = 16 * 1024;

#[derive(Debug)]
pub(super) struct Splitter {
    framing: Framing,
    max: usize,
    /// The begin of a frame whose end has not come.
    buffer: Vec<u8>,
    /// The buffer's frame was handed out: it is emptied at the next call.
    taken: bool,
    /// The current line has bytes.
    line_begun: bool,
    /// The last byte was a `CR`: an `LF` now belongs to it.
    after_cr: bool,
}

impl Splitter {
    pub(super) fn new(framing: Framing, max: usize) -> Self {
        Self { framing, max, buffer: Vec::new(), taken: false, line_begun: false, after_cr: false }
    }

    /// The next whole frame of `chunk` from `at` on, its line ends included; `None` when more bytes are needed.
    pub(super) fn next<'a>(&'a mut self, chunk: &'a [u8], at: &mut usize) -> Result<Option<&'a [u8]>, TooLong> {
        self.forget_taken();
        self.skip_line_feed(chunk, at);
        let rest = chunk.get(*at..).unwrap_or_default();
        let end = self.end_of_frame(rest);
        let piece = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        if self.buffer.len() + piece.len() > self.max {
            return Err(TooLong);
        }
        *at += piece.len();
        if end.is_some() && self.buffer.is_empty() {
            return Ok(Some(piece));
        }
        self.buffer.extend_from_slice(piece);
        self.taken = end.is_some();
        Ok(self.taken.then_some(self.buffer.as_slice()))
    }

    /// Whether the bytes so far end inside a frame.
    pub(super) fn inside(&self) -> bool {
        !self.taken && !self.buffer.trim_ascii().is_empty()
    }

    fn forget_taken(&mut self) {
        if std::mem::take(&mut self.taken) {
            self.buffer.clear();
            self.buffer.shrink_to(KEPT_BUFFER);
        }
    }

    /// The `LF` of a `CRLF` whose `CR` ended the frame before.
    fn skip_line_feed(&mut self, chunk: &[u8], at: &mut usize) {
        if self.after_cr && self.buffer.is_empty() && chunk.get(*at) == Some(&b'\n') {
            *at += 1;
            self.after_cr = false;
        }
    }

    fn end_of_frame(&mut self, bytes: &[u8]) -> Option<usize> {
        match self.framing {
            Framing::Lines => memchr::memchr(b'\n', bytes).map(|at| at + 1),
            Framing::Events => self.end_of_event(bytes),
        }
    }

    /// An event ends with an empty line. Only new bytes are looked at: the state of the line is kept.
    fn end_of_event(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut from = 0;
        loop {
            let rest = bytes.get(from..).filter(|rest| !rest.is_empty())?;
            let Some(offset) = memchr::memchr2(b'\n', b'\r', rest) else {
                (self.line_begun, self.after_cr) = (true, false);
                return None;
            };
            let carriage_return = rest.get(offset) == Some(&b'\r');
            from += offset + 1;
            if offset == 0 && self.after_cr && !carriage_return {
                self.after_cr = false;
                continue;
            }
            let empty = offset == 0 && !self.line_begun;
            (self.line_begun, self.after_cr) = (false, carriage_return);
            if empty {
                return Some(from);
            }
        }
    }
}

/// The text of an event with `LF` alone as its line end.
pub(super) fn with_line_feeds(raw: &str) -> Cow<'_, str> {
    if raw.contains('\r') { Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n")) } else { Cow::Borrowed(raw) }
}

/// The fields of one event. Comments, `id` and `retry` are not kept: Ollama sends none.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event<'a> {
    pub(super) name: Option<&'a str>,
    pub(super) data: Cow<'a, str>,
    /// The text is an optional `event: …` line, one `data: …` line and an empty one: nothing else can be in it.
    pub(super) plain: bool,
}

impl<'a> Event<'a> {
    /// `None` if there is no data.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (mut name, mut data, mut plain) = (None, None::<Cow<'a, str>>, true);
        for line in text.strip_suffix("\n\n").unwrap_or(text).split('\n') {
            if let Some(value) = line.strip_prefix("data:") {
                plain &= value.starts_with(' ') && data.is_none();
                let value = value.strip_prefix(' ').unwrap_or(value);
                data = Some(data.map_or(Cow::Borrowed(value), |before| Cow::Owned(format!("{before}\n{value}"))));
            } else if let Some(value) = line.strip_prefix("event:") {
                plain &= value.starts_with(' ') && name.is_none() && data.is_none();
                name = Some(value.strip_prefix(' ').unwrap_or(value));
            } else {
                plain = false;
            }
        }
        data.map(|data| Self { name, data, plain })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(framing: Framing, pieces: &[&[u8]]) -> Vec<String> {
        let (mut splitter, mut frames) = (Splitter::new(framing, 64), Vec::new());
        for piece in pieces {
            let mut at = 0;
            while let Some(frame) = splitter.next(piece, &mut at).unwrap() {
                frames.push(String::from_utf8(frame.to_vec()).unwrap());
            }
        }
        frames
    }

    #[test]
    fn the_frames_do_not_depend_on_the_splits() {
        let streams: [(Framing, &str, &[&str]); 5] = [
            (Framing::Lines, "{}\n{\"a\":1}\r\nrest", &["{}\n", "{\"a\":1}\r\n"]),
            (Framing::Events, "data: 1\n\ndata: 2\n\n", &["data: 1\n\n", "data: 2\n\n"]),
            (Framing::Events, "data: 1\r\n\r\ndata: 2\r\n\r\n", &["data: 1\r\n\r", "data: 2\r\n\r"]),
            (Framing::Events, "data: 1\r\rdata: 2\r\r", &["data: 1\r\r", "data: 2\r\r"]),
            (Framing::Events, "event: a\ndata: 1\r\n\ndata: 2\n\r\n", &["event: a\ndata: 1\r\n\n", "data: 2\n\r"]),
        ];
        for (framing, stream, frames) in streams {
            let bytes = stream.as_bytes();
            for first in 0..=bytes.len() {
                for second in first..=bytes.len() {
                    let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                    assert_eq!(cut(framing, &pieces), frames, "{stream:?} at {first}, {second}");
                }
            }
        }
    }

    #[test]
    fn a_frame_has_a_bound() {
        let mut splitter = Splitter::new(Framing::Lines, 8);
        assert_eq!(splitter.next(b"12345", &mut 0), Ok(None));
        assert_eq!(splitter.next(b"6789", &mut 0), Err(TooLong));
        assert_eq!(Splitter::new(Framing::Lines, 8).next(b"123456789\n", &mut 0), Err(TooLong));
    }

    #[test]
    fn an_event_is_plain_only_if_nothing_else_is_in_it() {
        let event = Event::parse("event: a\ndata: {}\n\n").unwrap();
        assert_eq!((event.name, &*event.data, event.plain), (Some("a"), "{}", true));
        assert!(Event::parse(": ping\n\n").is_none());
        for odd in ["id: 1\ndata: {}\n\n", "data:{}\n\n", "data: {\ndata: }\n\n", ": x\ndata: {}\n\n", "\ndata: {}\n\n"]
        {
            assert!(!Event::parse(odd).unwrap().plain, "{odd:?}");
        }
    }
}
