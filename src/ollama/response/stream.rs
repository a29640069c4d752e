//! Streams of Ollama, frame by frame.
//!
//! Guarantees: only whole frames of the shape that the route streams are passed; the first error in any position, and the
//! first frame that is not understood, ends the stream with the gateway's own error in the caller's protocol, and nothing
//! of Ollama's comes after it; a stream never just stops: the protocol's end is written if Ollama did not. What comes out
//! does not depend on where the bytes were split.
//! Does not: read a clock or a socket; a deadline is the caller's, which then says [`StreamSanitiser::fail`].
//!
//! **Silent ends** (`ollama-facts.md` (d)). Where the connection closes cleanly without the protocol's end:
//! - `/api/chat`, `/api/generate`: a crash always has an `error` line, so this is Ollama's repeat abort (more than 30 equal
//!   tokens). The answer is finished politely: `done:true`, `done_reason:"stop"`.
//! - `/v1/chat/completions`, `/v1/completions`: a crash shows as a frame with an empty `model`, so this is the repeat abort:
//!   `finish_reason:"stop"`, `[DONE]`.
//! - `/v1/responses`, `/v1/messages`, progress lines: a crash and a repeat abort look alike. It is an error.
//!
//! A connection that was cut is an error everywhere.

use serde_json::Value;

use super::ending::{self, Seen};
use super::frames::{Event, Framing, Splitter, TooLong, with_line_feeds};
use super::rules::{Filter, OutputRules, Ruling};
use super::shape::{Kind, Reading, Shape};
use super::upstream_fault::{self, FaultFacts, UpstreamFault};
use super::usage::{Finish, Usage};
use super::{Context, private};
use crate::ollama::dialect::{Told, error_frames};
use crate::ollama::endpoint::Endpoint;

/// How a stream is treated.
pub struct StreamOptions {
    /// The id of the request, said in an error.
    pub request_id: String,
    /// Whether the caller asked for OpenAI's usage frame.
    pub usage_chunk: UsageChunk,
    /// Whether the caller may have `context`.
    pub context: Context,
    /// The longest frame in bytes.
    pub max_frame: usize,
    /// Rules for the text of the answer; without any, frames pass as they came.
    pub rules: Option<Box<dyn OutputRules>>,
}

/// OpenAI's extra frame with the usage, which the gateway always asks Ollama for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageChunk {
    /// The caller asked for it too.
    Show,
    /// It is noted and left out.
    Hide,
}

/// Where a stream stands after some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// More may come.
    Continue,
    /// The protocol's end was passed: nothing more is.
    Ended,
    /// The error and the protocol's end were written: nothing more is passed.
    Failed(UpstreamFault),
}

/// How the connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With the end of the body.
    Clean,
    /// Without it.
    Cut,
    /// A deadline passed.
    Timeout,
}

/// How the answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As it should.
    Complete,
    /// Ollama gave up after too many equal tokens, or a rule cut it; the caller got a polite end.
    Shortened,
    /// With an error.
    Failed(UpstreamFault),
    /// With an error of the gateway's own ([`StreamSanitiser::fail_with`]).
    GivenUp,
}

/// Lets through what is an answer, and only that.
pub struct StreamSanitiser {
    splitter: Splitter,
    answer: Answer,
}

impl StreamSanitiser {
    /// For one answer of `endpoint`.
    #[must_use]
    pub fn new(endpoint: Endpoint, options: StreamOptions) -> Self {
        let shape = Shape::of(endpoint);
        let StreamOptions { request_id, usage_chunk, context, max_frame, rules } = options;
        let filter = rules.map(|rules| Filter::new(shape, rules));
        let (seen, state, original) = (Seen::default(), Progress::Continue, None);
        let answer = Answer { endpoint, shape, request_id, usage_chunk, context, filter, seen, state, original };
        Self { splitter: Splitter::new(shape.framing(), max_frame), answer }
    }

