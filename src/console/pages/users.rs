//! The users: who there is, locked or not, with which role.

use super::{change, heads, inside, token};
use crate::console::sessions::Session;
use crate::store::timestamp::Timestamp;
use crate::store::user_record::UserRecord;
use maud::{Markup, html};

/// The users, and the roles that they may have.
pub(in crate::console) fn users(session: &Session, users: &[UserRecord], roles: &[&str], now: Timestamp) -> Markup {
    let main = html! {
        section {
            h1 { "Users" }
            div.wide {
                table {
                    (heads(&["Name", "Role", "Second factor", "State", "Since", "Change"]))
                    tbody { @for user in users { (row(user, (roles, now), session)) } }
                }
            }
            @if users.is_empty() { p.hint { "None yet." } }
            p.hint {
                "Made by " code { "ollama-gateway user add" } ", which shows a password once; " code { "user totp" }
                " gives one a second factor."
            }
        }
    };
    inside("/console/users", session, main)
}

fn row(user: &UserRecord, (roles, now): (&[&str], Timestamp), session: &Session) -> Markup {
    let name = user.name.as_str();
    let state = user.state(now);
    html! {
        tr {
            td { (name) }
            td {
                form.inline method="post" action="/console/users/role" data-ask={"Another role for " (name) "?"} {
                    (token(session))
                    input type="hidden" name="id" value=(name);
                    select name="role" aria-label={"Role of " (name)} {
                        @for role in roles { option selected[**role == *user.role] { (role) } }
                    }
                    button.quiet type="submit" aria-label={"set the role of " (name)} { "set" }
                }
            }
            td { @if user.totp.is_some() { "yes" } @else { span.faint { "no" } } }
            td { span class={"badge " (state)} { (state) } }
            td { (user.created_at) }
            td.change {
                @if user.locked_at.is_none() {
                    (change(session, "/console/users/lock", ("lock", name), html! {}))
                }
                @if state != "active" { (change(session, "/console/users/unlock", ("unlock", name), html! {})) }
            }
        }
    }
}
