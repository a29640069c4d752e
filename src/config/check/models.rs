//! `[models.*]`: pins of single models.

use std::time::Duration;

use super::roles::{MAX_TOKENS, go_duration};
use crate::config::error::Wrong;
use crate::config::quantity::{self, quoted};
use crate::config::raw::Section;
use crate::config::types::{ModelPin, ModelPins};
use crate::ollama::model_name::ModelName;

/// A model that stays in memory until another one needs the room: for Go, any negative length.
const FOREVER: &str = "-1s";

pub(super) fn models(section: Section<'_>) -> ModelPins {
    let mut pins = ModelPins::default();
    for (name, section) in section.sections() {
        let Ok(model) = ModelName::parse(name) else {
            let hint = "for example [models.\"llama3.2:3b\"], in quotes; a pattern is not taken here";
            section.wrong(Wrong::new(format!("{} is no model", quoted(name))).hint(hint));
            drop(pin(section));
            continue;
        };
        let twice = Wrong::new(format!("is {} once more, in another spelling", model.canonical()));
        let source = section.source();
        let place = section.fault(twice.hint("leave one of them out"));
        if !pins.insert(&model, pin(section)) {
            source.note(place);
        }
    }
    pins
}

fn pin(mut section: Section<'_>) -> ModelPin {
    if !section.has("num_ctx") && !section.has("keep_alive") {
        section.wrong(Wrong::new("sets nothing").hint("num_ctx = 8192, keep_alive = \"30m\", or both"));
    }
    let num_ctx = section.item("num_ctx").and_then(|item| {
        let hint = || "leave it out, and the role's options hold".to_owned();
        item.read(|item| item.integer(&(256..=MAX_TOKENS)).map_err(|wrong| wrong.or_hint(hint)))
    });
    ModelPin {
        num_ctx: num_ctx.and_then(|tokens| u32::try_from(tokens).ok()),
        keep_alive: section.read("keep_alive", None, |item| keep_alive(item.text()?).map(Some)),
    }
}

fn keep_alive(text: &str) -> Result<String, Wrong> {
    const HINT: &str = "for example \"30m\"; \"forever\" keeps it until another model needs the room";
    if text == "forever" {
        return Ok(FOREVER.to_owned());
    }
    let length =
        quantity::duration(text, Duration::from_secs(86_400)).map_err(|wrong| wrong.or_hint(|| HINT.into()))?;
    go_duration(length).ok_or_else(|| Wrong::new(format!("{} is less than a second", quoted(text))).hint(HINT))
}
