//! The audit log, the newest records first, page by page.

use super::{heads, inside};
use crate::console::sessions::Session;
use crate::telemetry::audit::Page;
use maud::{Markup, html};
use serde_json::Value;

/// One page of it; `None`: none is kept.
pub(in crate::console) fn audit(session: &Session, page: Option<&Page>, is_first: bool) -> Markup {
    let main = html! {
        section {
            h1 { "Audit log" }
            @match page {
                None => { p.hint { "It is switched off, or cannot be read." } }
                Some(page) => {
                    div.wide {
                        table {
                            (heads(&["No", "Time", "Event", "Who", "From", "Action", "Object", "Outcome"]))
                            tbody { @for record in &page.records { (row(record)) } }
                        }
                    }
                    p.pages {
                        @if !is_first { a.button href="/console/audit" { "Newest" } }
                        @if let Some(before) = page.earlier {
                            a.button href={"/console/audit?before=" (before)} { "Earlier" }
                        }
                    }
                }
            }
            p.hint { "Whether the chain is whole says " code { "ollama-gateway audit verify" } "." }
        }
    };
    inside("/console/audit", session, main)
}

fn row(record: &Value) -> Markup {
    let text = |name: &str| match record.get(name) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let how = [text("status"), text("code"), text("outcome")];
    let how: Vec<_> = how.iter().filter(|part| !part.is_empty()).map(String::as_str).collect();
    let bad = matches!(text("outcome").as_str(), "refused" | "failed" | "upstream_failed" | "panicked");
    html! {
        tr {
            td.number { (text("seq")) }
            td { (text("time").get(..19).unwrap_or_default().replace('T', " ")) }
            td { (text("event")) }
            td { (text("principal")) }
            td { (text("client")) }
            td { (text("action")) }
            td { (text("object")) }
            td class=[bad.then_some("WARN")] title=(text("detail")) { (how.join(" ")) }
        }
    }
}
