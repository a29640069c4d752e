//! What is happening now; the numbers come live.

use super::{heads, inside};
use crate::console::sessions::Session;
use maud::{Markup, html};

/// A certificate that is served.
pub(in crate::console) struct Served {
    pub(in crate::console) name: String,
    pub(in crate::console) ends: String,
    pub(in crate::console) days: u64,
}

/// The first page.
pub(in crate::console) fn overview(session: &Session, certificates: &[Served]) -> Markup {
    let main = html! {
        h1.hidden { "What is happening now" }
        (tiles())
        div.columns { (requests()) (refusals()) }
        (served(certificates))
        (events())
    };
    inside("/console", session, main)
}

fn tiles() -> Markup {
    let tiles = [
        ("in_flight", "requests in flight"),
        ("waiting", "requests in the queue"),
        ("rate", "requests a second"),
        ("tokens", "output tokens a second"),
        ("connections", "connections"),
        ("refused", "refused"),
        ("failed", "failed"),
        ("certificate", "days of the certificate"),
    ];
    html! {
        dl.tiles { @for (id, label) in tiles { div { dt { (label) } dd id=(id) { "–" } } } }
    }
}

fn requests() -> Markup {
    html! {
        section {
            h2 { "Requests a second, the last two minutes" }
            svg id="chart" viewBox="0 0 240 60" preserveAspectRatio="none" role="img" aria-label="Requests a second" {
                polyline.answered points="" {} polyline.refused points="" {}
            }
            p.legend { span.answered { "answered" } span.refused { "refused or failed" } }
        }
    }
}

fn refusals() -> Markup {
    html! {
        section {
            h2 { "Refusals by reason" }
            table { thead { tr { th scope="col" { "Code" } th.number scope="col" { "Since the start" } } } tbody id="refusals" {} }
        }
    }
}

fn served(certificates: &[Served]) -> Markup {
    html! {
        section {
            h2 { "Certificates" }
            div.wide {
                table {
                    thead { tr { th scope="col" { "Name" } th scope="col" { "Ends" } th.number scope="col" { "Days" } } }
                    tbody {
                        @for one in certificates { tr { td { (one.name) } td { (one.ends) } td.number { (one.days) } } }
                    }
                }
            }
        }
    }
}

fn events() -> Markup {
    html! {
        section {
            h2 { "Security events" }
            div.wide {
                table { (heads(&["Time", "Event", "Client", "Caller", "Reason"])) tbody id="events" {} }
            }
        }
    }
}
