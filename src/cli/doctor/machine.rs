//! The clock, the names and the ports of this machine.

use super::{Finding, Machine, exposure};
use crate::config::Config;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::time::{Duration, SystemTime};

/// For one name.
const RESOLVING: Duration = Duration::from_secs(5);
/// A clock may differ a little from that of the machine where a file was written.
const SLACK: Duration = Duration::from_secs(300);

/// A clock that is wrong makes certificates invalid and keys end at the wrong time.
pub(super) fn clock(machine: &Machine) -> Finding {
    let built = std::env::current_exe().and_then(|file| file.metadata()?.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let remedy = "set the clock, and keep it set: systemctl enable --now systemd-timesyncd (or chrony)";
    if machine.now + SLACK < built {
        return Finding::wrong("clock", "the clock is behind the time at which this program was installed", remedy);
    }
    let kept =
        ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.sock", "/run/chrony-helper", "/run/ntpd.pid"];
    match kept.iter().find(|path| machine.file(path).exists()) {
        Some(_) => Finding::ok("clock", "the clock is kept by a time service"),
        None => Finding::unknown("clock", "no time service was found that keeps the clock", remedy),
    }
}

/// What the names of the configuration resolve to.
pub(super) async fn names(machine: &Machine, names: &[String]) -> Vec<Finding> {
    let own = exposure::addresses(machine);
    let mut findings = Vec::new();
    for name in names.iter().filter(|name| name.parse::<IpAddr>().is_err()) {
        let resolved = tokio::time::timeout(RESOLVING, tokio::net::lookup_host((name.as_str(), 443))).await;
        let addresses = resolved.ok().and_then(Result::ok).map(|found| found.map(|address| address.ip()).collect());
        findings.push(name_found(name, addresses.unwrap_or_default(), &own));
    }
    findings
}

fn name_found(name: &str, addresses: BTreeSet<IpAddr>, own: &BTreeSet<IpAddr>) -> Finding {
    if addresses.is_empty() {
        let remedy =
            "add its A or AAAA record, or take it out of server.names; no certificate is issued for it until then";
        return Finding::wrong("dns", format!("{name} does not resolve"), remedy);
    }
    let listed = addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if addresses.iter().any(|address| own.contains(address) || address.is_loopback()) {
        return Finding::ok("dns", format!("{name} is {listed}"));
    }
    let remedy =
        "right behind a router or a load balancer that passes ports 443 and 80 on; otherwise correct its record";
    Finding::warning("dns", format!("{name} is {listed}, which is no address of this machine"), remedy)
}

/// Whether the listeners can be had, or are had by the gateway itself.
pub(super) fn ports(config: &Config, gateway_runs: bool) -> Vec<Finding> {
    let https = config.server.https.iter().map(|address| ("server.https", *address));
    let http = config.server.http.iter().map(|address| ("server.http", *address));
    https.chain(http).map(|(key, address)| port(key, address, gateway_runs)).collect()
}

fn port(key: &str, address: SocketAddr, gateway_runs: bool) -> Finding {
    match bind(address) {
        Ok(()) if gateway_runs && address.port() != 0 => Finding::warning(
            "ports",
            format!("{key}: the gateway runs, but not on {address}"),
            "restart it: addresses change with a restart only; or it serves sockets that systemd opened",
        ),
        Ok(()) => Finding::ok("ports", format!("{key}: {address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse && gateway_runs => {
            Finding::ok("ports", format!("{key}: {address} is in use, and the gateway runs"))
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => Finding::wrong(
            "ports",
            format!("{key}: {address} is taken by another program"),
            format!("find it with `ss -ltnp 'sport = :{}'` and stop it, or listen elsewhere", address.port()),
        ),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Finding::warning(
            "ports",
            format!("{key}: this user may not listen on {address}"),
            "the service may, with AmbientCapabilities=CAP_NET_BIND_SERVICE; run doctor as root to try the port",
        ),
        Err(error) => Finding::wrong("ports", format!("{key}: {address}: {error}"), "correct the address"),
    }
}

/// As the gateway binds: an IPv6 address stands for itself alone.
fn bind(address: SocketAddr) -> std::io::Result<()> {
    let domain = socket2::Domain::for_address(address);
    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    // Only listening shows that another one listens already.
    socket.listen(1)?;
    drop(TcpListener::from(socket));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn a_clock_that_is_behind_is_wrong() {
        let root = tempfile::tempdir().unwrap();
        let machine = |now| Machine { root: root.path().to_owned(), now };
        assert_eq!(clock(&machine(SystemTime::UNIX_EPOCH)).verdict, Verdict::Wrong);
        let later = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 33);
        assert_eq!(clock(&machine(later)).verdict, Verdict::Unknown);
        std::fs::create_dir_all(root.path().join("run/systemd/timesync")).unwrap();
        std::fs::write(root.path().join("run/systemd/timesync/synchronized"), "").unwrap();
        assert_eq!(clock(&machine(later)).verdict, Verdict::Ok);
    }

    #[test]
    fn a_name_is_here_elsewhere_or_nowhere() {
        let [here, there] = ["192.0.2.1", "198.51.100.1"].map(|text| text.parse::<IpAddr>().unwrap());
        let own = BTreeSet::from([here]);
        let verdict = |addresses: &[IpAddr]| name_found("a.example", addresses.iter().copied().collect(), &own).verdict;
        assert_eq!(
            [verdict(&[here]), verdict(&[there]), verdict(&[])],
            [Verdict::Ok, Verdict::Warning, Verdict::Wrong]
        );
    }

    #[test]
    fn a_port_is_free_ours_or_anothers() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        assert_eq!(port("server.https", address, false).verdict, Verdict::Wrong);
        assert_eq!(port("server.https", address, true).verdict, Verdict::Ok);
        drop(taken);
        assert_eq!(port("server.https", address, false).verdict, Verdict::Ok);
        assert_eq!(port("server.https", address, true).verdict, Verdict::Warning);
    }
}
