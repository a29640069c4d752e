//! Which process listens on a port, and with which environment it was started.
//!
//! Guarantees: reads `/proc` alone. Does not: see other users' processes, unless root asks.

use super::Machine;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// The variables of the process that listens on the port; `None` where it is not found or may not be read.
pub(super) fn environment(machine: &Machine, port: u16) -> Option<BTreeMap<String, String>> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| machine.read(table).unwrap_or_default());
    let sockets: BTreeSet<_> = tables.iter().flat_map(|table| sockets(table, port)).collect();
    let processes = std::fs::read_dir(machine.file("/proc")).ok()?;
    let owner = processes.flatten().find(|process| owns(&process.path(), &sockets))?;
    let bytes = std::fs::read(owner.path().join("environ")).ok()?;
    Some(variables(&String::from_utf8_lossy(&bytes)))
}

/// The inodes of the sockets that listen there: state `0A`, the port in hexadecimal after the address.
fn sockets(table: &str, port: u16) -> impl Iterator<Item = String> {
    let wanted = format!(":{port:04X}");
    table.lines().filter_map(move |line| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, state, inode) = (fields.next()?, fields.nth(1)?, fields.nth(5)?);
        (state == "0A" && local.ends_with(&wanted)).then(|| format!("socket:[{inode}]"))
    })
}

fn owns(process: &Path, sockets: &BTreeSet<String>) -> bool {
    let Ok(files) = std::fs::read_dir(process.join("fd")) else { return false };
    files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()).any(|target| {
        let target = target.to_string_lossy();
        sockets.contains(target.as_ref())
    })
}

fn variables(environ: &str) -> BTreeMap<String, String> {
    let pair = |text: &str| text.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    environ.split('\0').filter_map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_listening_socket_of_a_port_is_found() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:2CAA 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4711 1 x\n   \
                     1: 0100007F:2CAA 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 4712 1 x\n";
        assert_eq!(sockets(table, 11434).collect::<Vec<_>>(), ["socket:[4711]"]);
        assert_eq!(sockets(table, 11435).count(), 0);
        assert_eq!(variables("A=1\0B=x=y\0").get("B").map(String::as_str), Some("x=y"));
    }
}
