//! The bans: who is refused, until when, why; made and lifted.

use super::{change, heads, inside, token};
use crate::console::sessions::Session;
use crate::store::Ban;
use maud::{Markup, html};

/// Bans that are shown.
const SHOWN: usize = 500;

/// The bans that last.
pub(in crate::console) fn bans(session: &Session, bans: &[Ban]) -> Markup {
    let main = html! {
        section {
            h1 { "Bans" }
            details {
                summary { "Ban somebody" }
                form.row method="post" action="/console/bans" {
                    (token(session))
                    label { "Address, network, or id of a key" input name="id" required maxlength="64" autocomplete="off"; }
                    label { "For" input name="time" value="24h" required autocomplete="off"; }
                    label { "Why" input name="why" maxlength="200" autocomplete="off"; }
                    button type="submit" { "Ban" }
                }
            }
            div.wide {
                table {
                    (heads(&["Who", "Since", "Until", "Why", "Change"]))
                    tbody { @for ban in bans.iter().rev().take(SHOWN) { (row(ban, session)) } }
                }
            }
            @if bans.is_empty() { p.hint { "Nobody is banned." } }
            @if bans.len() > SHOWN { p.hint { "The newest " (SHOWN) " of " (bans.len()) "; " code { "ban list" } " shows all." } }
        }
    };
    inside("/console/bans", session, main)
}

fn row(ban: &Ban, session: &Session) -> Markup {
    let who = ban.who.to_string();
    html! {
        tr {
            td { code { (who) } }
            td { (ban.made_at) }
            td { (ban.ends_at) }
            td { (ban.why) }
            td.change { (change(session, "/console/bans/lift", ("lift", &who), html! {})) }
        }
    }
}
