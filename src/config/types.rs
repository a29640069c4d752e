//! The checked configuration: what the rest of the program may rely on.
//!
//! Guarantees: every value is in its range and every name means something; nothing that must be there is optional.
//! Only `config::check` makes one. Does not: hold the text of the file.

mod audit;
mod auth;
mod bans;
mod budget;
mod client;
mod console;
mod model;
mod queue;
mod role;
mod traces;
mod validation;

use ipnet::IpNet;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use audit::{Audit, AuditFiles, AuditPolicy};
pub use auth::{Anonymous, Auth, ConversationIds, Issue, Jwt, Oidc, PathKeys, SigningKey};
pub use bans::Bans;
pub use budget::{Budget, Period, Resource};
pub use client::{ClientCertificates, ClientMode, ClientName, ClientPrincipal};
pub use console::{Admin, SignOn};
pub use model::{ModelPin, ModelPins};
pub use queue::{ModelSwitches, Queue};
pub use role::{Allowance, EndpointSet, OptionsPolicy, Role, SystemPrompt};
pub use traces::{SampleRatio, ToUpstream, Traces};
pub use validation::{OnMatch, OnOutputMatch, UnknownFields, Validation};

/// The whole file, checked. `Debug` shows no secret: secrets are [`crate::config::secret::Secret`].
#[derive(Debug, Clone)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[admin]`
    pub admin: Admin,
    /// `[tls]`
    pub tls: Tls,
    /// `[upstream]`
    pub upstream: Upstream,
    /// `[cors]`, with what the environment overrides.
    pub cors: Cors,
    /// `[limits]`, with what the environment overrides.
    pub limits: Limits,
    /// `[queue]`
    pub queue: Queue,
    /// `[models.*]`
    pub models: ModelPins,
    /// `[bans]`
    pub bans: Bans,
    /// `[auth]`
    pub auth: Auth,
    /// `[roles.*]`; `user` and `admin` are always there.
    pub roles: BTreeMap<String, Arc<Role>>,
    /// `[validation]`
    pub validation: Validation,
    /// `[store]`, or `DATABASE_URL`.
    pub store: Store,
    /// `[log]`
    pub log: Log,
    /// `[audit]`
    pub audit: Audit,
    /// `[usage]`
    pub usage: Usage,
    /// `[traces]`; `None`: there are none.
    pub traces: Option<Traces>,
}

/// `[server]`: where it listens and how long it waits.
#[derive(Debug, Clone)]
pub struct Server {
    /// The only Host and SNI names served: lower case, no trailing dot, no port; an IP address may be one. Not empty.
    pub names: Vec<String>,
    /// HTTPS addresses. Not empty.
    pub https: Vec<SocketAddr>,
    /// Plain HTTP addresses: redirects and ACME HTTP-01.
    pub http: Vec<SocketAddr>,
    /// The state folder, 0700.
    pub state: PathBuf,
    /// Peers whose PROXY protocol header or `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How a trusted proxy tells the client's address.
    pub client_address: ClientAddress,
    /// Connections at the same time, all listeners together.
    pub max_connections: usize,
    /// From accept to the end of the TLS handshake.
    pub handshake_timeout: Duration,
    /// From the first byte of a request to the end of its head; also the wait for the first byte.
    pub head_timeout: Duration,
    /// A kept connection with nothing in flight.
    pub idle_timeout: Duration,
    /// A client that takes none of the bytes that wait for it.
    pub write_stall_timeout: Duration,
    /// The least rate of a request body, bytes a second, measured after `body_grace`.
    pub body_min_rate: u64,
    /// How long a body may be slower than that at its start, or in any gap.
    pub body_grace: Duration,
    /// How long running requests may go on after a stop signal.
    pub drain_timeout: Duration,
    /// Whether the process confines itself once it listens.
    pub sandbox: Sandbox,
}

/// What the process gives up by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sandbox {
    /// All that serving does not need.
    On,
    /// Nothing.
    Off,
}

/// How a trusted proxy tells the address of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientAddress {
    /// No proxy: the address of the socket.
    Socket,
    /// PROXY protocol v1 or v2 before TLS.
    ProxyProtocol,
    /// The right-most untrusted address of `X-Forwarded-For`.
    XForwardedFor,
}

/// `[tls]`
#[derive(Debug, Clone)]
pub struct Tls {
    /// Where certificates come from.
    pub certificate: Certificate,
    /// The oldest version spoken.
    pub min_version: TlsVersion,
    /// The value of `Strict-Transport-Security`; empty: not sent.
    pub hsts: String,
    /// Whether a client that sends no SNI is served (by an IP address none is sent).
    pub missing_sni: MissingSni,
    /// `[tls.acme]`: only where `certificate = "acme"`.
    pub acme: Option<Acme>,
    /// `[tls.client]`: whether clients show certificates.
    pub client: Option<ClientCertificates>,
}

