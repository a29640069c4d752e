//! Requests and answers as values.

use super::message::values;
use serde_json::Value;

/// A request. `Host` and `Content-Length` are written where the test did not.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// With any method and no body.
    pub(crate) fn new(method: &str, path: &str) -> Self {
        Self { method: method.to_owned(), path: path.to_owned(), fields: Vec::new(), body: Vec::new() }
    }

    /// `GET`
    pub(crate) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// `POST` of JSON.
    pub(crate) fn post(path: &str, json: &Value) -> Self {
        Self::new("POST", path).header("Content-Type", "application/json").body(json.to_string())
    }

    /// A browser's question before a request.
    pub(crate) fn preflight(path: &str, origin: &str, method: &str) -> Self {
        Self::new("OPTIONS", path).header("Origin", origin).header("Access-Control-Request-Method", method)
    }

    /// With one more field.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a key.
    pub(crate) fn key(self, key: &str) -> Self {
        self.header("Authorization", &format!("Bearer {key}"))
    }

    /// With a body.
    pub(crate) fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// As HTTP/1.1.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let sent = |name| !values(&self.fields, name).is_empty();
        let framed = sent("content-length") || sent("transfer-encoding");
        let mut head = format!("{} {} HTTP/1.1\r\n", self.method, self.path);
        if values(&self.fields, "host").is_empty() {
            head.push_str("Host: localhost\r\n");
        }
        for (name, value) in &self.fields {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !framed && (!self.body.is_empty() || self.method == "POST") {
            head.push_str(&format!("Content-Length: {}\r\n", self.body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    /// All values of a field.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        values(&self.fields, name)
    }

    /// The one value of a field; more than one fails the test.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() <= 1, "{name} more than once: {all:?}");
        all.first().copied()
    }

    /// The request's id.
    pub(crate) fn id(&self) -> &str {
        self.one("x-request-id").expect("X-Request-Id")
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("UTF-8")
    }

    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Fails where the status is another.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    /// The stable code of a refusal, in any dialect.
    #[track_caller]
    pub(crate) fn code(&self) -> String {
        let body = self.json();
        let code = body.get("code").or_else(|| body.get("error")?.get("code"));
        code.and_then(Value::as_str).unwrap_or_else(|| panic!("no code in {body}")).to_owned()
    }
}
