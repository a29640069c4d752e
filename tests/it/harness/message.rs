//! HTTP/1.1 messages as bytes: enough to take them apart, strict where a test must notice something odd.

/// The head of a message: its first line, and its fields in the order of the wire.
#[derive(Debug, Clone, Default)]
pub(crate) struct Head {
    /// Without the line end.
    pub(crate) first_line: String,
    /// Names as they came.
    pub(crate) fields: Vec<(String, String)>,
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// After the chunk of size zero.
    Chunked,
    /// Where the connection ends.
    Close,
}

impl Head {
    /// Where a head ends in the bytes, if it does: the index after the empty line.
    pub(crate) fn end(bytes: &[u8]) -> Option<usize> {
        bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
    }

    /// Takes a head apart.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.split("\r\n");
        let first_line = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .take_while(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no colon in header line {line:?}"));
                (name.to_owned(), value.trim().to_owned())
            })
            .collect();
        Self { first_line, fields }
    }

    /// All values of a field, whatever the case of its name.
    pub(crate) fn all<'a>(&'a self, name: &str) -> Vec<&'a str> {
        values(&self.fields, name)
    }

    /// The one value of a field; more than one fails the test.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} more than once: {all:?}");
        all.first().copied()
    }

    /// How the body of a request with this head is framed.
    pub(crate) fn request_framing(&self) -> Framing {
        match self.framing() {
            Framing::Close => Framing::Length(0),
            framing @ (Framing::Length(_) | Framing::Chunked) => framing,
        }
    }

    /// How the body of an answer with this head is framed.
    pub(crate) fn framing(&self) -> Framing {
        if self.one("transfer-encoding").is_some_and(|te| te.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        self.one("content-length").map_or(Framing::Close, |length| Framing::Length(length.parse().unwrap()))
    }
}

/// All values of a field.
pub(crate) fn values<'a>(fields: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    fields.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
}

/// Takes a body out of its framing, piece by piece.
#[derive(Debug)]
pub(crate) struct Decoder {
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Length(u64),
    Close,
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailers,
    Done,
}

impl Decoder {
    /// At the start of a body.
    pub(crate) fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Length(length),
            Framing::Chunked => State::ChunkSize,
            Framing::Close => State::Close,
        };
        Self { state }
    }

    /// Whether the whole body was seen.
    pub(crate) fn done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the end of the connection is the end of the body.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self.state, State::Done | State::Close)
    }

    /// Takes the next piece of the body off the front of `buffer`; `None`: more bytes are needed, or the body is whole.
    /// One chunk of the wire is one piece.
    pub(crate) fn next(&mut self, buffer: &mut Vec<u8>) -> Option<Vec<u8>> {
        loop {
            match self.state {
                State::Done => return None,
                State::Close => return take_some(buffer, u64::MAX),
                State::Length(left) => {
                    let piece = take_some(buffer, left)?;
                    let left = left - piece.len() as u64;
                    self.state = if left == 0 { State::Done } else { State::Length(left) };
                    return Some(piece);
                }
                State::ChunkSize => {
                    let line = take_line(buffer)?;
                    let size = line.split(';').next().unwrap_or_default().trim();
                    let size = u64::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk size {line:?}"));
                    self.state = if size == 0 { State::Trailers } else { State::ChunkData(size) };
                }
                State::ChunkData(left) => {
                    let piece = take_some(buffer, left)?;
                    let left = left - piece.len() as u64;
                    self.state = if left == 0 { State::ChunkEnd } else { State::ChunkData(left) };
                    return Some(piece);
                }
                State::ChunkEnd => {
                    assert_eq!(take_line(buffer)?, "", "a chunk is longer than its size");
                    self.state = State::ChunkSize;
                }
                State::Trailers => {
                    if take_line(buffer)?.is_empty() {
                        self.state = State::Done;
                    }
                }
            }
        }
    }
}

fn take_some(buffer: &mut Vec<u8>, most: u64) -> Option<Vec<u8>> {
    let length = buffer.len().min(usize::try_from(most).unwrap_or(usize::MAX));
    (length > 0).then(|| buffer.drain(..length).collect())
}

fn take_line(buffer: &mut Vec<u8>) -> Option<String> {
    let end = buffer.windows(2).position(|two| two == b"\r\n")?;
    let line = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 2);
    Some(line)
}
