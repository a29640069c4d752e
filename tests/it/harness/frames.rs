//! HTTP/2 frame by frame: a client that may break every rule.

use super::Gateway;
use super::wire::Wire;

/// A frame.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// What a request met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Met {
    /// An answer with this status, and its body.
    Status(u16, Vec<u8>),
    /// A reset of the stream with this code.
    Reset(u32),
    /// The end of the connection, by `GOAWAY` with this code or without one.
    Gone(Option<u32>),
}

impl Met {
    /// A refusal, whichever way.
    pub(crate) fn refused(&self) -> bool {
        match self {
            Self::Status(status, _) => (400..500).contains(status),
            Self::Reset(_) | Self::Gone(_) => true,
        }
    }
}

/// A connection.
pub(crate) struct Frames {
    wire: Wire,
}

impl Frames {
    /// TLS, ALPN `h2`, the preface and empty settings.
    pub(crate) async fn connect(gateway: &Gateway) -> Self {
        Self::connect_with(gateway, &[]).await
    }

    /// The same with settings.
    pub(crate) async fn connect_with(gateway: &Gateway, settings: &[(u16, u32)]) -> Self {
        let mut wire = Wire::tls_with(gateway, "localhost", &["h2"]).await;
        wire.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
        let mut frames = Self { wire };
        let payload = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat());
        frames.write(Frame { kind: SETTINGS, flags: 0, stream: 0, payload: payload.collect() }).await;
        frames
    }

    /// Sends a frame.
    pub(crate) async fn write(&mut self, frame: Frame) {
        self.wire.write(&frame.bytes()).await;
    }

    /// Sends a frame as long as the other side takes any; `false`: it does not.
    pub(crate) async fn try_write(&mut self, frame: Frame) -> bool {
        self.wire.try_write(&frame.bytes()).await
    }

    /// Sends a head in one frame.
    pub(crate) async fn headers(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) {
        self.write(Frame { kind: HEADERS, flags: flags | END_HEADERS, stream, payload: block(fields) }).await;
    }

    /// Sends a piece of a body.
    pub(crate) async fn data(&mut self, stream: u32, flags: u8, bytes: &[u8]) {
        self.write(Frame { kind: DATA, flags, stream, payload: bytes.to_vec() }).await;
    }

    /// The next frame; `None`: the connection ended.
    pub(crate) async fn read(&mut self) -> Option<Frame> {
        let head = self.wire.take(9).await?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5] & 0x7f, head[6], head[7], head[8]]);
        let payload = self.wire.take(length).await?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until the fate of a stream is known. Settings are acknowledged on the way.
    pub(crate) async fn outcome(&mut self, stream: u32) -> Met {
        let (mut status, mut body) = (0, Vec::new());
        while let Some(frame) = self.read().await {
            match frame.kind {
                SETTINGS if frame.flags & 1 == 0 => {
                    self.write(Frame { kind: SETTINGS, flags: 1, stream: 0, payload: Vec::new() }).await;
                }
                GOAWAY if code(&frame.payload[4..]) != 0 => return Met::Gone(Some(code(&frame.payload[4..]))),
                RST_STREAM if frame.stream == stream => {
                    if status != 0 {
                        return Met::Status(status, body);
                    }
                    return Met::Reset(code(&frame.payload));
                }
                HEADERS if frame.stream == stream && status < 200 => status = status_of(&frame.payload),
                DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            if frame.stream == stream && matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0 {
                return Met::Status(status, body);
            }
        }
        Met::Gone(None)
    }
}

impl Frame {
    fn bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.payload.len()).unwrap().to_be_bytes();
        let stream = self.stream.to_be_bytes();
        [&length[1..], &[self.kind, self.flags], &stream, &self.payload].concat()
    }
}

fn code(payload: &[u8]) -> u32 {
    u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]])
}

/// A header block: every field a literal without indexing, nothing encoded, so that any byte can be in it.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// RFC 7541 §5.1 with a prefix of seven bits.
fn length(block: &mut Vec<u8>, mut left: usize) {
    if left < 127 {
        block.push(u8::try_from(left).unwrap());
        return;
    }
    block.push(127);
    left -= 127;
    while left >= 128 {
        block.push(u8::try_from(left % 128).unwrap() | 128);
        left /= 128;
    }
    block.push(u8::try_from(left).unwrap());
}

/// The status at the start of a header block: from the static table, or a literal of three digits.
fn status_of(block: &[u8]) -> u16 {
    let block = if block[0] & 0xe0 == 0x20 { &block[1..] } else { block };
    match block[0] {
        byte @ 0x88..=0x8e => [200, 204, 206, 304, 400, 404, 500][usize::from(byte - 0x88)],
        _ if block[1] & 0x80 == 0 => std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap(),
        _ => huffman_digits(&block[2..2 + usize::from(block[1] & 0x7f)]),
    }
}

/// Three digits in RFC 7541's code: `0`–`2` are five bits, `3`–`9` six.
fn huffman_digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |bit| (byte >> bit) & 1)).collect();
    let number =
        |from: usize, count: usize| bits[from..from + count].iter().fold(0_u16, |sum, bit| sum * 2 + u16::from(*bit));
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let five = number(at, 5);
        let (digit, used) = if five <= 2 { (five, 5) } else { (number(at, 6) - 0b01_1001 + 3, 6) };
        value = value * 10 + digit;
        at += used;
    }
    value
}

#[test]
fn digits_of_the_huffman_code_are_read() {
    // 429 and 421 as hyper writes them: 4 = 011010, 2 = 00010, 9 = 011111, 1 = 00001, padded with ones.
    assert_eq!(huffman_digits(&[0b0110_1000, 0b0100_1111, 0b1111_1111]), 429);
    assert_eq!(huffman_digits(&[0b0110_1000, 0b0100_0001]), 421);
}