    /// Takes bytes of Ollama's in, and appends what the caller gets.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Progress {
        let mut at = 0;
        while self.answer.state == Progress::Continue {
            match self.splitter.next(chunk, &mut at) {
                Ok(Some(frame)) => self.answer.take(frame, out),
                Ok(None) => break,
                Err(TooLong) => self.answer.fail(UpstreamFault::TooLong, out),
            }
        }
        self.answer.state
    }

    /// Nothing more comes: writes the end that is still missing.
    pub fn finish(&mut self, end: End, out: &mut Vec<u8>) -> Outcome {
        let fault = match end {
            End::Clean if !self.splitter.inside() => None,
            End::Clean | End::Cut => Some(UpstreamFault::Cut),
            End::Timeout => Some(UpstreamFault::Timeout),
        };
        self.answer.finish(fault, out)
    }

    /// The gateway itself gives the stream up.
    pub fn fail(&mut self, fault: &UpstreamFault, out: &mut Vec<u8>) {
        if self.answer.state == Progress::Continue {
            self.answer.fail(*fault, out);
        }
    }

    /// The gateway itself gives the stream up, for a reason that is not Ollama's (it shuts down, a budget is used up).
    pub fn fail_with(&mut self, facts: &FaultFacts, out: &mut Vec<u8>) {
        if self.answer.state == Progress::Continue {
            self.answer.write_error(facts, out);
            self.answer.state = Progress::Ended;
        }
    }

    /// What Ollama itself said when the stream failed, for the log alone (see `original`).
    #[must_use]
    pub fn original(&self) -> Option<&str> {
        self.answer.original.as_deref()
    }

    /// The gateway ends the answer here, as if its length were reached: a budget ends.
    pub fn finish_politely(&mut self, out: &mut Vec<u8>) {
        if self.answer.state == Progress::Continue {
            self.answer.end_politely(Finish::Length, out);
        }
    }

    /// What it cost so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.answer.seen.usage
    }
}

/// All of a sanitiser that does not cut bytes.
struct Answer {
    endpoint: Endpoint,
    shape: Shape,
    request_id: String,
    usage_chunk: UsageChunk,
    context: Context,
    filter: Option<Filter>,
    seen: Seen,
    state: Progress,
    original: Option<String>,
}

/// One frame, on its way out.
struct Frame<'a> {
    /// All of its bytes.
    raw: &'a str,
    json: &'a str,
    /// `raw` is nothing but `json` in its frame.
    plain: bool,
}

impl Answer {
    fn take(&mut self, frame: &[u8], out: &mut Vec<u8>) {
        let taken = match (std::str::from_utf8(frame), self.shape.framing()) {
            (Ok(text), Framing::Lines) => self.line(text, out),
            (Ok(text), Framing::Events) => self.event(text, out),
            (Err(_), _) => Err(UpstreamFault::Invalid),
        };
        if let Err(fault) = taken {
            // The fields of an event are not JSON: what follows them is.
            let json = memchr::memchr(b'{', frame).and_then(|at| frame.get(at..)).unwrap_or_default();
            self.original = upstream_fault::original(json);
            self.fail(fault, out);
        }
    }

    fn line(&mut self, raw: &str, out: &mut Vec<u8>) -> Result<(), UpstreamFault> {
        let json = raw.trim_ascii();
        if json.is_empty() {
            return Ok(());
        }
        let plain = raw.len() == json.len() + 1;
        self.pass(&Frame { raw, json, plain }, &self.shape.read(json)?, out)
    }

    fn event(&mut self, raw: &str, out: &mut Vec<u8>) -> Result<(), UpstreamFault> {
        let text = with_line_feeds(raw);
        let Some(event) = Event::parse(&text) else { return Ok(()) };
        if event.data == "[DONE]" && matches!(self.shape, Shape::ChatChunks | Shape::TextChunks) {
            self.flush(out);
            out.extend_from_slice(ending::DONE);
            self.state = Progress::Ended;
            return Ok(());
        }
        let reading = self.shape.read(&event.data)?;
        let named = self.shape.names_events();
        if named && event.name.is_some() && event.name != reading.event {
            return Err(UpstreamFault::Invalid);
        }
        let plain = event.plain && event.name.is_some() == named;
        self.pass(&Frame { raw: &text, json: &event.data, plain }, &reading, out)
    }

    fn pass(&mut self, frame: &Frame<'_>, reading: &Reading<'_>, out: &mut Vec<u8>) -> Result<(), UpstreamFault> {
        self.seen.note(reading);
        let hide_usage = reading.counted && self.usage_chunk == UsageChunk::Hide;
        let (rewrite, last) = match reading.kind {
            Kind::Unknown => return Ok(()),
            Kind::UsageOnly if hide_usage => return Ok(()),
            Kind::Piece | Kind::Finish | Kind::UsageOnly => (hide_usage, false),
            Kind::Rewrite => (true, false),
            Kind::End => (false, true),
            Kind::RewriteEnd => (true, true),
        };
        // An event's data may stand in several lines.
        let lines = !frame.plain && frame.json.contains('\n');
        if rewrite || lines || self.filter.is_some() {
            self.rewrite(frame, reading, out)?;
        } else if frame.plain {
            out.extend_from_slice(frame.raw.as_bytes());
        } else {
            self.write(frame.json, reading.event, out);
        }
        if last && self.state == Progress::Continue {
            self.state = Progress::Ended;
        }
        Ok(())
    }

