//! What lives as long as the process: the policy of the moment, the keys, the counters, the connections to Ollama.
//!
//! Guarantees: a request loads the policy once ([`Gateway::policy`]) and is decided by that one; a reload swaps it whole,
//! or not at all; counters survive a reload that does not change their limits.

use crate::certificates::{ACME_TLS_ALPN, CertificateFault, Certificates, is_challenge};
use crate::config::types::{Config, Queue, Role};
use crate::identity::accounts::Accounts;
use crate::identity::cli_signature::SeenSignatures;
use crate::identity::conversations::Conversations;
use crate::identity::key_ring::KeyRing;
use crate::identity::oidc::Issuers;
use crate::identity::tokens::TokenKeys;
use crate::limits::{
    BanList, ConnectionSlots, InFlight, Ledger, Misdeeds, QueueShape, RateLimiters, Slots, UsageMeter,
};
use crate::ollama::content::{ContentRules, RuleId};
use crate::pipeline::cors::CorsPolicy;
use crate::pipeline::headers::Standing;
use crate::telemetry::audit::{Audit, Entry};
use crate::telemetry::clock;
use crate::telemetry::traces::Traces;
use crate::upstream::Upstream;
use arc_swap::ArcSwap;
use std::net::SocketAddr;
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
    /// `[auth.jwt]`: what tokens are signed and verified with.
    pub tokens: TokenKeys,
    /// The headers that are the same on every message.
    pub standing: Standing,
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
        let tokens = TokenKeys::new(&config.auth.jwt);
        let standing = Standing::new(&config, hsts);
        Ok(Self { config, content, cors, tokens, standing })
    }

    /// The role of that name.
    #[must_use]
    pub fn role(&self, name: &str) -> Option<&Arc<Role>> {
        self.config.roles.get(name)
    }
}

/// How TLS is spoken, by listener.
#[derive(Debug)]
pub struct Handshakes {
    asking: Arc<rustls::ServerConfig>,
    for_anybody: Arc<rustls::ServerConfig>,
    asked: Asked,
}

/// On which listeners a client certificate is asked for.
#[derive(Debug)]
enum Asked {
    Nowhere,
    Everywhere,
    On(Vec<SocketAddr>),
}

impl Asked {
    fn of(config: &Config) -> Self {
        match &config.tls.client {
            None => Self::Nowhere,
            Some(client) if client.listeners.is_empty() => Self::Everywhere,
            Some(client) => Self::On(client.listeners.clone()),
        }
    }

    fn on(&self, listener: SocketAddr) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Everywhere => true,
            Self::On(listeners) => listeners.contains(&listener),
        }
    }
}

/// What a connection may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// What its protocol is for.
    Any,
    /// To show a CA the certificate of its challenge (RFC 8737), for which no certificate was asked of it.
    Challenge,
}

impl Purpose {
    /// Whether it may be used with this protocol, in the end.
    #[must_use]
    pub fn fits(self, protocol: Option<&[u8]>) -> bool {
        match self {
            Self::Any => true,
            Self::Challenge => protocol == Some(ACME_TLS_ALPN),
        }
    }
}

impl Handshakes {
    fn new(certificates: &Certificates, config: &Config) -> Result<Self, CertificateFault> {
        Ok(Self {
            asking: certificates.server_config(&config.tls)?,
            for_anybody: certificates.server_config_for_anybody(&config.tls)?,
            asked: Asked::of(config),
        })
    }

    /// By the address of the listener, where no client certificate is asked for. `None`: it takes what the client says
    /// first to know, for [`Handshakes::choose`].
    #[must_use]
    pub fn of_everybody(&self, listener: SocketAddr) -> Option<Arc<rustls::ServerConfig>> {
        (!self.asked.on(listener)).then(|| Arc::clone(&self.for_anybody))
    }

    /// With a client certificate asked for.
    #[must_use]
    pub fn asking(&self) -> Arc<rustls::ServerConfig> {
        Arc::clone(&self.asking)
    }

