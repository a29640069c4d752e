//! `[queue]`: how many requests run a model at the same time, and how the others wait.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::config::error::Wrong;
use crate::config::raw::{Item, Section};
use crate::config::types::{ModelSwitches, Queue};

const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn queue(mut queue: Section<'_>) -> Queue {
    let (slots, length) = (queue.number("slots", 4, 1..=16_384), queue.number("length", 256, 0..=65_536));
    let wait = queue.duration("wait", Duration::from_secs(60), HOUR);
    let per_minute = queue.read("model_switches_per_minute", None, per_minute);
    let loaded = queue.number("loaded_models", 1, 1..=64);
    let switches = per_minute.map(|per_minute| ModelSwitches { per_minute, loaded });
    if switches.is_none() && queue.has("loaded_models") {
        let wrong = Wrong::new("makes no difference where model_switches_per_minute is \"off\"");
        queue.fault_of("loaded_models", wrong.hint("leave it out, or set model_switches_per_minute"));
    }
    if let Some(switches) = switches.filter(|switches| switches.every() >= wait) {
        let every = humantime::format_duration(switches.every());
        let text = format!("lets a request for another model wait {every}, as long as queue.wait lets any wait");
        queue.fault_of("model_switches_per_minute", Wrong::new(text).hint("raise it, or queue.wait"));
    }
    Queue { slots, length, wait, switches }
}

/// A number, or `"off"`.
fn per_minute(item: &Item<'_>) -> Result<Option<NonZeroU32>, Wrong> {
    const HINT: &str = "\"off\" turns it off";
    match item.text() {
        Ok("off") => Ok(None),
        Ok(_) => Err(item.type_fault("a whole number").hint(HINT)),
        Err(_) => {
            let number = item.integer(&(1..=600)).map_err(|wrong| wrong.or_hint(|| HINT.into()))?;
            Ok(NonZeroU32::new(u32::try_from(number).unwrap_or(u32::MAX)))
        }
    }
}
