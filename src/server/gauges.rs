//! What is only true at the moment it is asked for: connections, keys, certificates, Ollama, the process itself.
//!
//! Guarantees: an answer in bounded time, also when Ollama does not accept; names of certificates are those of the
//! configuration, never a client's.

use super::sandbox::{self, Part};
use super::workers::Workers;
use crate::gateway::{Gateway, Phase};
use crate::telemetry::clock;
use crate::telemetry::metrics::exposition::{Kind, Page};
use crate::telemetry::metrics::metrics;
use crate::upstream::Upstream;
use std::sync::Weak;
use std::time::Duration;

/// The longest wait for Ollama, below Prometheus' own ten seconds.
const PROBE: Duration = Duration::from_secs(2);

/// The whole text of `/metrics`.
pub(super) async fn page(gateway: &Gateway, workers: &Weak<Workers>) -> String {
    let mut page = Page::new();
    metrics().write(&mut page);
    page.gauges(("build_info", "1, for this version."), "version", &[(env!("CARGO_PKG_VERSION").to_owned(), 1.0)]);
    let policy = gateway.policy();
    let up = tokio::time::timeout(PROBE, Upstream::probe(&policy.config.upstream)).await;
    gauge(&mut page, "upstream_up", "1 if Ollama accepts connections.", usize::from(matches!(up, Ok(Ok(())))));
    let draining = usize::from(gateway.phase() == Phase::Draining);
    gauge(&mut page, "draining", "1 if a stop is under way.", draining);
    gauge(&mut page, "connections_open", "Connections that are open.", gateway.connections.open());
    gauge(&mut page, "connection_addresses", "Addresses with open connections.", gateway.connections.addresses());
    gauge(&mut page, "connections_max", "Connections that may be open.", policy.config.server.max_connections);
    gauge(&mut page, "callers_in_flight", "Callers with a request in flight.", gateway.concurrency.subjects());
    let (running, waiting) = gateway.slots.load();
    gauge(&mut page, "queue_running", "Requests that run a model.", running);
    gauge(&mut page, "queue_waiting", "Requests that wait for their turn.", waiting);
    let reserved = gateway.ledger.reservations();
    gauge(&mut page, "budget_reservations", "Budgets that a request in flight has taken of.", reserved);
    let beside = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let tasks = beside.saturating_add(workers.upgrade().map_or(0, |workers| workers.tasks()));
    gauge(&mut page, "runtime_tasks", "Tasks of this process that are not over.", tasks);
    gauge(&mut page, "upstream_connections", "Connections to Ollama that are in use.", gateway.upstream.in_use());
    gauge(&mut page, "keys", "API keys, in whatever state.", gateway.keys.len());
    certificates(&mut page, gateway);
    confined(&mut page);
    process(&mut page);
    page.into_text()
}

fn gauge(page: &mut Page, name: &str, help: &str, value: usize) {
    page.single(name, help, (Kind::Gauge, value));
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below the limit of exact numbers")]
fn certificates(page: &mut Page, gateway: &Gateway) {
    let ends = gateway.certificates.served().into_iter();
    let ends: Vec<_> = ends.map(|(name, leaf)| (name, clock::unix_seconds(leaf.not_after) as f64)).collect();
    let about = ("certificate_expiry_timestamp_seconds", "When the certificate of a name ends.");
    page.gauges(about, "name", &ends);
}

/// What the process gave up by itself.
fn confined(page: &mut Page) {
    let applied = sandbox::applied();
    let parts =
        [("files", applied.files), ("system_calls", applied.system_calls), ("capabilities", applied.capabilities)];
    let parts = parts.map(|(name, part)| (name.to_owned(), f64::from(u8::from(part == Part::On))));
    page.gauges(("confined", "1 if the process confined itself in this."), "part", &parts);
}

/// As Prometheus' own client libraries name them; what cannot be read is left out.
fn process(page: &mut Page) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = kilobytes.and_then(|text| text.trim().trim_end_matches(" kB").parse::<usize>().ok());
    if let Some(bytes) = resident.and_then(|kilobytes| kilobytes.checked_mul(1024)) {
        gauge(page, "process_resident_memory_bytes", "Resident memory.", bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        gauge(page, "process_open_fds", "Open file descriptors.", open.count());
    }
}
