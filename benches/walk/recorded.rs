//! Exchanges with a real Ollama, from `tests/cases/ollama`.

use serde_json::Value;
use std::path::Path;

/// One of them.
pub(crate) struct Recorded {
    /// The body of the request.
    pub(crate) asked: String,
    /// The answer, as it came.
    pub(crate) chunks: Vec<Vec<u8>>,
    kind: String,
}

impl Recorded {
    pub(crate) fn read(name: &str) -> Self {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/ollama").join(name).with_extension("json");
        let case: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = |at: &str| case.pointer(at).unwrap().as_array().unwrap();
        let of_kind = |header: &&Value| header.get(0).unwrap() == "Content-Type";
        let kind = list("/response/headers").iter().find(of_kind).unwrap();
        let chunk = |chunk: &Value| text(chunk.get("text").unwrap()).into_bytes();
        Self {
            asked: text(case.pointer("/request/body_text").unwrap()),
            chunks: list("/response/chunks").iter().map(chunk).collect(),
            kind: text(kind.get(1).unwrap()),
        }
    }

    /// All of the answer.
    pub(crate) fn answer(&self) -> Vec<u8> {
        self.chunks.concat()
    }

    /// The head of the answer, sent with its length.
    pub(crate) fn head(&self) -> Vec<u8> {
        let (kind, length) = (&self.kind, self.answer().len());
        format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n").into_bytes()
    }
}
