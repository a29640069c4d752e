//! Certificates: where they come from, and which one a handshake gets.
//!
//! Guarantees: there is always one to serve; a change is whole or does not happen, and no handshake sees half of it;
//! a bad file keeps the old certificate and says why; no private key is ever printed.
//! Does not: accept connections (`server`), judge client certificates' owners (`identity`).

mod atomic_file;
mod challenges;
mod fault;
mod files;
mod leaf;
mod resolver;
pub mod self_signed;
mod server_config;
mod watch;

pub use challenges::ACME_TLS_ALPN;
pub use fault::CertificateFault;
pub use leaf::Leaf;

use crate::config::types::{Certificate, Config, Tls};
use challenges::Challenges;
use files::Pair;
use resolver::{Resolver, Served};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::ProducesTickets;

/// The certificates of the process, and what is known about them.
#[derive(Debug)]
pub struct Certificates {
    served: Arc<ArcSwap<Served>>,
    challenges: Arc<Challenges>,
    wanted: ArcSwap<Wanted>,
    ticketer: Arc<dyn ProducesTickets>,
    clock: fn() -> SystemTime,
}

/// What the certificate in these files says, if chain and key can be served.
///
/// # Errors
/// They cannot.
pub fn read_files(chain: &Path, key: &Path) -> Result<Leaf, CertificateFault> {
    files::load(chain, key).map(|pair| pair.leaf)
}

/// The part of the configuration that certificates follow.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// `server.names`
    pub names: Vec<String>,
    /// `server.state`
    pub state: PathBuf,
    /// `[tls]`
    pub tls: Tls,
}

impl Certificates {
    /// Loads what the configuration names. Where a certificate is yet to be obtained, one made here serves meanwhile.
    ///
    /// # Errors
    /// Where nothing can be served, with the file and the way out.
    pub fn open(config: &Config, clock: fn() -> SystemTime) -> Result<Arc<Self>, CertificateFault> {
        Self::open_wanted(Wanted::of(config), clock)
    }

    /// The same, from the part of the configuration that matters here.
    ///
    /// # Errors
    /// As [`Certificates::open`].
    pub fn open_wanted(wanted: Wanted, clock: fn() -> SystemTime) -> Result<Arc<Self>, CertificateFault> {
        let served = wanted.load(clock())?;
        Ok(Arc::new(Self {
            served: Arc::new(ArcSwap::from_pointee(served)),
            challenges: Arc::default(),
            wanted: ArcSwap::from_pointee(wanted),
            ticketer: rustls::crypto::aws_lc_rs::Ticketer::new()?,
            clock,
        }))
    }

    /// Takes a new configuration and reads the files again, whole or not at all.
    ///
    /// # Errors
    /// Where something is wrong; then what was served before is served still.
    pub fn reload(&self, config: &Config) -> Result<(), CertificateFault> {
        self.reload_wanted(Wanted::of(config))
    }

    /// The same, from the part of the configuration that matters here.
    ///
    /// # Errors
    /// As [`Certificates::reload`].
    pub fn reload_wanted(&self, wanted: Wanted) -> Result<(), CertificateFault> {
        let served = wanted.load((self.clock)())?;
        self.wanted.store(Arc::new(wanted));
        self.served.store(Arc::new(served));
        Ok(())
    }

    /// Follows changes until it is dropped: certificate files are noticed and swapped.
    pub async fn watch(self: Arc<Self>) {
        watch::files(&self, watch::EVERY).await;
    }

    /// What a listener hands to its TLS acceptor. Certificates change under it; a new one is needed only when `[tls]`
    /// itself has changed.
    ///
    /// # Errors
    /// Where the TLS library refuses the configuration.
    pub fn server_config(&self, tls: &Tls) -> Result<Arc<ServerConfig>, CertificateFault> {
        let resolver = Resolver {
            served: Arc::clone(&self.served),
            challenges: Arc::clone(&self.challenges),
            missing: tls.missing_sni,
        };
        server_config::build(tls, resolver, Arc::clone(&self.ticketer))
    }

    /// The names served, each with what its certificate says.
    #[must_use]
    pub fn served(&self) -> Vec<(String, Leaf)> {
        self.served.load().leaves()
    }

    /// The body for `/.well-known/acme-challenge/TOKEN`, if a CA may ask for it now.
    #[must_use]
    pub fn http01(&self, token: &str) -> Option<String> {
        self.challenges.http01(token)
    }
}

impl Wanted {
    /// Of a whole configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self { names: config.server.names.clone(), state: config.server.state.clone(), tls: config.tls.clone() }
    }

    fn load(&self, now: SystemTime) -> Result<Served, CertificateFault> {
        let pair = match &self.tls.certificate {
            Certificate::Files { chain, key } => files::load(chain, key)?,
            Certificate::SelfSigned | Certificate::Acme => self_signed::open(&self.state, &self.names, now)?,
        };
        self.warn(&pair, now);
        Ok(Served::new(&self.names, pair.key))
    }

    /// What is no reason to refuse, but will be noticed by clients.
    fn warn(&self, pair: &Pair, now: SystemTime) {
        if pair.leaf.left(now).is_zero() || pair.leaf.not_before > now {
            tracing::warn!(event = "certificate_not_valid_now", issuer = pair.leaf.issuer, "clients will refuse it");
        }
        for name in self.names.iter().filter(|name| !pair.leaf.covers(name)) {
            tracing::warn!(
                event = "certificate_without_name",
                name,
                "the certificate is not for this name of server.names"
            );
        }
    }
}

#[cfg(test)]
mod tests;
