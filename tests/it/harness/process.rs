//! A process of the binary: what it logs, and how it ends.

use super::gateway::field;
use super::within;
use serde_json::Value;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::Notify;

/// The last line of a log.
const ENDED: &str = "\u{0}ended";

/// A process that serves. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Process {
    child: Child,
    log: Arc<Log>,
}

/// What it wrote to standard error.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    changed: Notify,
}

impl Process {
    /// Starts it; it is not ready yet.
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = Arc::new(Log::default());
        tokio::spawn(collect(child.stderr.take().unwrap(), Arc::clone(&log)));
        Self { child, log }
    }

    /// The first event of this name, logged already or soon.
    pub(crate) async fn event(&self, name: &str) -> Value {
        self.event_where(name, |_| true).await
    }

    /// The first event of this name that is wanted.
    pub(crate) async fn event_where(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.logged_soon(name, || self.logged(name, &wanted)).await
    }

    /// The `n`th event of this name.
    pub(crate) async fn event_number(&self, name: &str, n: usize) -> Value {
        let is_it = || {
            let seen = std::cell::Cell::new(0);
            self.logged(name, |_| seen.replace(seen.get() + 1) + 1 == n)
        };
        self.logged_soon(name, is_it).await
    }

    async fn logged_soon(&self, name: &str, find: impl Fn() -> Option<Value>) -> Value {
        let wait = async {
            loop {
                let changed = self.log.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(event) = find() {
                    return event;
                }
                assert!(!self.log_text().contains(ENDED), "the gateway ended:\n{}", self.log_text());
                changed.await;
            }
        };
        match tokio::time::timeout(super::DEADLINE, wait).await {
            Ok(event) => event,
            Err(_) => panic!("no event {name:?} in the log:\n{}", self.log_text()),
        }
    }

    /// The record of a request: the one line that is written when it is over.
    pub(crate) async fn record(&self, request_id: &str) -> Value {
        self.event_where("request", |event| field(event, "request_id") == request_id).await
    }

    /// The first event of this name that is wanted, if it was logged already. What follows it is not read: it may be long.
    pub(crate) fn logged(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Option<Value> {
        let lines = self.log.lines.lock().unwrap();
        let mut events = lines.iter().filter_map(|line| serde_json::from_str(line).ok());
        events.find(|event| field(event, "event") == name && wanted(event))
    }

    /// All events of this name until now.
    pub(crate) fn events(&self, name: &str) -> Vec<Value> {
        let lines = self.log.lines.lock().unwrap();
        lines
            .iter()
            .filter_map(|l| serde_json::from_str(l).ok())
            .filter(|event| field(event, "event") == name)
            .collect()
    }

    /// Everything it wrote to standard error until now.
    pub(crate) fn log_text(&self) -> String {
        self.log.lines.lock().unwrap().join("\n")
    }

    /// The same once there can be no more.
    pub(crate) async fn whole_log(&self) -> String {
        let ended = async {
            while !self.log_text().contains(ENDED) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        within("the end of the log", ended).await;
        self.log_text()
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that it ever was.
    pub(crate) fn most_resident(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let script = format!("kill -{name} {}", self.pid());
        assert!(std::process::Command::new("sh").args(["-c", &script]).status().unwrap().success());
    }

    /// Asks it to end, and returns its exit code.
    pub(crate) async fn stop(&mut self) -> i32 {
        self.signal("TERM");
        self.ended().await
    }

    /// Waits for its end, and returns its exit code.
    pub(crate) async fn ended(&mut self) -> i32 {
        within("the gateway to end", self.child.wait()).await.unwrap().code().unwrap_or(-1)
    }

    /// Whether it ended within this time.
    pub(crate) async fn ends_within(&mut self, time: Duration) -> bool {
        tokio::time::timeout(time, self.child.wait()).await.is_ok()
    }
}

async fn collect(stderr: ChildStderr, log: Arc<Log>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.lines.lock().unwrap().push(line);
        log.changed.notify_waiters();
    }
    log.lines.lock().unwrap().push(ENDED.to_owned());
    log.changed.notify_waiters();
}
