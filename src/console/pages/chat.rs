//! Trying a chat; the answer comes in as it is made, by the script.

use super::{inside, token};
use crate::console::sessions::Session;
use maud::{Markup, html};

/// The page, with the models that whoever is signed in may use.
pub(in crate::console) fn chat(session: &Session, models: &[String]) -> Markup {
    let main = html! {
        section {
            h1 { "Try a chat" }
            p.hint {
                "Through the policy as everybody else, as " code { (session.name()) }
                ": what your role may not do is refused here too, and it is counted and recorded."
            }
            form.chat id="chat" method="post" action="/console/chat" {
                (token(session))
                label {
                    "Model"
                    @if models.is_empty() { input name="model" required autocomplete="off"; }
                    @else { select name="model" { @for model in models { option { (model) } } } }
                }
                label { "Message" textarea name="message" rows="4" required {} }
                p.pages { button type="submit" { "Send" } button.quiet type="button" id="stop" hidden { "Stop" } }
            }
            output.answer id="answer" for="chat" aria-live="polite" {}
            p.hint id="figures" {}
        }
    };
    inside("/console/chat", session, main)
}
