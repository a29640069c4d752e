//! What this process gives up once it listens: capabilities, new privileges, files that it does not need, system calls
//! that no server makes.
//!
//! ```text
//! configuration read ─► sockets bound ─► confine (one thread) ─► runtime: every thread begins confined
//! ```
//!
//! Guarantees: applied before there is a second thread, so none is left out; what cannot be applied on this kernel is
//! told, in the log and in the metrics, and never a reason not to serve. What the configuration names (certificates,
//! secrets) stays readable, in its folder, so that a file may be replaced; of the rest only what names, certificates and
//! time zones need. The state folder is the only one that is written to. Where the configuration has commands (secrets,
//! DNS-01), they may be run, and since nobody knows what they read, files are not confined then.
//! Does not: confine commands that an administrator types, or `try`; replace the unit's sandbox, which is tighter.
//! Answers `threats.md` §6.3 (13.x): what somebody who got into this process can reach.

mod files;
mod level;
mod system_calls;
mod wanted;

pub(super) use level::tell;
pub use wanted::{Outside, Wanted};

use crate::config::types::{Config, Sandbox};
use caps::CapSet;
use std::path::PathBuf;
use std::sync::OnceLock;

/// Whether a part of it is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// It is.
    On,
    /// The configuration says so.
    Off,
    /// The configuration has commands.
    Commands,
    /// This kernel cannot.
    Kernel,
}

impl Part {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Commands => "off: commands",
            Self::Kernel => "off: kernel",
        }
    }
}

/// What is in force, as far as this process did it itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Applied {
    /// Files.
    pub files: Part,
    /// System calls.
    pub system_calls: Part,
    /// Capabilities.
    pub capabilities: Part,
}

static APPLIED: OnceLock<Applied> = OnceLock::new();

/// What is in force in this process.
#[must_use]
pub fn applied() -> Applied {
    let none = Applied { files: Part::Off, system_calls: Part::Off, capabilities: Part::Off };
    APPLIED.get().copied().unwrap_or(none)
}

/// What may be done until the end of the process.
#[derive(Debug)]
pub struct Confined {
    /// The folders that may be read; `None`: all.
    readable: Option<Vec<PathBuf>>,
    programs: Programs,
}

/// Whether programs may be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Programs {
    Start,
    Refused,
}

impl Confined {
    const NOTHING: Self = Self { readable: None, programs: Programs::Start };
}

/// Gives up what serving does not need. To be called before there is another thread.
#[must_use]
pub fn confine(config: &Config, wanted: &Wanted) -> Confined {
    if config.server.sandbox == Sandbox::Off {
        return Confined::NOTHING;
    }
    let capabilities = give_up_capabilities();
    let readable = wanted.folders();
    let files =
        if wanted.commands.is_empty() { files::confine(&config.server.state, &readable) } else { Part::Commands };
    // The last: the others need a call that it refuses.
    let system_calls = system_calls::filter(&wanted.commands);
    APPLIED.get_or_init(|| Applied { files, system_calls, capabilities });
    let refused = wanted.commands.is_empty() && (system_calls == Part::On || files == Part::On);
    Confined {
        readable: (files == Part::On).then_some(readable),
        programs: if refused { Programs::Refused } else { Programs::Start },
    }
}

impl Confined {
    /// Whether a new configuration can be read by what this process may still do.
    ///
    /// # Errors
    /// [`Outside`]: it takes a restart.
    pub fn permits(&self, wanted: &Wanted) -> Result<(), Outside> {
        if let (Programs::Refused, Some(command)) = (self.programs, wanted.commands.first()) {
            return Err(Outside::Command(command.to_owned()));
        }
        self.readable.as_ref().map_or(Ok(()), |readable| wanted.within(readable))
    }
}

fn give_up_capabilities() -> Part {
    // Without CAP_SETPCAP the bounding set cannot be changed; nothing can be gained from it without the others.
    for capability in caps::all() {
        drop(caps::drop(None, CapSet::Bounding, capability));
    }
    let sets = [CapSet::Ambient, CapSet::Inheritable, CapSet::Effective, CapSet::Permitted];
    let left = sets.into_iter().filter(|set| caps::clear(None, *set).is_err()).count();
    if left == 0 { Part::On } else { Part::Kernel }
}
