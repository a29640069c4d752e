//! Certificates: where they come from, and which one a handshake gets.
//!
//! Guarantees: there is always one to serve; a change is whole or does not happen, and no handshake sees half of it;
//! a bad file keeps the old certificate and says why; no private key is ever printed.
//! Does not: accept connections (`server`), judge client certificates' owners (`identity`).

mod acme;
mod atomic_file;
mod challenges;
mod clients;
mod fault;
mod files;
mod leaf;
pub(crate) mod outbound;
mod report;
mod resolver;
pub mod self_signed;
mod server_config;
mod suites;
mod watch;

pub use acme::{AcmeFault, CertificateStatus, Ports, Renew, Schedule};
pub use challenges::ACME_TLS_ALPN;
pub use clients::ClientIdentity;
pub use fault::CertificateFault;
pub use leaf::Leaf;
pub use report::status;
pub use resolver::is_challenge;

use crate::config::is_local_name;
use crate::config::types::{Acme, Certificate, CertificateFiles, Config, Tls};
use crate::telemetry::printable::hex;
use challenges::Challenges;
use clients::Clients;
use files::Pair;
use resolver::{Resolver, Served};
use std::path::PathBuf;
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
    clients: Arc<Clients>,
    wanted: ArcSwap<Wanted>,
    ticketer: Arc<dyn ProducesTickets>,
    clock: fn() -> SystemTime,
    schedule: Schedule,
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
        Self::open_wanted(Wanted::of(config), clock, Schedule::default())
    }

    /// The same, from the part of the configuration that matters here.
    ///
    /// # Errors
    /// As [`Certificates::open`].
    pub fn open_wanted(
        wanted: Wanted,
        clock: fn() -> SystemTime,
        schedule: Schedule,
    ) -> Result<Arc<Self>, CertificateFault> {
        let served = wanted.load(clock())?;
        let clients = clients::load(wanted.tls.client.as_ref())?;
        report::loaded(&wanted.tls.certificate, served.not_after);
        Ok(Arc::new(Self {
            served: Arc::new(ArcSwap::from_pointee(served)),
            challenges: Arc::default(),
            clients: Arc::new(Clients::new(clients)),
            wanted: ArcSwap::from_pointee(wanted),
            ticketer: rustls::crypto::aws_lc_rs::Ticketer::new()?,
            clock,
            schedule,
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
        let clients = clients::load(wanted.tls.client.as_ref())?;
        self.wanted.store(Arc::new(wanted));
        self.served.store(Arc::new(served));
        self.clients.swap(clients);
        self.tell_loaded();
        Ok(())
    }

    fn tell_loaded(&self) {
        report::loaded(&self.wanted.load().tls.certificate, self.not_after());
    }

    /// Follows changes until it is dropped: certificate files are noticed and swapped, certificates of a CA are
    /// obtained and renewed.
    pub async fn watch(self: Arc<Self>) {
        tokio::join!(watch::files(&self, watch::EVERY), acme::follow(&self));
    }

    /// Obtains a certificate now: by the server of this state folder if one runs, else here. A dry run makes a real
    /// order and throws the certificate away.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn renew(self: &Arc<Self>, renew: Renew, ports: Ports<'_>) -> Result<(), AcmeFault> {
        acme::renew(self, renew, ports).await
    }

    /// When the first of the certificates that serve now ends.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.served.load().not_after
    }

    /// Reads again what is there for the present configuration.
    fn refresh(&self) -> Result<(), CertificateFault> {
        let wanted = self.wanted.load();
        let served = wanted.load((self.clock)())?;
        self.clients.swap(clients::load(wanted.tls.client.as_ref())?);
        self.served.store(Arc::new(served));
        Ok(())
    }

    /// What a listener hands to its TLS acceptor. Certificates change under it; a new one is needed only when `[tls]`
    /// itself has changed.
    ///
    /// # Errors
    /// Where the TLS library refuses the configuration.
    pub fn server_config(&self, tls: &Tls) -> Result<Arc<ServerConfig>, CertificateFault> {
        self.build(tls, tls.client.as_ref().map(|_| Arc::clone(&self.clients)))
    }

    /// The same for connections on which no client certificate is asked for: by listeners that have none, and by a
    /// certificate authority that validates a name.
    ///
    /// # Errors
    /// As [`Certificates::server_config`].
    pub fn server_config_for_anybody(&self, tls: &Tls) -> Result<Arc<ServerConfig>, CertificateFault> {
        self.build(tls, None)
    }

    fn build(&self, tls: &Tls, clients: Option<Arc<Clients>>) -> Result<Arc<ServerConfig>, CertificateFault> {
        let resolver = Resolver {
            served: Arc::clone(&self.served),
            challenges: Arc::clone(&self.challenges),
            missing: tls.missing_sni,
        };
        server_config::build(tls, resolver, clients, Arc::clone(&self.ticketer), self.clock)
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

    /// `[tls.acme]`, where certificates come from there.
    fn acme(&self) -> Option<&Acme> {
        self.tls.acme.as_ref().filter(|_| self.tls.certificate == Certificate::Acme)
    }

    /// The names that are ordered: a public CA signs none like `localhost`, and would refuse the whole order for it.
    fn ordered(&self) -> Vec<String> {
        let private = self.acme().is_some_and(|acme| acme.root.is_some());
        self.names.iter().filter(|name| private || !is_local_name(name)).cloned().collect()
    }

    /// Tells one set of settings from another, across restarts.
    fn fingerprint(&self) -> String {
        let text = format!("{:?} {:?}", self.names, self.tls.acme);
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
        hex(digest.as_ref().get(..8).unwrap_or_default())
    }

    fn load(&self, now: SystemTime) -> Result<Served, CertificateFault> {
        let pair = match &self.tls.certificate {
            Certificate::Files(files) => return self.given(files, now),
            Certificate::SelfSigned => self_signed::open(&self.state, &self.names, now)?,
            Certificate::Acme => match self.obtained()? {
                Some(pair) if self.names.iter().all(|name| pair.leaf.covers(name)) => pair,
                some => return self.meanwhile(some, now),
            },
        };
        self.warn(std::slice::from_ref(&pair), now);
        Ok(Served::new(&self.names, &pair))
    }

    /// Each name gets the first pair that is for it; a name without one gets the first of all.
    fn given(&self, files: &[CertificateFiles], now: SystemTime) -> Result<Served, CertificateFault> {
        let pairs = files.iter().map(|one| files::load(&one.chain, &one.key)).collect::<Result<Vec<_>, _>>()?;
        self.warn(&pairs, now);
        let first = pairs.first().ok_or(CertificateFault::None)?;
        Ok(pairs.iter().rev().fold(Served::new(&self.names, first), |served, pair| served.with(pair)))
    }

    /// What the CA has issued already.
    fn obtained(&self) -> Result<Option<Pair>, CertificateFault> {
        let directory = self.acme().map(|acme| acme.directory.as_str()).unwrap_or_default();
        acme::store::Store::of(&self.state, directory).certificate()
    }

    /// Until the CA has issued one for all names.
    fn meanwhile(&self, obtained: Option<Pair>, now: SystemTime) -> Result<Served, CertificateFault> {
        let made = self_signed::open(&self.state, &self.names, now)?;
        let trust = self_signed::trust_file(&self.state);
        let pending = obtained.as_ref().is_none_or(|pair| !self.ordered().iter().all(|name| pair.leaf.covers(name)));
        if pending {
            tracing::warn!(event = "certificate_pending", trust = %trust.display(), "a certificate made here serves meanwhile");
        }
        let served = Served::new(&self.names, &made);
        Ok(match obtained {
            Some(pair) => served.with(&pair),
            None => served,
        })
    }

    /// What is no reason to refuse, but will be noticed by clients.
    fn warn(&self, pairs: &[Pair], now: SystemTime) {
        for leaf in pairs.iter().map(|pair| &pair.leaf) {
            if leaf.left(now).is_zero() || leaf.not_before > now {
                tracing::warn!(event = "certificate_not_valid_now", issuer = leaf.issuer, "clients will refuse it");
            }
            if !self.names.iter().any(|name| leaf.covers(name)) {
                let names = leaf.names.join(", ");
                tracing::warn!(event = "certificate_unused", names, "the certificate is for no name of server.names");
            }
        }
        for name in self.names.iter().filter(|name| !pairs.iter().any(|pair| pair.leaf.covers(name))) {
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