/// Where the certificate comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Certificate {
    /// Ordered from a certificate authority.
    Acme,
    /// Made here.
    SelfSigned,
    /// PEM files, watched and reloaded. Each name gets the first that is for it. Not empty.
    Files(Vec<CertificateFiles>),
}

/// A certificate in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// Leaf first.
    pub chain: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// The oldest TLS version spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsVersion {
    /// TLS 1.2 and 1.3
    V12,
    /// TLS 1.3 only
    V13,
}

/// A client that sends no SNI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingSni {
    /// Gets the certificate of the first name.
    Serve,
    /// Gets a TLS alert.
    Refuse,
}

/// `[tls.acme]`
#[derive(Debug, Clone)]
pub struct Acme {
    /// The directory's URL (`letsencrypt` and `letsencrypt-staging` are resolved here).
    pub directory: String,
    /// The CA that signed the directory's own certificate, PEM file; `None`: the public roots.
    pub root: Option<PathBuf>,
    /// `mailto:` addresses.
    pub contact: Vec<String>,
    /// Tried in this order.
    pub challenges: Vec<Challenge>,
    /// A certificate profile, e.g. `shortlived`.
    pub profile: Option<String>,
    /// External account binding: key id and a reference to the HMAC key.
    pub eab: Option<ExternalAccount>,
}

/// An external account binding (RFC 8555 §7.3.4).
#[derive(Debug, Clone)]
pub struct ExternalAccount {
    /// The key id that the CA gave.
    pub key_id: String,
    /// Its HMAC key, base64url.
    pub hmac_key: crate::config::secret::Secret,
}

/// One way to prove that a name is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Challenge {
    /// RFC 8737
    TlsAlpn01,
    /// RFC 8555 §8.3
    Http01,
    /// RFC 8555 §8.4, by a command that is given `set|clear NAME VALUE`.
    Dns01 {
        /// The program and its first arguments.
        command: Vec<String>,
    },
}

/// `[upstream]`: the Ollama behind.
#[derive(Debug, Clone)]
pub struct Upstream {
    /// `host:port` to connect to.
    pub address: String,
    /// The `Host` sent to it, e.g. `127.0.0.1:11434`.
    pub host: String,
    /// Establishing the TCP connection.
    pub connect_timeout: Duration,
    /// From the last byte sent to the first byte of the answer.
    pub first_byte_timeout: Duration,
    /// Between two pieces of an answer.
    pub idle_timeout: Duration,
    /// How long an answer may be silent before its head and signs of life are sent.
    pub heartbeat_after: Duration,
    /// How long a model may say nothing to anybody before it is unloaded; `None`: never.
    pub wedged_after: Option<Duration>,
    /// Connections at the same time.
    pub max_connections: usize,
    /// Whether `X-Real-IP`, `X-Forwarded-For`, `X-Forwarded-Proto` are written.
    pub forwarded_headers: ForwardedHeaders,
    /// The version told to callers that may not manage the server.
    pub shown_version: String,
    /// Bytes of a stream that may wait for a slow client.
    pub stream_buffer: usize,
    /// The largest answer that is not a stream, and the longest frame of one that is.
    pub max_answer: usize,
}

/// Whether Ollama is told the client's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeaders {
    /// Written from what the gateway knows.
    Send,
    /// None.
    Omit,
}

/// `[cors]`
#[derive(Debug, Clone)]
pub struct Cors {
    /// Exact serialised origins, or `*` alone.
    pub origins: Vec<String>,
    /// `Access-Control-Allow-Credentials: true`
    pub credentials: Credentials,
    /// For preflights.
    pub methods: Vec<String>,
    /// For preflights; what the official clients send is always among them.
    pub headers: Vec<String>,
}

/// Whether browsers may send credentials.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Credentials {
    /// They may.
    Allow,
    /// They may not.
    Deny,
}

/// `[limits]`
#[derive(Debug, Clone)]
pub struct Limits {
    /// All routes.
    pub general: Rate,
    /// Routes that generate.
    pub chat: Rate,
    /// `/` and `/api/health`, by address.
    pub health: Rate,
    /// Failed authentications, by address.
    pub authentication_failures: Rate,
    /// Connections of one address (IPv6: /64) at the same time.
    pub connections_per_address: usize,
    /// Keys kept in one limiter's map.
    pub tracked_keys: usize,
}

/// So many in a period, with so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many in `per`.
    pub count: NonZeroU32,
    /// The period.
    pub per: Duration,
    /// How many at once.
    pub burst: NonZeroU32,
}

/// `[store]`
#[derive(Debug, Clone)]
pub enum Store {
    /// `gateway.db` in the state folder.
    Sqlite(PathBuf),
    /// A PostgreSQL URL.
    Postgres(crate::config::secret::Secret),
}

/// `[usage]`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// How long what callers used is kept; whole days.
    pub retention: Duration,
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// `json` or `text`
    pub format: LogFormat,
    /// A `tracing` filter, e.g. `info`.
    pub level: String,
}

/// How a log line looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For reading at a terminal.
    Text,
}
