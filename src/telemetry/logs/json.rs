//! One event as one JSON object: `timestamp`, `level`, `target`, `module`, `file`, `line`, `message`, the event's own
//! fields under `fields`, and the spans around it, outermost first, under `spans`.
//!
//! Guarantees: the event's fields are apart from ours, so none of them can pass for a level or a target.
//! Does not: escape what only [`super::Escaping`] does.

use super::super::clock;
use serde::ser::{SerializeMap, SerializeSeq, Serializer};
use serde_json::value::RawValue;
use std::error::Error;
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
        let mut line = Vec::with_capacity(512);
        write_line(&mut serde_json::Serializer::new(&mut line), ctx, event).map_err(|_| fmt::Error)?;
        out.write_str(str::from_utf8(&line).map_err(|_| fmt::Error)?)?;
        out.write_char('\n')
    }
}

fn write_line<O, S>(out: O, ctx: &FmtContext<'_, S, JsonFields>, event: &Event<'_>) -> Result<O::Ok, O::Error>
where
    O: Serializer,
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    let (metadata, message) = (event.metadata(), Message::of(event));
    let mut line = out.serialize_map(None)?;
    line.serialize_entry("timestamp", &clock::rfc3339(clock::now()).to_string())?;
    line.serialize_entry("level", metadata.level().as_str())?;
    line.serialize_entry("target", metadata.target())?;
    line.serialize_entry("module", &metadata.module_path())?;
    line.serialize_entry("file", &metadata.file())?;
    line.serialize_entry("line", &metadata.line())?;
    line.serialize_entry("message", &message.0)?;
    line.serialize_entry("fields", &EventFields(event))?;
    if let Some(scope) = ctx.event_scope() {
        line.serialize_entry("spans", &Spans(std::cell::Cell::new(Some(scope))))?;
    }
    line.end()
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
struct EventFields<'a>(&'a Event<'a>);

impl serde::Serialize for EventFields<'_> {
    fn serialize<O: Serializer>(&self, out: O) -> Result<O::Ok, O::Error> {
        let mut fields = FieldWriter { map: out.serialize_map(None)?, failed: None };
        self.0.record(&mut fields);
        match fields.failed {
            None => fields.map.end(),
            Some(error) => Err(error),
        }
    }
}

struct FieldWriter<M: SerializeMap> {
    map: M,
    failed: Option<M::Error>,
}

impl<M: SerializeMap> FieldWriter<M> {
    fn write(&mut self, field: &Field, value: &(impl serde::Serialize + ?Sized)) {
        if field.name() != "message" && self.failed.is_none() {
            self.failed = self.map.serialize_entry(field.name(), value).err();
        }
    }
}

impl<M: SerializeMap> Visit for FieldWriter<M> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.write(field, &format_args!("{value:?}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.write(field, &format_args!("{value}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.write(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.write(field, &value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.write(field, &value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.write(field, &value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.write(field, &value);
    }
}

/// The spans around it. Taken once, by the one serialisation.
struct Spans<'a, S: for<'lookup> LookupSpan<'lookup>>(std::cell::Cell<Option<Scope<'a, S>>>);

impl<S: for<'lookup> LookupSpan<'lookup>> serde::Serialize for Spans<'_, S> {
    fn serialize<O: Serializer>(&self, out: O) -> Result<O::Ok, O::Error> {
        let mut list = out.serialize_seq(None)?;
        for span in self.0.take().into_iter().flat_map(Scope::from_root) {
            list.serialize_element(&One(span))?;
        }
        list.end()
    }
}

struct One<'a, S: for<'lookup> LookupSpan<'lookup>>(SpanRef<'a, S>);

impl<S: for<'lookup> LookupSpan<'lookup>> serde::Serialize for One<'_, S> {
    fn serialize<O: Serializer>(&self, out: O) -> Result<O::Ok, O::Error> {
        let extensions = self.0.extensions();
        let fields = extensions.get::<FormattedFields<JsonFields>>();
        let fields = fields.and_then(|fields| serde_json::from_str::<&RawValue>(&fields.fields).ok());
        let mut span = out.serialize_map(None)?;
        span.serialize_entry("name", self.0.metadata().name())?;
        span.serialize_entry("fields", &fields)?;
        span.end()
    }
}
