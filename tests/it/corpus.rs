//! The corpora of the fuzz targets as ordinary tests: every file, and variants of it.

use crate::differential::bodies::body;
use crate::differential::dice::Dice;
use crate::differential::grammar::damage;
use crate::fuzz_entries;
use crate::smuggling;
use std::panic::catch_unwind;
use std::path::PathBuf;

/// Variants of a file.
const VARIANTS: u64 = 30;

/// Cuts of a connection, as the targets that read one have them before its bytes: byte by byte, in halves of a line end, in
/// lines and more, and hardly at all.
const CUTS: [&[u8]; 4] = [b"`", b"b\x00\x01", b"c\x1f\x00\x50", b"a\xff"];

/// What messages are made of, so that a random row of it is nearly one.
const REQUEST_PARTS: [&str; 12] = [
    "GET / HTTP/1.1\r\n",
    "POST /api/chat HTTP/1.1\r\n",
    "POST /a HTTP/1.0\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
    "GET http://a/ HTTP/1.1\nHost: a\n\n",
    "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
    "Transfer-Encoding: gzip, Chunked\r\n",
    "Transfer-Encoding: identity\r\n",
    "Content-Length: 5, 5\r\n",
];
const ANSWER_PARTS: [&str; 12] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 No\r\n",
    "HTTP/1.1 101 Switching\r\n",
    "HTTP/1.1 103 Early Hints\r\n\r\n",
    "HTTP/1.1 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n",
    "Content-Type: a/b\r\n",
    "Content-Encoding: gzip\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
];
const COMMON_PARTS: [&str; 12] = [
    "Content-Length: 5\r\n",
    "Content-Length: 05\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "\r\n",
    "\n",
    "\r",
    "hello",
    "5\r\nhello\r\n",
    "5;a\r\nhello\r\n",
    "0\r\n",
    "0\r\nA: b\r\n\r\n",
];

fn run(target: &str, entry: fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/cases/corpus").join(target);
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(files.len() >= 20, "{} files of {target}", files.len());
    for file in files {
        let data = std::fs::read(&file).unwrap();
        for seed in 0..=VARIANTS {
            let variant = variant(&data, seed);
            let passed = catch_unwind(|| entry(&variant)).is_ok();
            assert!(passed, "{} variant {seed}: {:?}", file.display(), String::from_utf8_lossy(&variant));
        }
    }
}

/// The file itself, and then the file with some damage.
fn variant(data: &[u8], seed: u64) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    let mut variant = data.to_vec();
    let times = if seed == 0 { 0 } else { 1 + dice.below(3) };
    for _ in 0..times {
        damage(&mut variant, &mut dice);
    }
    variant
}

#[test]
fn strict_json() {
    run("strict_json", fuzz_entries::strict_json);
}

#[test]
fn call() {
    run("call", fuzz_entries::call);
}

/// What the corpus begins with, the grammar of the differential test has more of.
#[test]
fn call_with_generated_bodies() {
    let mut dice = Dice::new(5);
    for round in 0..6_000 {
        let at = round % fuzz_entries::ROUTES.len();
        let case = [b'a', b'A', b'!', 1][dice.below(4)];
        let mut data = vec![case + u8::try_from(at).unwrap()];
        data.extend(body(fuzz_entries::ROUTES[at], &mut dice));
        let passed = catch_unwind(|| fuzz_entries::call(&data)).is_ok();
        assert!(passed, "{:?}", String::from_utf8_lossy(&data));
    }
}

#[test]
fn frames() {
    run("frames", fuzz_entries::frames);
}

#[test]
fn multipart() {
    run("multipart", fuzz_entries::multipart);
}

#[test]
fn requests() {
    run("requests", fuzz_entries::requests::requests);
}

#[test]
fn answers() {
    run("answers", fuzz_entries::answers::answers);
}

/// What the corpus begins with, the table of raw requests has more of, and longer ones.
#[test]
fn requests_of_the_smuggling_cases() {
    for (file, wire) in smuggling::wires() {
        for (cuts, seed) in CUTS.iter().zip(0..) {
            let data = [cuts, &*variant(&wire, seed)].concat();
            let passed = catch_unwind(|| fuzz_entries::requests::requests(&data)).is_ok();
            assert!(passed, "{file} with the cuts {cuts:?}, variant {seed}");
        }
    }
}

#[test]
fn connections_of_generated_parts() {
    let mut dice = Dice::new(7);
    for _ in 0..20_000 {
        generated(&REQUEST_PARTS, fuzz_entries::requests::requests, &mut dice);
        generated(&ANSWER_PARTS, fuzz_entries::answers::answers, &mut dice);
    }
}

fn generated(parts: &[&str], entry: fn(&[u8]), dice: &mut Dice) {
    let mut data = dice.pick(&CUTS).to_vec();
    data[0] |= if dice.once_in(8) { 16 } else { 0 };
    for _ in 0..2 + dice.below(8) {
        let part = if dice.once_in(2) { dice.pick(parts) } else { dice.pick(&COMMON_PARTS) };
        data.extend_from_slice(part.as_bytes());
    }
    let passed = catch_unwind(|| entry(&data)).is_ok();
    assert!(passed, "{:?}", String::from_utf8_lossy(&data));
}

#[test]
fn model_name() {
    run("model_name", fuzz_entries::model_name);
}
