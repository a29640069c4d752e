//! One GET in plain HTTP: what the commands ask a neighbour on this machine.
//!
//! Guarantees: an answer within the deadline or an error; no more than [`MOST`] bytes are read; nothing is followed.
//! Does not: speak TLS, or send a credential.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, ToSocketAddrs};

/// Bytes of an answer that are read.
const MOST: u64 = 1024 * 1024;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Asks, and reads to the end of the answer.
pub(super) async fn get(address: impl ToSocketAddrs, path: &str, within: Duration) -> io::Result<Answer> {
    tokio::time::timeout(within, ask(address, path)).await.map_err(io::Error::from)?
}

async fn ask(address: impl ToSocketAddrs, path: &str) -> io::Result<Answer> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await?;
    let (mut bytes, mut socket) = (Vec::new(), socket.take(MOST));
    while !is_whole(&String::from_utf8_lossy(&bytes)) && socket.read_buf(&mut bytes).await? > 0 {}
    parse(&String::from_utf8_lossy(&bytes)).ok_or_else(|| io::Error::other("the answer is not HTTP"))
}

/// A server may keep the connection: then `Content-Length` is the end.
fn is_whole(text: &str) -> bool {
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    length.is_some_and(|length: usize| body.len() >= length)
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.get(..3)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_http_is_an_answer() {
        let answer = parse("HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}");
        assert_eq!(answer, Some(Answer { status: 200, body: "{}".to_owned() }));
        for other in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 2\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert_eq!(parse(other), None, "{other:?}");
        }
    }
}
