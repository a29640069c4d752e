//! Files, by Landlock (Linux 5.13 and later).

use super::Part;
use landlock::{
    ABI, Access as _, AccessFs, BitFlags, Ruleset, RulesetAttr as _, RulesetCreatedAttr as _, RulesetError,
    RulesetStatus, path_beneath_rules,
};
use std::path::{Path, PathBuf};

/// What the C library, the resolver, the certificate store and the runtime read while a server runs.
const SYSTEM: [&str; 27] = [
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/run/resolvconf",
    "/run/NetworkManager",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/lib/ssl",
    "/usr/local/share/ca-certificates",
    "/etc/ld.so.cache",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/proc/self",
    "/proc/sys/vm/overcommit_memory",
    "/sys/fs/cgroup",
    "/sys/devices/system/cpu",
    "/dev/urandom",
];

/// Reads of these folders and of what the system needs, writes to the state folder, and nothing else.
pub(super) fn confine(state: &Path, readable: &[PathBuf]) -> Part {
    match restrict(state, readable) {
        Ok(RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced) => Part::On,
        Ok(RulesetStatus::NotEnforced) | Err(_) => Part::Kernel,
    }
}

fn restrict(state: &Path, readable: &[PathBuf]) -> Result<RulesetStatus, RulesetError> {
    // The rights of Linux 6.10; an older kernel enforces those that it knows.
    let all = AccessFs::from_all(ABI::V5);
    let read: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    let rules = Ruleset::default().handle_access(all)?.create()?;
    let rules = rules.add_rules(path_beneath_rules(SYSTEM, read))?.add_rules(path_beneath_rules(readable, read))?;
    let rules = rules.add_rules(path_beneath_rules(["/dev/null"], read | AccessFs::WriteFile))?;
    // A state folder is all of a gateway's, but nothing in it is a program.
    let status = rules.add_rules(path_beneath_rules([state], all & !AccessFs::Execute))?.restrict_self()?;
    Ok(status.ruleset)
}
