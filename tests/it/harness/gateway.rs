//! The real binary, running: its keys, and how it is reached. What it logs and how it ends: `process`.

use super::client::{Answer, Request};
use super::process::Process;
use super::setup::{START, Setup};
use super::wire::Wire;
use super::{http2, within_time};
use serde_json::Value;
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use tokio::process::Command;

/// A running gateway. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Gateway {
    /// Its configuration, which can be written again for a reload.
    pub(crate) setup: Setup,
    /// A key of the role `user`.
    pub(crate) user: String,
    /// A key of the role `admin`.
    pub(crate) admin: String,
    process: Process,
}

impl Deref for Gateway {
    type Target = Process;

    fn deref(&self) -> &Process {
        &self.process
    }
}

impl DerefMut for Gateway {
    fn deref_mut(&mut self) -> &mut Process {
        &mut self.process
    }
}

impl Gateway {
    pub(crate) async fn start(setup: Setup) -> Self {
        let command = setup.command(&["serve"]);
        Self::start_by(command, setup).await
    }

    /// The same by any command that ends in `serve`.
    pub(crate) async fn start_by(command: Command, setup: Setup) -> Self {
        let (user, admin) = (setup.key("user").await, setup.key("admin").await);
        let gateway = Self { setup, user, admin, process: Process::start(command) };
        within_time(START, "the gateway to be ready", gateway.event("ready")).await;
        gateway
    }

    /// The same with the state that it left, whatever became of it.
    pub(crate) async fn start_again(mut self) -> Self {
        self.process = Process::start(self.setup.command(&["serve"]));
        within_time(START, "the gateway to be ready", self.event("ready")).await;
        self
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

    /// Where others may read the metrics.
    pub(crate) fn metrics_listener(&self) -> SocketAddr {
        self.listener("metrics")
    }

    /// The certificate it made, for clients to trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.setup.state().join("self-signed/cert.pem")
    }

    fn listener(&self, scheme: &str) -> SocketAddr {
        let event = self.logged("listening", |event| field(event, "scheme") == scheme);
        field(&event.unwrap_or_else(|| panic!("no {scheme} listener: {}", self.log_text())), "address").parse().unwrap()
    }

    /// Sends a request by HTTP/1.1 over a TLS connection of its own, and reads the whole answer.
    pub(crate) async fn send(&self, request: Request) -> Answer {
        Box::pin(async move { Wire::tls(self).await.exchange(&request).await }).await
    }

    /// The same by HTTP/2.
    pub(crate) async fn send_h2(&self, request: Request) -> Answer {
        Box::pin(async move { http2::Client::connect(self).await.send(request).await }).await
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
