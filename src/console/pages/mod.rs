//! The pages, as HTML. Whatever is put in is escaped by the macro.

pub(super) mod audit;
pub(super) mod bans;
pub(super) mod chat;
pub(super) mod door;
pub(super) mod keys;
pub(super) mod overview;
pub(super) mod usage;
pub(super) mod users;

use super::sessions::Session;
use maud::{DOCTYPE, Markup, html};

/// The pages that one who is signed in goes to.
const PLACES: [(&str, &str); 7] = [
    ("/console", "Now"),
    ("/console/usage", "Usage"),
    ("/console/keys", "Keys"),
    ("/console/users", "Users"),
    ("/console/bans", "Bans"),
    ("/console/audit", "Audit"),
    ("/console/chat", "Try a chat"),
];

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

/// A page of one who is signed in: `at` is its address.
fn inside(at: &str, session: &Session, main: Markup) -> Markup {
    let title = PLACES.iter().find(|(place, _)| *place == at).map_or("Console", |(_, title)| title);
    let header = html! {
        nav aria-label="Pages" {
            @for (place, name) in PLACES { a href=(place) aria-current=[(place == at).then_some("page")] { (name) } }
        }
        span.state id="state" role="status" {}
        span.who { (session.name()) }
        form method="post" action="/console/sign-out" { (token(session)) button.quiet type="submit" { "Sign out" } }
    };
    frame(title, header, main)
}

/// A few words and the way back.
pub(super) fn message(text: &str) -> Markup {
    let main = html! { p.notice role="alert" { (text) } p { a href="/console" { "Back to the console" } } };
    frame("Message", html! {}, main)
}

/// Why something was not done, and the way back.
pub(super) fn refused(session: &Session, text: &str, back: &str) -> Markup {
    inside(back, session, html! { p.notice role="alert" { (text) } p { a.button href=(back) { "Back" } } })
}

/// What every form carries.
fn token(session: &Session) -> Markup {
    html! { input type="hidden" name="token" value=(session.token); }
}

/// One button that changes one thing, asked about before.
fn change(session: &Session, action: &str, (verb, id): (&str, &str), more: Markup) -> Markup {
    html! {
        form method="post" action=(action) data-ask={(verb) " " (id) "?"} {
            (token(session))
            input type="hidden" name="id" value=(id);
            (more)
            button.quiet type="submit" aria-label={(verb) " " (id)} { (verb) }
        }
    }
}

/// A table's head.
fn heads(names: &[&str]) -> Markup {
    html! { thead { tr { @for name in names { th scope="col" { (name) } } } } }
}

/// A whole number with its thousands apart.
fn number(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0 {
        text.push('-');
    }
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}