    /// Where one is asked for, by what the client says first: a CA that validates a name has no certificate.
    #[must_use]
    pub fn choose(&self, hello: &rustls::server::ClientHello<'_>) -> (Arc<rustls::ServerConfig>, Purpose) {
        if is_challenge(hello) {
            return (Arc::clone(&self.for_anybody), Purpose::Challenge);
        }
        (self.asking(), Purpose::Any)
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

/// What a gateway is put together from.
#[derive(Debug)]
pub struct Parts {
    /// The API keys.
    pub keys: Arc<KeyRing>,
    /// The users, and the tokens that were taken back.
    pub accounts: Arc<Accounts>,
    /// The audit log, where there is one.
    pub audit: Option<Arc<Audit>>,
    /// The certificates.
    pub certificates: Arc<Certificates>,
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
    /// The users, and the tokens that were taken back.
    pub accounts: Arc<Accounts>,
    issuers: ArcSwap<Issuers>,
    /// Who owns which conversation.
    pub conversations: Conversations,
    /// Signatures of the `ollama` command that were seen.
    pub signatures: SeenSignatures,
    /// The audit log, where there is one.
    pub audit: Option<Arc<Audit>>,
    /// Memory for the bodies that are being read and judged, in pages.
    pub bodies: Arc<Semaphore>,
    /// Requests in flight by principal.
    pub concurrency: InFlight,
    /// The fair queue for what runs a model.
    pub slots: Slots,
    /// What was spent of the budgets.
    pub ledger: Ledger,
    /// Where spans go.
    pub traces: Traces,
    /// Who used how much.
    pub usage: Arc<UsageMeter>,
    /// Who is refused.
    pub bans: Arc<BanList>,
    misdeeds: ArcSwap<Misdeeds>,
    /// Connections by address.
    pub connections: ConnectionSlots,
    /// The connections to Ollama.
    pub upstream: Arc<Upstream>,
    /// The certificates.
    pub certificates: Arc<Certificates>,
    tls: ArcSwap<Handshakes>,
}

impl Gateway {
    /// Puts the parts together.
    ///
    /// # Errors
    /// `[tls]` cannot be used.
    pub fn new(policy: Policy, parts: Parts) -> Result<Self, CertificateFault> {
        let limits = &policy.config.limits;
        let Parts { keys, accounts, audit, certificates } = parts;
        Ok(Self {
            tls: ArcSwap::from_pointee(Handshakes::new(&certificates, &policy.config)?),
            limiters: ArcSwap::from_pointee(RateLimiters::new(limits)),
            phase: AtomicU8::new(0),
            https_port: AtomicU16::new(443),
            keys,
            issuers: ArcSwap::from_pointee(Issuers::follow(&policy.config.auth.oidc, &Issuers::default())),
            conversations: Conversations::new(accounts.store().clone()),
            accounts,
            audit,
            signatures: SeenSignatures::default(),
            bodies: Arc::new(Semaphore::new(BODY_MEMORY / BODY_PAGE)),
            concurrency: InFlight::default(),
            traces: Traces::default(),
            usage: Arc::default(),
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
    pub fn tls(&self) -> Arc<Handshakes> {
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
        self.tls.store(Arc::new(Handshakes::new(&self.certificates, &policy.config)?));
        if !self.limiters.load().same_limits(&policy.config.limits) {
            self.limiters.store(Arc::new(RateLimiters::new(&policy.config.limits)));
        }
        let config = &policy.config;
        if !self.misdeeds.load().same(&config.bans) {
            self.misdeeds.store(Arc::new(Misdeeds::new(&config.bans, config.limits.tracked_keys)));
        }
        self.issuers.store(Arc::new(Issuers::follow(&config.auth.oidc, &self.issuers.load())));
        self.connections.resize(config.server.max_connections, config.limits.connections_per_address);
        self.slots.reshape(shape(&config.queue));
        self.policy.store(Arc::new(policy));
        Ok(())
    }

    /// The outside issuers of the moment.
    pub fn issuers(&self) -> Arc<Issuers> {
        self.issuers.load_full()
    }

    /// Whether what callers do can be written down: where it cannot, they may do nothing.
    #[must_use]
    pub fn can_account(&self) -> bool {
        self.audit.as_ref().is_none_or(|audit| audit.is_well(clock::now()))
    }

    /// Writes something into the audit log, where there is one.
    pub fn account(&self, entry: &Entry<'_>) {
        if let Some(audit) = &self.audit {
            audit.record(entry, clock::now());
        }
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
    QueueShape { slots: queue.slots, length: queue.length, switches: queue.switches }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client that was not asked for a certificate because it said that it validates a name cannot say later that it
    /// speaks HTTP (a second hello after a retry may).
    #[test]
    fn who_came_for_a_challenge_is_served_nothing_else() {
        for protocol in [None, Some(&b"h2"[..]), Some(b"http/1.1"), Some(ACME_TLS_ALPN)] {
            assert!(Purpose::Any.fits(protocol));
            assert_eq!(Purpose::Challenge.fits(protocol), protocol == Some(ACME_TLS_ALPN));
        }
    }
}
