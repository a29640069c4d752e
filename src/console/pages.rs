//! The pages, as HTML. Whatever is put in is escaped by the macro.

use super::sessions::Session;
use crate::store::key_record::{KeyRecord, KeyState};
use crate::store::timestamp::Timestamp;
use crate::telemetry::clock;
use maud::{DOCTYPE, Markup, html};
use std::sync::Arc;

/// The role that a new key has unless another one is chosen.
const USUAL: &str = "user";

/// What the main page shows at first; the rest comes live.
pub(super) struct Overview<'a> {
    pub(super) session: &'a Session,
    pub(super) keys: &'a [Arc<KeyRecord>],
    pub(super) roles: &'a [&'a str],
    pub(super) said: Option<&'a str>,
}

fn frame(title: &str, header: Markup, main: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · ollama-gateway" }
                link rel="icon" href="/console/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/console/style.css";
                script src="/console/script.js" defer {}
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header { a.brand href="/console" { "ollama-gateway" } (header) }
                main id="main" { (main) }
            }
        }
    }
}

/// A few words and the way back.
pub(super) fn message(text: &str) -> Markup {
    frame(
        "Message",
        html! {},
        html! { p.notice role="alert" { (text) } p { a href="/console" { "Back to the console" } } },
    )
}

/// The door.
pub(super) fn sign_in(said: Option<&str>) -> Markup {
    let main = html! {
        section.door {
            h1 { "Sign in" }
            @if let Some(said) = said { p.notice role="alert" { (said) } }
            form method="post" action="/console/sign-in" {
                label for="key" { "API key of an admin" }
                input id="key" name="key" type="password" autocomplete="current-password" required autofocus;
                button type="submit" { "Sign in" }
            }
            p.hint { "No key yet? " code { "ollama-gateway key create --role admin --name NAME" } }
        }
    };
    frame("Sign in", html! {}, main)
}

/// A new key, this once.
pub(super) fn made(name: &str, key: &str) -> Markup {
    let main = html! {
        section {
            h1 { "The key of " (name) }
            p { "It is shown only now. Copy it; nobody can look it up again." }
            output.key { (key) }
            p { a.button href="/console" { "Done" } }
        }
    };
    frame("New key", html! {}, main)
}

/// The main page.
pub(super) fn overview(overview: &Overview<'_>) -> Markup {
    let header = html! {
        span.state id="state" role="status" { "connecting" }
        form method="post" action="/console/sign-out" {
            (token(overview.session)) button.quiet type="submit" { "Sign out" }
        }
    };
    let main = html! {
        h1.hidden { "What is happening now" }
        @if let Some(said) = overview.said { p.notice role="alert" { (said) } }
        (tiles())
        div.columns { (requests()) (refusals()) }
        (keys(overview))
        (events())
    };
    frame("Console", header, main)
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

fn events() -> Markup {
    html! {
        section {
            h2 { "Security events" }
            div.wide {
                table {
                    thead { tr { @for name in ["Time", "Event", "Client", "Caller", "Reason"] { th scope="col" { (name) } } } }
                    tbody id="events" {}
                }
            }
        }
    }
}

fn keys(overview: &Overview<'_>) -> Markup {
    let now = Timestamp::from(clock::now());
    html! {
        section {
            h2 { "Keys" }
            details {
                summary { "Make a key" }
                form.row method="post" action="/console/keys" {
                    (token(overview.session))
                    label { "Name" input name="name" required maxlength="64" autocomplete="off"; }
                    label { "Role" select name="role" { @for role in overview.roles { option selected[*role == USUAL] { (role) } } } }
                    label { "Ends after" input name="expires" placeholder="90d, or empty: never" autocomplete="off"; }
                    button type="submit" { "Make" }
                }
            }
            div.wide {
                table {
                    thead { tr { @for name in ["Name", "Role", "Id", "State", "Ends", "Change"] { th scope="col" { (name) } } } }
                    tbody { @for key in overview.keys.iter().rev() { (row(key, now, overview.session)) } }
                }
            }
        }
    }
}

fn row(key: &KeyRecord, now: Timestamp, session: &Session) -> Markup {
    let state = key.state(now);
    let id = key.id.as_str();
    let ends = key.expires_at.map_or_else(|| "never".to_owned(), |end| end.to_string());
    html! {
        tr {
            td { (key.name.as_str()) }
            td { (key.role) }
            td { code { (id) } }
            td { span class={"badge " (state.as_str())} { (state.as_str()) } }
            td { (ends) }
            td.change {
                @if state == KeyState::Active { (change(session, id, "rotate", html! { input type="hidden" name="overlap" value="24h"; })) }
                @if matches!(state, KeyState::Active | KeyState::Rotating) { (change(session, id, "revoke", html! {})) }
            }
        }
    }
}

fn change(session: &Session, id: &str, verb: &str, more: Markup) -> Markup {
    html! {
        form method="post" action={"/console/keys/" (verb)} data-ask={(verb) " the key " (id) "?"} {
            (token(session))
            input type="hidden" name="id" value=(id);
            (more)
            button.quiet type="submit" aria-label={(verb) " the key " (id)} { (verb) }
        }
    }
}

fn token(session: &Session) -> Markup {
    html! { input type="hidden" name="token" value=(session.token); }
}
