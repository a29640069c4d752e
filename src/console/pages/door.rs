//! The door, and the step from an issuer's answer to the console.

use super::frame;
use maud::{Markup, html};

/// The door. `issuer`: who signs people in too.
pub(in crate::console) fn sign_in(said: Option<&str>, issuer: Option<&str>) -> Markup {
    let main = html! {
        section.door {
            h1 { "Sign in" }
            @if let Some(said) = said { p.notice role="alert" { (said) } }
            @if let Some(issuer) = issuer {
                p { a.button.broad href="/console/oidc/begin" { "Sign in at " (issuer.trim_start_matches("https://")) } }
                p.or { "or" }
            }
            form method="post" action="/console/sign-in" {
                label { "User" input id="name" name="name" autocomplete="username" required autofocus; }
                label { "Password" input name="password" type="password" autocomplete="current-password" required; }
                label {
                    "One-time code, or a recovery code"
                    input name="code" inputmode="text" autocomplete="one-time-code" required;
                }
                button type="submit" { "Sign in" }
            }
            p.or { "or" }
            form method="post" action="/console/sign-in" {
                label { "API key of an admin" input id="key" name="key" type="password" autocomplete="off" required; }
                button type="submit" { "Sign in with the key" }
            }
            p.hint {
                "Nothing yet? " code { "ollama-gateway user add NAME --role admin" } ", then "
                code { "ollama-gateway user totp NAME" } "; or " code { "ollama-gateway key create --role admin --name NAME" } "."
            }
        }
    };
    frame("Sign in", html! {}, main)
}

/// Leads on by itself, and by hand.
pub(in crate::console) fn onward() -> Markup {
    let main = html! {
        meta http-equiv="refresh" content="0;url=/console";
        p { "Signed in. " a href="/console" { "To the console" } }
    };
    frame("Signed in", html! {}, main)
}
