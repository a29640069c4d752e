//! The real binary, running: what it logs, how it is stopped, how it is reached.

use super::client::{Answer, Request};
use super::setup::{START, Setup};
use super::wire::Wire;
use super::{http2, within, within_time};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStderr};
use tokio::sync::Notify;

/// A running gateway. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// Its configuration, which can be written again for a reload.
    pub(crate) setup: Setup,
    /// A key of the role `user`.
    pub(crate) user: String,
    /// A key of the role `admin`.
    pub(crate) admin: String,
    child: Child,
    log: Arc<Log>,
}

/// What the process wrote to standard error.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    changed: Notify,
}

impl Gateway {
    pub(crate) async fn start(setup: Setup) -> Self {
        let (user, admin) = (setup.key("user").await, setup.key("admin").await);
        let mut child = setup.command(&["serve"]).spawn().unwrap();
        let log = Arc::new(Log::default());
        tokio::spawn(collect(child.stderr.take().unwrap(), Arc::clone(&log)));
        let gateway = Self { setup, user, admin, child, log };
        within_time(START, "the gateway to be ready", gateway.event("ready")).await;
        gateway
    }

    /// Where HTTPS is served.
    pub(crate) fn https(&self) -> SocketAddr {
        self.listener("https")
    }

    /// Where plain HTTP is served.
    pub(crate) fn http(&self) -> SocketAddr {
        self.listener("http")
    }

    /// Where health, readiness and metrics are served.
    pub(crate) fn admin_listener(&self) -> SocketAddr {
        self.listener("admin")
    }

    /// The certificate it made, for clients to trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.setup.state().join("self-signed/cert.pem")
    }

    fn listener(&self, scheme: &str) -> SocketAddr {
        let events = self.events("listening");
        let event = events.iter().find(|event| field(event, "scheme") == scheme);
        field(event.unwrap_or_else(|| panic!("no {scheme} listener in {events:?}")), "address").parse().unwrap()
    }

    /// Sends a request by HTTP/1.1 over a TLS connection of its own, and reads the whole answer.
    pub(crate) async fn send(&self, request: Request) -> Answer {
        Box::pin(async move { Wire::tls(self).await.exchange(&request).await }).await
    }

    /// The same by HTTP/2.
    pub(crate) async fn send_h2(&self, request: Request) -> Answer {
        Box::pin(async move { http2::Client::connect(self).await.send(request).await }).await
    }

    /// The first event of this name, logged already or soon.
    pub(crate) async fn event(&self, name: &str) -> Value {
        self.event_where(name, |_| true).await
    }

    /// The first event of this name that is wanted.
    pub(crate) async fn event_where(&self, name: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let find = || self.events(name).into_iter().find(&wanted);
        let wait = async {
            loop {
                let changed = self.log.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(event) = find() {
                    return event;
                }
                assert!(!self.log_text().contains("\u{0}ended"), "the gateway ended:\n{}", self.log_text());
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

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Writes the configuration as it is set now, and asks for a reload.
    pub(crate) fn reload(&self) {
        self.setup.write();
        self.signal("HUP");
    }

    /// Revokes a key by the real command.
    pub(crate) async fn revoke(&self, key: &str) {
        let (code, _, stderr) = self.setup.run(&["key", "revoke", key_id(key)]).await;
        assert_eq!(code, 0, "key revoke: {stderr}");
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

/// The public id in a key: `PREFIX_ID_SECRET…`.
pub(crate) fn key_id(key: &str) -> &str {
    key.split('_').nth(1).unwrap_or_else(|| panic!("no id in a key of {} characters", key.len()))
}

/// A field of a log line as text, wherever the formatter put it; empty where it is not there.
pub(crate) fn field(event: &Value, name: &str) -> String {
    let places = [event.get(name), event.get("fields").and_then(|fields| fields.get(name))];
    match places.into_iter().flatten().next() {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    }
}

async fn collect(stderr: ChildStderr, log: Arc<Log>) {
    let mut lines = BufReader::new(stderr).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        log.lines.lock().unwrap().push(line);
        log.changed.notify_waiters();
    }
    log.lines.lock().unwrap().push("\u{0}ended".to_owned());
    log.changed.notify_waiters();
}
