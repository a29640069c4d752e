//! Requests as raw bytes, each with its verdict: `tests/cases/smuggling/*.http` (the format is in the README there).
//!
//! Every case runs against one gateway and one stand-in; at the end nothing that the stand-in received may be anything
//! but a request of the gateway's own making.

use crate::harness::message::{Decoder, Head};
use crate::harness::{Gateway, Ollama, Setup, Wire, clean, package_file, routes};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long the gateway may take to close a connection that it must close.
const CLOSE: Duration = Duration::from_secs(5);

struct Case {
    file: String,
    remarks: BTreeMap<String, String>,
    template: String,
}

impl Case {
    fn load_all() -> Vec<Self> {
        let folder = package_file("tests/cases/smuggling");
        let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "http"));
        paths.sort();
        paths.iter().map(|path| Self::parse(path.file_stem().unwrap().to_str().unwrap(), path)).collect()
    }

    fn parse(file: &str, path: &std::path::Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap();
        let (remarks, template) = text.split_once("\n\n").unwrap_or_else(|| panic!("{file}: no empty line"));
        let remarks = remarks.lines().map(|line| {
            let (name, value) = line.strip_prefix("# ").and_then(|l| l.split_once(':')).expect("# name: value");
            (name.to_owned(), value.trim().to_owned())
        });
        Self { file: file.to_owned(), remarks: remarks.collect(), template: template.replace('\n', "") }
    }

    fn remark(&self, name: &str) -> &str {
        self.remarks.get(name).unwrap_or_else(|| panic!("{}: no line # {name}:", self.file))
    }

    /// The bytes to send.
    fn bytes(&self, gateway: &Gateway) -> Vec<u8> {
        let port = gateway.https().port().to_string();
        self.bytes_with([("{key}", &gateway.user), ("{admin}", &gateway.admin), ("{port}", &port)])
    }

    fn bytes_with(&self, names: [(&str, &str); 3]) -> Vec<u8> {
        let mut text = self.template.clone();
        for (name, value) in names {
            text = text.replace(name, value);
        }
        let bytes = unescape(&repeat(&text));
        let rest = Head::end(&bytes).map_or(0, |end| bytes.len() - end).to_string();
        replace(bytes, b"{length of the rest}", rest.as_bytes())
    }
}

/// The bytes of every case, by its file, with keys that are nobody's.
pub(crate) fn wires() -> Vec<(String, Vec<u8>)> {
    let names = [("{key}", "user"), ("{admin}", "admin"), ("{port}", "443")];
    Case::load_all().iter().map(|case| (case.file.clone(), case.bytes_with(names))).collect()
}

