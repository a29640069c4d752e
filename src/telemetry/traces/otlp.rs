//! The messages of OTLP that are sent (`opentelemetry/proto/collector/trace/v1`, `trace/v1`), by their field numbers.
//!
//! A test decodes them with the published definitions. The crates that carry those bring an SDK along, and a client that
//! reads proxies from the environment.

use prost::{Message, Oneof};

/// `ExportTraceServiceRequest`
#[derive(Clone, PartialEq, Message)]
pub(super) struct Export {
    #[prost(message, repeated, tag = "1")]
    pub(super) resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ResourceSpans {
    #[prost(message, optional, tag = "1")]
    pub(super) resource: Option<Resource>,
    #[prost(message, repeated, tag = "2")]
    pub(super) scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Resource {
    #[prost(message, repeated, tag = "1")]
    pub(super) attributes: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct ScopeSpans {
    #[prost(message, optional, tag = "1")]
    pub(super) scope: Option<Scope>,
    #[prost(message, repeated, tag = "2")]
    pub(super) spans: Vec<Span>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Scope {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) version: String,
}

/// One request.
#[derive(Clone, PartialEq, Message)]
pub struct Span {
    /// The trace.
    #[prost(bytes = "vec", tag = "1")]
    pub trace: Vec<u8>,
    /// This span.
    #[prost(bytes = "vec", tag = "2")]
    pub span: Vec<u8>,
    /// The span that it is a part of; empty: none.
    #[prost(bytes = "vec", tag = "4")]
    pub parent: Vec<u8>,
    /// What was done: `chat tiny:latest`.
    #[prost(string, tag = "5")]
    pub name: String,
    #[prost(int32, tag = "6")]
    kind: i32,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    pub begin: u64,
    /// Nanoseconds since 1970.
    #[prost(fixed64, tag = "8")]
    pub end: u64,
    #[prost(message, repeated, tag = "9")]
    attributes: Vec<KeyValue>,
    #[prost(message, optional, tag = "15")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(int32, tag = "3")]
    code: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct KeyValue {
    #[prost(string, tag = "1")]
    key: String,
    #[prost(message, optional, tag = "2")]
    value: Option<AnyValue>,
}

#[derive(Clone, PartialEq, Message)]
struct AnyValue {
    #[prost(oneof = "Value", tags = "1, 3, 4")]
    value: Option<Value>,
}

#[derive(Clone, PartialEq, Oneof)]
enum Value {
    #[prost(string, tag = "1")]
    Text(String),
    #[prost(int64, tag = "3")]
    Whole(i64),
    #[prost(double, tag = "4")]
    Number(f64),
}

/// `SPAN_KIND_SERVER`
const SERVER: i32 = 2;
/// `STATUS_CODE_ERROR`
const ERROR: i32 = 2;

impl KeyValue {
    fn new(key: &'static str, value: Value) -> Self {
        Self { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }) }
    }

    pub(super) fn text(key: &'static str, value: &str) -> Self {
        Self::new(key, Value::Text(value.to_owned()))
    }
}

impl Span {
    /// Of a request that was answered here.
    #[must_use]
    pub fn of_server(name: String) -> Self {
        Self { name, kind: SERVER, ..Self::default() }
    }

    /// With a text, where there is one.
    #[must_use]
    pub fn text(mut self, key: &'static str, value: Option<&str>) -> Self {
        self.attributes.extend(value.map(|value| KeyValue::text(key, value)));
        self
    }

    /// With a whole number, where there is one.
    #[must_use]
    pub fn whole(mut self, key: &'static str, value: Option<u64>) -> Self {
        let value = value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
        self.attributes.extend(value.map(|value| KeyValue::new(key, Value::Whole(value))));
        self
    }

    /// With a number, where there is one.
    #[must_use]
    pub fn number(mut self, key: &'static str, value: Option<f64>) -> Self {
        self.attributes.extend(value.map(|value| KeyValue::new(key, Value::Number(value))));
        self
    }

    /// As one that failed.
    #[must_use]
    pub fn failed(mut self, message: &'static str) -> Self {
        self.status = Some(Status { message: message.to_owned(), code: ERROR });
        self
    }
}
