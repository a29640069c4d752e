//! What was used: by caller, by model, by day.

use super::{inside, number};
use crate::console::sessions::Session;
use crate::store::Used;
use maud::{Markup, html};

/// One table of sums: its name, and the rows.
pub(in crate::console) type Sums = (&'static str, Vec<(String, Used)>);

/// The sums of the last `days` days.
pub(in crate::console) fn usage(session: &Session, days: i64, tables: &[Sums]) -> Markup {
    let main = html! {
        h1.hidden { "Usage" }
        p.pages {
            @for choice in [1, 7, 30, 365] {
                a.choice href={"/console/usage?days=" (choice)} aria-current=[(choice == days).then_some("true")] {
                    @if choice == 1 { "today" } @else { (choice) " days" }
                }
            }
        }
        @for (name, rows) in tables { (table(name, rows)) }
    };
    inside("/console/usage", session, main)
}

fn table(name: &str, rows: &[(String, Used)]) -> Markup {
    html! {
        section {
            h2 { "By " (name) }
            div.wide {
                table {
                    thead {
                        tr {
                            th scope="col" { (name) }
                            @for column in ["Requests", "Prompt tokens", "Output tokens", "Seconds of Ollama"] {
                                th.number scope="col" { (column) }
                            }
                        }
                    }
                    tbody {
                        @for (name, used) in rows {
                            tr {
                                td { @if name.is_empty() { span.faint { "none" } } @else { (name) } }
                                td.number { (number(used.requests)) }
                                td.number { (number(used.prompt_tokens)) }
                                td.number { (number(used.output_tokens)) }
                                td.number { (number(used.model_ms / 1000)) }
                            }
                        }
                    }
                }
            }
            @if rows.is_empty() { p.hint { "Nothing yet." } }
        }
    }
}
