//! The keys: made, rotated, revoked.

use super::{change, frame, heads, inside, token};
use crate::console::sessions::Session;
use crate::store::key_record::{KeyRecord, KeyState};
use crate::store::timestamp::Timestamp;
use maud::{Markup, html};
use std::sync::Arc;

/// The role that a new key has unless another one is chosen.
const USUAL: &str = "user";
/// Keys that are shown.
const SHOWN: usize = 500;

/// The keys, and the roles that a new one may have.
pub(in crate::console) fn keys(session: &Session, keys: &[Arc<KeyRecord>], roles: &[&str], now: Timestamp) -> Markup {
    let main = html! {
        section {
            h1 { "Keys" }
            details {
                summary { "Make a key" }
                form.row method="post" action="/console/keys" {
                    (token(session))
                    label { "Name" input name="id" required maxlength="64" autocomplete="off"; }
                    label { "Role" select name="role" { @for role in roles { option selected[*role == USUAL] { (role) } } } }
                    label { "Ends after" input name="expires" placeholder="90d, or empty: never" autocomplete="off"; }
                    button type="submit" { "Make" }
                }
            }
            div.wide {
                table {
                    (heads(&["Name", "Role", "Id", "State", "Ends", "Change"]))
                    tbody { @for key in keys.iter().rev().take(SHOWN) { (row(key, now, session)) } }
                }
            }
            @if keys.len() > SHOWN { p.hint { "The newest " (SHOWN) " of " (keys.len()) "; " code { "key list" } " shows all." } }
        }
    };
    inside("/console/keys", session, main)
}

fn row(key: &KeyRecord, now: Timestamp, session: &Session) -> Markup {
    let state = key.state(now);
    let id = key.id.as_str();
    let ends = key.expires_at.map_or_else(|| "never".to_owned(), |end| end.to_string());
    let overlap = html! { input type="hidden" name="overlap" value="24h"; };
    html! {
        tr {
            td { (key.name.as_str()) }
            td { (key.role) }
            td { code { (id) } }
            td { span class={"badge " (state.as_str())} { (state.as_str()) } }
            td { (ends) }
            td.change {
                @if state == KeyState::Active { (change(session, "/console/keys/rotate", ("rotate", id), overlap)) }
                @if matches!(state, KeyState::Active | KeyState::Rotating) {
                    (change(session, "/console/keys/revoke", ("revoke", id), html! {}))
                }
            }
        }
    }
}

/// A new key, this once.
pub(in crate::console) fn made(name: &str, key: &str) -> Markup {
    let main = html! {
        section {
            h1 { "The key of " (name) }
            p { "It is shown only now. Copy it; nobody can look it up again." }
            output.key { (key) }
            p { a.button href="/console/keys" { "Done" } }
        }
    };
    frame("New key", html! {}, main)
}
