//! What lives as long as the process: the policy of the moment, the keys, the counters, the connections to Ollama.
//!
//! Guarantees: a request loads the policy once ([`Gateway::policy`]) and is decided by that one; a reload swaps it whole,
//! or not at all; counters survive a reload that does not change their limits.

use crate::certificates::{CertificateFault, Certificates};
use crate::config::types::{Config, Queue, Role};
use crate::identity::key_ring::KeyRing;
use crate::limits::{BanList, ConnectionSlots, InFlight, Ledger, Misdeeds, QueueShape, RateLimiters, Slots};
use crate::ollama::content::{ContentRules, RuleId};
use crate::pipeline::cors::CorsPolicy;
use crate::upstream::Upstream;
use arc_swap::ArcSwap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU16, Ordering};
use tokio::sync::Semaphore;

/// A configuration, ready to decide by.
#[derive(Debug)]
pub struct Policy {
    /// The checked file.
    pub config: Config,
    /// `[validation]` blocked and patterns, compiled.
    pub content: Arc<ContentRules>,
    /// `[cors]`, with its header values made.
    pub cors: CorsPolicy,
    /// `Strict-Transport-Security`, if it is sent.
    pub hsts: Option<http::HeaderValue>,
}

/// Why a checked configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFault {
    /// A content rule does not compile.
    #[error("validation.{rule}: {reason}")]
    Content {
        /// Which.
        rule: RuleId,
        /// Why.
        reason: &'static str,
    },
    /// A value cannot be a header.
    #[error("{key} holds a character that no header may hold")]
    Header {
        /// The key of the configuration.
        key: &'static str,
    },
}

impl Policy {
    /// Compiles what needs compiling.
    ///
    /// # Errors
    /// [`PolicyFault`], with the key at fault.
    pub fn new(config: Config) -> Result<Self, PolicyFault> {
        let content = ContentRules::compile(&config.validation)
            .map_err(|(rule, reason)| PolicyFault::Content { rule, reason })?;
        let content = Arc::new(content);
        let cors = CorsPolicy::new(&config.cors).map_err(|key| PolicyFault::Header { key })?;
        let hsts = match config.tls.hsts.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| PolicyFault::Header { key: "tls.hsts" })?),
        };
        Ok(Self { config, content, cors, hsts })
    }

    /// The role of that name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.config.roles.get(name)
    }
}

/// Whether new requests are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// They are.
    Serving,
    /// Only those that run are finished.
    Draining,
}

/// Bytes that all bodies together may hold while they are read and judged.
pub const BODY_MEMORY: usize = 512 * 1024 * 1024;
/// They are counted by this many.
pub const BODY_PAGE: usize = 4096;

/// What lives as long as the process.
#[derive(Debug)]
pub struct Gateway {
    policy: ArcSwap<Policy>,
    limiters: ArcSwap<RateLimiters>,
    phase: AtomicU8,
    https_port: AtomicU16,
    /// The API keys.
    pub keys: Arc<KeyRing>,
    /// Memory for the bodies that are being read and judged, in pages.
    pub bodies: Arc<Semaphore>,
    /// Requests in flight by principal.
    pub concurrency: InFlight,
    /// The fair queue for what runs a model.
    pub slots: Slots,
    /// What was spent of the budgets.
    pub ledger: Ledger,
    /// Who is refused.
    pub bans: Arc<BanList>,
    misdeeds: ArcSwap<Misdeeds>,
    /// Connections by address.
    pub connections: ConnectionSlots,
    /// The connections to Ollama.
    pub upstream: Arc<Upstream>,
    /// The certificates.
    pub certificates: Arc<Certificates>,
    tls: ArcSwap<rustls::ServerConfig>,
}

impl Gateway {
    /// Puts the parts together.
    ///
    /// # Errors
    /// `[tls]` cannot be used.
    pub fn new(policy: Policy, keys: Arc<KeyRing>, certificates: Arc<Certificates>) -> Result<Self, CertificateFault> {
        let limits = &policy.config.limits;
        Ok(Self {
            tls: ArcSwap::new(certificates.server_config(&policy.config.tls)?),
            limiters: ArcSwap::from_pointee(RateLimiters::new(limits)),
            phase: AtomicU8::new(0),
            https_port: AtomicU16::new(443),
            keys,
            bodies: Arc::new(Semaphore::new(BODY_MEMORY / BODY_PAGE)),
            concurrency: InFlight::default(),
            bans: Arc::default(),
            misdeeds: ArcSwap::from_pointee(Misdeeds::new(&policy.config.bans, limits.tracked_keys)),
            ledger: Ledger::default(),
            slots: Slots::new(shape(&policy.config.queue)),
            connections: ConnectionSlots::new(policy.config.server.max_connections, limits.connections_per_address),
            upstream: Arc::new(Upstream::new(&policy.config.upstream)),
            certificates,
            policy: ArcSwap::from_pointee(policy),
        })
    }

    /// What TLS is spoken by at the moment.
    pub fn tls(&self) -> Arc<rustls::ServerConfig> {
        self.tls.load_full()
    }

    /// The policy of the moment. Load it once a request.
    pub fn policy(&self) -> Arc<Policy> {
        self.policy.load_full()
    }

    /// The counters of the request rates.
    pub fn limiters(&self) -> Arc<RateLimiters> {
        self.limiters.load_full()
    }

    /// Who has done how much that leads to a ban.
    pub fn misdeeds(&self) -> Arc<Misdeeds> {
        self.misdeeds.load_full()
    }

    /// Swaps the policy. Counters go on where the limits are the same.
    ///
    /// # Errors
    /// `[tls]` cannot be used: nothing is swapped.
    pub fn adopt(&self, policy: Policy) -> Result<(), CertificateFault> {
        self.tls.store(self.certificates.server_config(&policy.config.tls)?);
        if !self.limiters.load().same_limits(&policy.config.limits) {
            self.limiters.store(Arc::new(RateLimiters::new(&policy.config.limits)));
        }
        let config = &policy.config;
        if !self.misdeeds.load().same(&config.bans) {
            self.misdeeds.store(Arc::new(Misdeeds::new(&config.bans, config.limits.tracked_keys)));
        }
        self.connections.resize(config.server.max_connections, config.limits.connections_per_address);
        self.slots.reshape(shape(&config.queue));
        self.policy.store(Arc::new(policy));
        Ok(())
    }

    /// Whether new requests are taken.
    #[must_use]
    pub fn phase(&self) -> Phase {
        if self.phase.load(Ordering::Acquire) == 0 { Phase::Serving } else { Phase::Draining }
    }

    /// Where redirects go: the port of the first HTTPS listener.
    pub fn listens_on(&self, port: u16) {
        self.https_port.store(port, Ordering::Release);
    }

    /// The port of the first HTTPS listener.
    #[must_use]
    pub fn https_port(&self) -> u16 {
        self.https_port.load(Ordering::Acquire)
    }

    /// From now on only running requests are finished.
    pub fn drain(&self) {
        self.phase.store(1, Ordering::Release);
    }
}

const fn shape(queue: &Queue) -> QueueShape {
    QueueShape { slots: queue.slots, length: queue.length }
}
