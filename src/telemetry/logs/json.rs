//! One event as one JSON object: `timestamp`, `level`, `target`, `module`, `file`, `line`, `message`, the event's own
//! fields under `fields`, and the spans around it, outermost first, under `spans`.
//!
//! Guarantees: the event's fields are apart from ours, so none of them can pass for a level or a target.
//! Does not: escape what only [`super::Escaping`] does.

use super::super::clock;
use super::super::json_text::Fields;
use serde_json::value::RawValue;
use std::fmt::{self, Debug};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields};
use tracing_subscriber::registry::{LookupSpan, Scope, SpanRef};

pub(super) struct JsonLine;

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, JsonFields>, mut out: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut line = Vec::with_capacity(1024);
        line.push(b'{');
        let mut fields = Fields::new(&mut line);
        write_fields(&mut fields, event);
        if let Some(scope) = ctx.event_scope() {
            spans(fields.name("spans"), scope);
        }
        line.extend_from_slice(b"}\n");
        out.write_str(str::from_utf8(&line).map_err(|_| fmt::Error)?)
    }
}

fn write_fields(fields: &mut Fields<'_>, event: &Event<'_>) {
    let (metadata, message) = (event.metadata(), Message::of(event));
    fields.text("timestamp", &clock::rfc3339(clock::now()).to_string());
    fields.text("level", metadata.level().as_str());
    fields.text("target", metadata.target());
    fields.text_or_null("module", metadata.module_path());
    fields.text_or_null("file", metadata.file());
    fields.value("line", &metadata.line());
    fields.text("message", &message.0);
    let inner = fields.name("fields");
    inner.push(b'{');
    event.record(&mut EventFields(Fields::new(inner)));
    inner.push(b'}');
}

/// The event's message.
struct Message(String);

impl Message {
    fn of(event: &Event<'_>) -> Self {
        let mut message = Self(String::new());
        if event.metadata().fields().field("message").is_some() {
            event.record(&mut message);
        }
        message
    }
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.0);
        }
    }
}

/// Its other fields.
struct EventFields<'a>(Fields<'a>);

impl EventFields<'_> {
    fn value(&mut self, field: &Field, value: &impl serde::Serialize) {
        if field.name() != "message" {
            self.0.value(field.name(), value);
        }
    }
}

impl Visit for EventFields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() != "message" {
            self.0.text(field.name(), value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.value(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.value(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.value(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.value(field, &value);
    }
}

/// The spans around it.
fn spans<'a, S: for<'lookup> LookupSpan<'lookup>>(out: &mut Vec<u8>, scope: Scope<'a, S>) {
    out.push(b'[');
    for (at, span) in scope.from_root().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        one(out, &span);
    }
    out.push(b']');
}

fn one<S: for<'lookup> LookupSpan<'lookup>>(out: &mut Vec<u8>, span: &SpanRef<'_, S>) {
    let extensions = span.extensions();
    let fields = extensions.get::<FormattedFields<JsonFields>>();
    let fields = fields.and_then(|fields| serde_json::from_str::<&RawValue>(&fields.fields).ok());
    out.push(b'{');
    let mut written = Fields::new(out);
    written.text("name", span.metadata().name());
    written.value("fields", &fields);
    out.push(b'}');
}
