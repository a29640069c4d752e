//! `[queue]`: how many requests run a model at the same time, and how the others wait.

use std::time::Duration;

use crate::config::raw::Section;
use crate::config::types::Queue;

const HOUR: Duration = Duration::from_secs(3_600);

pub(super) fn queue(mut queue: Section<'_>) -> Queue {
    Queue {
        slots: queue.number("slots", 4, 1..=4_096),
        length: queue.number("length", 256, 0..=65_536),
        wait: queue.duration("wait", Duration::from_secs(60), HOUR),
    }
}