    /// The slow path: fields go, and the text is sent through the rules.
    fn rewrite(&mut self, frame: &Frame<'_>, reading: &Reading<'_>, out: &mut Vec<u8>) -> Result<(), UpstreamFault> {
        let mut value: Value = serde_json::from_str(frame.json).map_err(|_| UpstreamFault::Invalid)?;
        private::strip(self.shape, &mut value, self.context);
        if reading.counted && self.usage_chunk == UsageChunk::Hide {
            private::strip_usage(&mut value);
        }
        let Some(filter) = &mut self.filter else {
            self.write(&value.to_string(), reading.event, out);
            return Ok(());
        };
        let (frames, ruling) = filter.take(value, reading.kind);
        self.write_all(&frames, out);
        if ruling == Ruling::Cut {
            self.end_politely(Finish::Filtered, out);
        }
        Ok(())
    }

    /// What the rules still hold back.
    fn flush(&mut self, out: &mut Vec<u8>) {
        if let Some(filter) = &mut self.filter {
            let frames = filter.flush();
            self.write_all(&frames, out);
        }
    }

    fn write_all(&mut self, frames: &[Value], out: &mut Vec<u8>) {
        for frame in frames {
            self.write(&frame.to_string(), frame.get("type").and_then(Value::as_str), out);
        }
        self.seen.next_sequence = self.filter.as_ref().map_or(self.seen.next_sequence, Filter::next_sequence);
    }

    fn write(&self, json: &str, event: Option<&str>, out: &mut Vec<u8>) {
        ending::write_frame(self.shape, json, event, out);
    }

    fn finish(&mut self, fault: Option<UpstreamFault>, out: &mut Vec<u8>) -> Outcome {
        match (self.state, fault) {
            (Progress::Ended, _) if self.seen.usage.finish == Finish::Filtered => return Outcome::Shortened,
            (Progress::Ended, _) if self.seen.usage.finish == Finish::Failed => return Outcome::GivenUp,
            (Progress::Ended, _) => return Outcome::Complete,
            (Progress::Failed(fault), _) => return Outcome::Failed(fault),
            (Progress::Continue, Some(fault)) => self.fail(fault, out),
            (Progress::Continue, None) if self.seen.finished => self.end_politely(self.seen.usage.finish, out),
            (Progress::Continue, None) if self.repeat_abort() => {
                self.end_politely(Finish::Repeated, out);
                return Outcome::Shortened;
            }
            (Progress::Continue, None) => self.fail(UpstreamFault::Cut, out),
        }
        match self.state {
            Progress::Failed(fault) => Outcome::Failed(fault),
            Progress::Continue | Progress::Ended => Outcome::Complete,
        }
    }

    /// Only where a crash cannot look like it.
    fn repeat_abort(&self) -> bool {
        let told_apart = matches!(self.shape, Shape::Chat | Shape::Generate | Shape::ChatChunks | Shape::TextChunks);
        told_apart && self.seen.usage.pieces > 0
    }

    fn end_politely(&mut self, finish: Finish, out: &mut Vec<u8>) {
        if finish != Finish::Filtered {
            self.flush(out);
        }
        self.seen.usage.finish = finish;
        let wanted = finish == Finish::Length && self.usage_chunk == UsageChunk::Show;
        let told = if wanted { ending::Told::Usage } else { ending::Told::Nothing };
        ending::polite((self.shape, told), &self.seen, finish, out);
        self.state = Progress::Ended;
    }

    fn fail(&mut self, fault: UpstreamFault, out: &mut Vec<u8>) {
        self.write_error(&fault.facts(), out);
        self.state = Progress::Failed(fault);
    }

    fn write_error(&mut self, facts: &FaultFacts, out: &mut Vec<u8>) {
        let told = Told { status: facts.status, code: facts.code, text: facts.text, request_id: &self.request_id };
        out.extend_from_slice(&error_frames(self.endpoint, &told, &self.seen.last()));
        self.seen.usage.finish = Finish::Failed;
    }
}