/// What came back, and whether the connection was closed after it.
#[derive(Debug)]
struct Outcome {
    statuses: Vec<u16>,
    closed: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn every_case_gets_its_verdict_and_upstream_sees_no_more_than_it_may() {
    let ollama = routes::recorded().await;
    let gateway = Setup::before(&ollama).start().await;
    let cases = Case::load_all();
    assert!(cases.len() > 200, "only {} cases", cases.len());
    let mut faults = Vec::new();
    for case in &cases {
        let before = ollama.count();
        let outcome = run(case, &gateway).await;
        let fault = wrong_answer(case, &outcome).or_else(|| wrong_upstream(case, &ollama, before));
        faults.extend(fault.map(|fault| format!("{}: {fault}", case.file)));
    }
    assert!(faults.is_empty(), "{} of {}\n{}", faults.len(), cases.len(), faults.join("\n"));
    clean::assert_all_clean(&ollama, "smuggling");
    let hidden = ollama.received().iter().any(|received| received.path() == "/api/delete");
    assert!(!hidden, "a request hidden in another one reached Ollama");
}

async fn run(case: &Case, gateway: &Gateway) -> Outcome {
    let mut wire = Wire::tls(gateway).await;
    wire.write(&case.bytes(gateway)).await;
    let expect = case.remark("expect");
    if expect.ends_with("close") {
        let (bytes, closed) = match tokio::time::timeout(CLOSE, wire.read_to_end()).await {
            Ok((bytes, _)) => (bytes, true),
            Err(_) => (wire.buffered(), false),
        };
        return Outcome { statuses: statuses(bytes), closed };
    }
    let mut statuses = Vec::new();
    for _ in expect.split(' ') {
        let to_head = case.template.starts_with("HEAD");
        match tokio::time::timeout(CLOSE, wire.try_answer(to_head)).await {
            Ok(Some(answer)) => statuses.push(answer.status),
            Ok(None) | Err(_) => break,
        }
    }
    Outcome { statuses, closed: false }
}

/// The statuses of all answers in these bytes, interim ones too.
fn statuses(mut bytes: Vec<u8>) -> Vec<u16> {
    let mut found = Vec::new();
    while let Some(end) = Head::end(&bytes) {
        let head = Head::parse(&bytes.drain(..end).collect::<Vec<_>>());
        let status = head.first_line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        found.push(status);
        let mut decoder = Decoder::new(head.framing());
        while decoder.next(&mut bytes).is_some() {}
    }
    found
}

fn wrong_answer(case: &Case, outcome: &Outcome) -> Option<String> {
    let expect = case.remark("expect");
    let mut words: Vec<&str> = expect.split(' ').collect();
    let must_close = words.last() == Some(&"close");
    if must_close {
        words.pop();
    }
    let right = if words == ["refused"] {
        outcome.statuses.iter().all(|status| (400..500).contains(status))
    } else {
        words.len() == outcome.statuses.len()
            && words
                .iter()
                .zip(&outcome.statuses)
                .all(|(word, status)| word.split('|').any(|alternative| alternative == status.to_string()))
    };
    let ended = if must_close && !outcome.closed { ", not closed" } else { "" };
    (!right || !ended.is_empty()).then(|| format!("{:?}{ended}, expected {expect}", outcome.statuses))
}

fn wrong_upstream(case: &Case, ollama: &Ollama, before: usize) -> Option<String> {
    let received = ollama.received();
    let seen: Vec<String> = received[before..].iter().map(|r| format!("{} {}", r.method(), r.path())).collect();
    let wanted = case.remark("upstream");
    let right = match (wanted, wanted.strip_prefix("at most ")) {
        ("nothing", _) => seen.is_empty(),
        (_, Some(most)) => seen.iter().all(|line| line == most),
        (exactly, None) => seen == [exactly],
    };
    (!right).then(|| format!("upstream saw {seen:?}, expected {wanted}"))
}

/// `{N times X}`
fn repeat(text: &str) -> String {
    let Some((before, rest)) = text.split_once(" times ") else { return text.to_owned() };
    let (start, count) = before.rsplit_once('{').expect("an opening brace");
    let (piece, after) = rest.split_once('}').expect("a closing brace");
    format!("{start}{}{after}", piece.repeat(count.parse().unwrap()))
}

fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        let (&kind, after) = rest.split_first().expect("a character after a backslash");
        rest = after;
        match kind {
            b'r' => bytes.push(b'\r'),
            b'n' => bytes.push(b'\n'),
            b't' => bytes.push(b'\t'),
            b'0' => bytes.push(0),
            b'\\' => bytes.push(b'\\'),
            b'x' => {
                let (digits, after) = rest.split_at(2);
                bytes.push(u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap());
                rest = after;
            }
            other => panic!("\\{} means nothing", other as char),
        }
    }
    bytes
}

fn replace(bytes: Vec<u8>, wanted: &[u8], with: &[u8]) -> Vec<u8> {
    match bytes.windows(wanted.len()).position(|window| window == wanted) {
        Some(at) => [&bytes[..at], with, &bytes[at + wanted.len()..]].concat(),
        None => bytes,
    }
}

#[test]
fn the_format_is_read_as_its_readme_says() {
    assert_eq!(unescape(&repeat("a\\r\\n\\x00\\\\{3 times b}c")), b"a\r\n\0\\bbbc");
    assert_eq!(replace(b"x{length of the rest}y".to_vec(), b"{length of the rest}", b"7"), b"x7y");
    assert_eq!(
        statuses(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 400 x\r\nContent-Length: 0\r\n\r\n".to_vec()),
        [200, 400]
    );
}
