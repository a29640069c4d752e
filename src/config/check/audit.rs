//! `[audit]`: what is recorded, in which files, how long.
//!
//! Guarantees: a key that has no meaning because the log is off is a fault: somebody counts on it.

use super::DAY;
use crate::config::error::Wrong;
use crate::config::raw::Section;
use crate::config::types::{Audit, AuditFiles, AuditPolicy};
use std::num::NonZeroU32;

const KIB: u64 = 1 << 10;
const GIB: u64 = 1 << 30;
const MOST_FILES: u64 = 1_000_000;

pub(super) fn audit(mut audit: Section<'_>) -> Audit {
    let on = audit.switch("enabled", AuditPolicy::On, AuditPolicy::Off, AuditPolicy::On);
    let hash = audit.switch("prompt_hash", true, false, false);
    let files = AuditFiles {
        size: audit.size("file_size", 64 * KIB * KIB, 4 * KIB..=64 * GIB),
        age: audit.duration("file_age", 30 * DAY, 36_500 * DAY),
        retention: audit.duration("retention", 400 * DAY, 36_500 * DAY),
        most: audit.item("max_files").and_then(|item| {
            let number = item.read(|item| item.integer(&(1..=MOST_FILES)))?;
            u32::try_from(number).ok().and_then(NonZeroU32::new)
        }),
    };
    if on == AuditPolicy::Off {
        let set = [("prompt_hash", hash)].into_iter().filter_map(|(key, set)| set.then_some(key));
        let bounds = ["file_size", "file_age", "retention", "max_files"].into_iter().filter(|key| audit.has(key));
        let set: Vec<_> = set.chain(bounds).collect();
        for key in set {
            let what = if key == "prompt_hash" { "is true" } else { "is set" };
            let hint = "take it out, or enable the audit log";
            audit.fault_of(key, Wrong::new(format!("{what}, but audit.enabled is false")).hint(hint));
        }
    }
    if files.retention < files.age {
        let hint = "a file is deleted whole: one that is open for longer keeps its records for longer";
        audit.fault_of("retention", Wrong::new("is shorter than audit.file_age").hint(hint));
    }
    let policy = match (on, hash) {
        (AuditPolicy::On, true) => AuditPolicy::WithPromptHash,
        (AuditPolicy::Off | AuditPolicy::On | AuditPolicy::WithPromptHash, _) => on,
    };
    Audit { policy, files }
}
