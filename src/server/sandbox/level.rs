//! What the system lets this process do beyond serving: told once at the start, so that a missing sandbox is seen.
//!
//! Guarantees: reads `/proc/self/status` and changes nothing: whoever confined the process (itself, the unit, the
//! container, the pod), this says what came of it. Of files the kernel tells nothing: that is what this process did itself.

use std::collections::BTreeMap;

/// `CAP_NET_BIND_SERVICE`: ports below 1024.
const BIND: u64 = 1 << 10;

/// How far a fault of this process could reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Confinement {
    capabilities: Capabilities,
    no_new_privileges: Option<bool>,
    system_calls_filtered: Option<bool>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Capabilities {
    None,
    BindOnly,
    More,
    Unknown,
}

impl Capabilities {
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::BindOnly => "bind_only",
            Self::More => "more",
            Self::Unknown => "unknown",
        }
    }
}

impl Confinement {
    fn of(status: &str) -> Self {
        let lines: BTreeMap<_, _> = status.lines().filter_map(|line| line.split_once(':')).collect();
        let value = |name: &str| lines.get(name).map(|text| text.trim());
        let effective = value("CapEff").and_then(|bits| u64::from_str_radix(bits, 16).ok());
        Self {
            capabilities: effective.map_or(Capabilities::Unknown, |bits| match bits {
                0 => Capabilities::None,
                BIND => Capabilities::BindOnly,
                _ => Capabilities::More,
            }),
            no_new_privileges: value("NoNewPrivs").map(|text| text == "1"),
            system_calls_filtered: value("Seccomp").map(|text| text == "2"),
        }
    }

    /// `full`: nothing to gain; `partial`: something; `none`: everything that root may do.
    const fn level(self) -> &'static str {
        match (self.capabilities, self.no_new_privileges, self.system_calls_filtered) {
            (Capabilities::None | Capabilities::BindOnly, Some(true), Some(true)) => "full",
            (Capabilities::None | Capabilities::BindOnly, _, _) | (Capabilities::Unknown, Some(true), _) => "partial",
            (Capabilities::More | Capabilities::Unknown, _, _) => "none",
        }
    }
}

/// Logs it.
pub(in crate::server) fn tell() {
    let found = Confinement::of(&std::fs::read_to_string("/proc/self/status").unwrap_or_default());
    let (level, capabilities) = (found.level(), found.capabilities.name());
    let (no_new_privileges, system_calls_filtered) = (found.no_new_privileges, found.system_calls_filtered);
    let files = super::applied().files.name();
    macro_rules! line {
        ($level:ident, $text:literal) => {
            tracing::$level!(
                event = "confinement",
                level,
                capabilities,
                no_new_privileges,
                system_calls_filtered,
                files,
                $text
            )
        };
    }
    if level == "none" {
        line!(warn, "this process may do more than serve: run it by the unit in systemd/, or as a user of its own");
    } else {
        line!(info, "what the system lets this process do");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_follows_what_the_kernel_says() {
        let level = |caps: &str, privileges: &str, seccomp: &str| {
            let text = format!("Name:\tx\nCapEff:\t{caps}\nNoNewPrivs:\t{privileges}\nSeccomp:\t{seccomp}\n");
            Confinement::of(&text).level()
        };
        assert_eq!(level("0000000000000400", "1", "2"), "full");
        assert_eq!(level("0000000000000000", "1", "2"), "full");
        assert_eq!(level("0000000000000000", "0", "0"), "partial");
        assert_eq!(level("000001ffffffffff", "0", "0"), "none");
        assert_eq!(level("000001ffffffffff", "1", "2"), "none");
        assert_eq!(Confinement::of("").level(), "none");
    }
}
