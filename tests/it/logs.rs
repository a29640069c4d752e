//! Log lines as they leave the process: one event is one line, whatever is in it.

use ollama_gateway::config::types::{Log, LogFormat};
use ollama_gateway::telemetry::event::{About, SecurityEvent};
use ollama_gateway::telemetry::logs;
use ollama_gateway::telemetry::printable::is_hazardous;
use ollama_gateway::telemetry::request_id::RequestId;
use proptest::prelude::*;
use serde_json::Value;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().map_err(|_| io::ErrorKind::Other)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What `f` logs.
fn logged(format: LogFormat, level: &str, f: impl FnOnce()) -> Result<String, Box<dyn std::error::Error>> {
    let captured = Captured::default();
    let writer = captured.clone();
    let dispatch = logs::dispatch(&Log { format, level: level.to_owned() }, move || writer.clone())?;
    tracing::dispatcher::with_default(&dispatch, f);
    let bytes = captured.0.lock().map_err(|_| "poisoned")?.clone();
    Ok(String::from_utf8(bytes)?)
}

#[test]
fn a_json_line_has_its_keys_in_order_and_the_fields_apart() {
    let text = logged(LogFormat::Json, "info", || {
        let span = tracing::info_span!("request", id = "req_1", model = tracing::field::Empty);
        span.record("model", "m");
        span.in_scope(|| tracing::info!(level = "FATAL", n = 7_u64, ok = true, took = 0.5, "done"));
        tracing::debug!("not at this level");
    });
    let text = text.unwrap();
    assert_eq!(text.matches('\n').count(), 1);
    let line: Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(keys, ["timestamp", "level", "target", "module", "file", "line", "message", "fields", "spans"]);
    assert_eq!((&line["level"], &line["message"]), (&"INFO".into(), &"done".into()));
    assert_eq!((&line["target"], &line["module"]), (&"it::logs".into(), &"it::logs".into()));
    assert!(line["file"].as_str().unwrap().ends_with("tests/it/logs.rs") && line["line"].as_u64().unwrap() > 30);
    assert_eq!(line["fields"], serde_json::json!({"level": "FATAL", "n": 7, "ok": true, "took": 0.5}));
    assert_eq!(line["spans"], serde_json::json!([{"name": "request", "fields": {"id": "req_1", "model": "m"}}]));
    let timestamp = line["timestamp"].as_str().unwrap();
    assert!(timestamp.len() == 24 && timestamp.ends_with('Z'), "{timestamp}");
}

#[test]
fn a_security_event_names_itself_and_cuts_what_others_wrote() {
    let id = RequestId::new();
    let long = format!("\x1b[2J\nforged\u{202e}{}", "x".repeat(5000));
    let text = logged(LogFormat::Json, "info", || {
        let client = Some([192, 0, 2, 7].into());
        let reason = Some("bad_key");
        let about = About { client, request_id: Some(id), reason, detail: Some(&long), ..About::default() };
        SecurityEvent::AuthenticationFailure.report(&about);
    });
    let line: Value = serde_json::from_str(&text.unwrap()).unwrap();
    assert_eq!((&line["level"], &line["target"]), (&"WARN".into(), &"security".into()));
    let fields = &line["fields"];
    assert_eq!(fields["event"], "authentication_failure");
    assert_eq!((&fields["client"], &fields["reason"]), (&"192.0.2.7".into(), &"bad_key".into()));
    assert_eq!(fields["request_id"], id.as_str());
    assert!(fields.get("principal").is_none(), "what is not known stays out");
    let detail = fields["detail"].as_str().unwrap();
    assert!(detail.len() < 300 && detail.starts_with("\\u001b[2J\\u000aforged\\u202exxx") && detail.ends_with("x…"));
}

#[test]
fn a_level_that_is_no_filter_is_an_error() {
    assert!(logged(LogFormat::Json, "warn,===", || ()).is_err());
}

proptest! {
    #[test]
    fn no_text_begins_a_line_or_reaches_the_terminal(text in any::<String>(), json in any::<bool>()) {
        let hostile = format!("{text}\r\n\x1b]0;x\x07\u{9b}2J\u{85}\u{2028}\u{202e}\u{2066}\x7f");
        let format = if json { LogFormat::Json } else { LogFormat::Text };
        let written = logged(format, "trace", || {
            let span = tracing::info_span!("request", path = %hostile);
            span.in_scope(|| tracing::warn!(shown = %hostile, debugged = ?hostile, text = hostile.as_str(), "{hostile}"));
        }).unwrap_or_default();
        let line = written.strip_suffix('\n').unwrap_or_default();
        prop_assert!(!line.is_empty() && !line.chars().any(is_hazardous), "{line:?}");
        if json {
            let value: Value = serde_json::from_str(line).unwrap_or_default();
            prop_assert_eq!(value["fields"]["text"].as_str(), Some(hostile.as_str()), "escapes are JSON's own");
            prop_assert_eq!(value["message"].as_str(), Some(hostile.as_str()));
        }
    }
}
