//! System calls, by seccomp: those that no server makes are refused with EPERM.
//!
//! A list of what is refused, not of what is allowed: another C library or kernel must not be able to stop the service.
//! The unit's `SystemCallFilter=@system-service` is the tighter one of the two. Programs cannot be started, unless the
//! configuration has commands.

use super::Part;
use super::wanted::Commands;
use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

/// Others' memory and files; the kernel's own parts; whole-machine settings; namespaces; the ways around filters.
const REFUSED: [c_long; 48] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_personality,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
];

/// Starting programs.
const STARTS: [c_long; 2] = [libc::SYS_execve, libc::SYS_execveat];

/// Sockets below or beside IP: raw frames, the kernel's crypto, other machines' guests.
const FAMILIES: [i32; 3] = [libc::AF_PACKET, libc::AF_ALG, libc::AF_VSOCK];

pub(super) fn filter(commands: &Commands) -> Part {
    let applied = program(commands).is_some_and(|program| seccompiler::apply_filter(&program).is_ok());
    if applied { Part::On } else { Part::Kernel }
}

fn program(commands: &Commands) -> Option<BpfProgram> {
    let architecture: TargetArch = std::env::consts::ARCH.try_into().ok()?;
    let starts = if commands.is_empty() { STARTS.as_slice() } else { &[] };
    let refused = REFUSED.iter().chain(starts);
    #[expect(clippy::useless_conversion, reason = "a system call's number is narrower on other machines")]
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = refused.map(|call| (i64::from(*call), Vec::new())).collect();
    let families = FAMILIES.iter().filter_map(|family| family_is(*family)).collect();
    rules.insert(libc::SYS_socket, families);
    let refuse = SeccompAction::Errno(u32::try_from(libc::EPERM).ok()?);
    SeccompFilter::new(rules, SeccompAction::Allow, refuse, architecture).ok()?.try_into().ok()
}

fn family_is(family: i32) -> Option<SeccompRule> {
    let family = u64::try_from(family).ok()?;
    let condition = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family).ok()?;
    SeccompRule::new(vec![condition]).ok()
}
