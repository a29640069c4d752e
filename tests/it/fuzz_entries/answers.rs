//! Ollama's side of a connection: interim answers, and one answer. What follows it is nobody's.

use super::connection::{Arrival, Begun, Connection, Next, Side};
use super::second;
use bytes::{Buf as _, BytesMut};
use ollama_gateway::http1::framing::Framing;
use ollama_gateway::upstream::head::{After, Begin, Encoding, Expects, Head, HeadFault, begin};

/// Header lines of a head.
const LINES: usize = 64;

/// The first bytes are the cuts ([`Arrival::of`]), and whether the request was `HEAD`; the rest is what Ollama sends.
/// What is read does not depend on the cuts, and is what a second reader finds.
pub(crate) fn answers(data: &[u8]) {
    let Some(arrival) = Arrival::of(data) else { return };
    let expects = if arrival.first & 16 == 0 { Expects::Body } else { Expects::HeadAlone };
    let whole = Connection::after(Ollama(expects), &[arrival.wire]).read();
    let second = second::read(arrival.wire, |_| 0, |wire| head(wire, expects));
    assert_eq!(whole, second, "two readers disagree");
    let pieces = Connection::after(Ollama(expects), &arrival.reads()).read();
    assert_eq!(whole, pieces, "the cuts make a difference");
}

type Answer = (Head, Framing, After);

struct Ollama(Expects);

impl Side for Ollama {
    type Head = Answer;
    type Fault = HeadFault;

    fn begin(&mut self, bytes: &mut BytesMut) -> Result<Begun<Answer>, HeadFault> {
        let (length, begun) = match begin(bytes, self.0)? {
            Begin::More => (0, Begun::More),
            Begin::Interim(length) => (length, Begun::Interim),
            Begin::Head(length, head, framing, after) => {
                (length, Begun::Head((head, framing, after), framing, Next::Nothing))
            }
        };
        assert!(length <= bytes.len(), "a head longer than what is there");
        bytes.advance(length);
        Ok(begun)
    }
}

/// The second reader.
fn head(wire: &[u8], expects: Expects) -> Result<(usize, Begun<Answer>), HeadFault> {
    let mut lines = [httparse::EMPTY_HEADER; LINES];
    let mut read = httparse::Response::new(&mut lines);
    let length = match read.parse(wire) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok((0, Begun::More)),
        Err(_) => return Err(HeadFault::Malformed),
    };
    match read.code {
        Some(101) => Err(HeadFault::Switching),
        Some(100..=199) => Ok((length, Begun::Interim)),
        Some(code @ 200..=999) => {
            let answer = answer(&read, code, expects).ok_or(HeadFault::Framing)?;
            let framing = answer.1;
            Ok((length, Begun::Head(answer, framing, Next::Nothing)))
        }
        Some(_) | None => Err(HeadFault::Malformed),
    }
}

fn answer(read: &httparse::Response<'_, '_>, code: u16, expects: Expects) -> Option<Answer> {
    let values = |name| second::values(read.headers, name);
    let (lengths, codings) = (values("content-length"), values("transfer-encoding"));
    let length = second::length(&lengths).ok()?;
    let chunked = codings.iter().all(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    if lengths.len() > 1 || codings.len() > 1 || !chunked {
        return None;
    }
    let newer = read.version == Some(1);
    let framing = match (length, codings.len()) {
        _ if expects == Expects::HeadAlone || code == 204 || code == 304 => Framing::Length(0),
        (None, 0) => Framing::UntilClose,
        (Some(length), 0) => Framing::Length(length),
        (None, _) if newer => Framing::Chunked,
        (None | Some(_), _) => return None,
    };
    let last = !newer
        || framing == Framing::UntilClose
        || second::members(&values("connection")).contains(&"close".to_owned());
    let content_type = values("content-type").first().map(|value| Box::from(*value));
    let encoded = !values("content-encoding").is_empty();
    let encoding = if encoded { Encoding::Other } else { Encoding::Identity };
    let head = Head { status: http::StatusCode::from_u16(code).ok()?, content_type, encoding };
    Some((head, framing, if last { After::Closed } else { After::Kept }))
}
