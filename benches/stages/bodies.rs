//! What reading a body costs: `call::parse` (read, judged, written anew) beside what reads it less strictly, and beside
//! the least that must be done: one copy, one check of UTF-8, and for an image one decoding of base64.

use crate::judge::{Judge, conversation};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use criterion::{Criterion, Throughput};
use ollama_gateway::ollama::strict_json::{self, Writer};
use std::hint::black_box;
use std::time::Duration;

/// The same body with nothing but ASCII, and no angle brackets.
fn ascii_only(body: &[u8]) -> Bytes {
    let spell = |unit: &u16| match u8::try_from(*unit) {
        Ok(byte) if byte.is_ascii() && byte != b'<' && byte != b'>' => char::from(byte).to_string(),
        Ok(_) | Err(_) => format!("\\u{unit:04x}"),
    };
    let text = std::str::from_utf8(body).unwrap();
    text.encode_utf16().map(|unit| spell(&unit)).collect::<String>().into()
}

/// A question about a picture of one megabyte.
fn picture() -> (Bytes, String) {
    let mut image = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x04\0\0\0\x04\0\x08\x06\0\0\0".to_vec();
    let noise = |i: u64| u8::try_from((i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) & 0xFF).unwrap();
    image.extend((0..1_000_000).map(noise));
    let encoded = STANDARD.encode(&image);
    let message = serde_json::json!({ "role": "user", "content": "What is it?", "images": [encoded] });
    (serde_json::to_vec(&serde_json::json!({ "model": "tiny", "messages": [message] })).unwrap().into(), encoded)
}

/// The same body read in every way.
fn compare(criterion: &mut Criterion, name: &str, body: &Bytes, encoded: Option<&str>) {
    let (judge, blocking) =
        (Judge::new(""), Judge::new("blocked = [\"codename zebra\", \"internal only\", \"do not share\"]"));
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Bytes(body.len() as u64));
    group.sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2));
    group.bench_function("call::parse", |bencher| bencher.iter(|| judge.parse(black_box(body))));
    group.bench_function("call::parse, 3 blocked words", |bencher| bencher.iter(|| blocking.parse(black_box(body))));
    group.bench_function("strict_json read and written", |bencher| {
        bencher.iter(|| {
            let tree = strict_json::parse(black_box(body), 64).unwrap();
            let mut writer = Writer::over(body);
            writer.value(&tree);
            writer.into_pieces()
        });
    });
    group.bench_function("serde_json::Value read", |bencher| {
        bencher.iter(|| serde_json::from_slice::<serde_json::Value>(black_box(body)).unwrap());
    });
    group.bench_function("serde_json::Value read and written", |bencher| {
        bencher.iter(|| {
            let tree: serde_json::Value = serde_json::from_slice(black_box(body)).unwrap();
            serde_json::to_vec(&tree).unwrap()
        });
    });
    group.bench_function("the least: copy, UTF-8, base64", |bencher| {
        bencher.iter(|| {
            let copy = std::str::from_utf8(black_box(body)).unwrap().to_owned();
            (copy, encoded.map(|encoded| STANDARD.decode(black_box(encoded)).unwrap()))
        });
    });
    group.finish();
}

/// Bodies of all kinds.
pub(crate) fn bodies(criterion: &mut Criterion) {
    let prose = "The quick brown fox jumps over the lazy dog, and zwölf Boxkämpfer jagen Viktor. ".repeat(48);
    let code = "fn main() {\n    println!(\"{}\", \"hello\");\n}\n".repeat(80);
    // As Python and Go spell by default: `é` as `\u00e9`, `<` as `\u003c`.
    let ascii = ascii_only(&conversation("<p class=\"x\">Grüße, naïve façade — Ελλάδα</p>\n".repeat(60).trim(), 130));
    let (image, encoded) = picture();
    compare(criterion, "chat, 1 MB of prose", &conversation(prose.trim(), 250), None);
    compare(criterion, "chat, 0.9 MB of code", &conversation(code.trim(), 230), None);
    compare(criterion, "chat, 1 MB of foreign spelling", &ascii, None);
    compare(criterion, "chat, an image of 1 MB", &image, Some(&encoded));
    compare(criterion, "chat, small", &conversation("Why is the sky blue?", 1), None);
}
