//! What a process and its children have used, as the kernel counts it.
//!
//! Guarantees: the time of threads that have ended is counted (the figures are the process's, not its threads'), and that
//! of children, living or reaped. The kernel counts in hundredths of a second: a round has to be long beside that. What a
//! host takes from a virtual machine is told apart, for waits grow by it, and caches are cold after it.

use std::fs;

const TICKS_A_SECOND: f64 = 100.0; // USER_HZ, the same on every Linux

/// This process and all below it.
pub(crate) fn family(root: u32) -> Vec<u32> {
    let mut found = vec![root];
    let mut next = 0;
    while let Some(parent) = found.get(next).copied() {
        next += 1;
        let lists = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        for list in lists {
            let children = fs::read_to_string(list.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        }
    }
    found
}

/// Processor time so far, in microseconds.
pub(crate) fn processor_time(root: u32) -> f64 {
    let ticks = |pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        // utime, stime, and the same of children that were waited for.
        fields.split_whitespace().skip(11).take(4).filter_map(|n| n.parse::<f64>().ok()).sum::<f64>()
    };
    family(root).iter().map(ticks).sum::<f64>() * 1e6 / TICKS_A_SECOND
}

/// Memory in KiB: pages that are shared among the family count once.
pub(crate) fn memory(root: u32) -> f64 {
    let pss = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or("");
        line.split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0)
    };
    family(root).iter().map(pss).sum()
}

/// What the processors have done so far, in ticks.
pub(crate) struct Processors {
    asked: f64,
    stolen: f64,
}

impl Processors {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or("");
        // proc(5): user, nice, system, idle, iowait, irq, softirq, steal.
        let ticks: Vec<f64> = line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let of = |fields: &[usize]| fields.iter().filter_map(|field| ticks.get(*field)).sum();
        Self { asked: of(&[0, 1, 2, 5, 6, 7]), stolen: of(&[7]) }
    }

    /// Of the time that was asked for since then, the share that the host gave to others.
    pub(crate) fn stolen_since(&self) -> f64 {
        let now = Self::now();
        (now.stolen - self.stolen) / (now.asked - self.asked).max(1.0)
    }
}
