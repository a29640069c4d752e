//! The TLS that is spoken.
//!
//! Guarantees: TLS 1.2 with ECDHE and AEAD only, or 1.3; the post-quantum key exchange first; the server's order of
//! suites; no 0-RTT, since a replayed POST would run a model twice; tickets and a bounded session cache.
//! The provider is passed, never taken from the process: two providers linked in can then not panic at run time.

use crate::certificates::challenges::ACME_TLS_ALPN;
use crate::certificates::clients::Clients;
use crate::certificates::fault::CertificateFault;
use crate::certificates::resolver::Resolver;
use crate::certificates::suites::Library;
use crate::config::types::{Certificate, Tls, TlsVersion};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, ProducesTickets, ServerSessionMemoryCache, WebPkiClientVerifier};
use rustls::time_provider::TimeProvider;
use rustls::version::{TLS12, TLS13};

/// Sessions of TLS 1.2 clients that take no tickets.
const SESSIONS: usize = 1024;

/// The crypto of TLS: aws-lc-rs, with X25519MLKEM768 as its first key exchange, and AES-GCM by the quicker library.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(Library::of_this_machine().provider())
}

/// The time by which clients' certificates and revocation lists are judged: the same as everywhere else.
#[derive(Debug)]
struct Clock(fn() -> SystemTime);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        (self.0)().duration_since(SystemTime::UNIX_EPOCH).ok().map(UnixTime::since_unix_epoch)
    }
}

/// What listeners hand to their acceptor.
pub(crate) fn build(
    tls: &Tls,
    resolver: Resolver,
    clients: Option<Arc<Clients>>,
    ticketer: Arc<dyn ProducesTickets>,
    clock: fn() -> SystemTime,
) -> Result<Arc<ServerConfig>, CertificateFault> {
    let versions: &[_] = match tls.min_version {
        TlsVersion::V12 => &[&TLS13, &TLS12],
        TlsVersion::V13 => &[&TLS13],
    };
    let asks = clients.is_some();
    let verifier: Arc<dyn ClientCertVerifier> = match clients {
        Some(clients) => clients,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut config = ServerConfig::builder_with_details(provider(), Arc::new(Clock(clock)))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(resolver));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    if tls.certificate == Certificate::Acme {
        config.alpn_protocols.push(ACME_TLS_ALPN.to_vec());
    }
    config.ignore_client_order = true;
    config.max_early_data_size = 0;
    if asks {
        // A resumed session is not verified again: a revoked client could go on.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
    } else {
        config.ticketer = ticketer;
        config.session_storage = ServerSessionMemoryCache::new(SESSIONS);
    }
    Ok(Arc::new(config))
}
