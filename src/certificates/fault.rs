//! What can be wrong with a certificate, and the way out.
//!
//! Guarantees: every fault names its file, and what to do about it; none holds a byte of a private key.
//! Does not: decide what follows (a start is refused, a reload keeps the old certificate).

use std::path::PathBuf;

/// A certificate that cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum CertificateFault {
    /// A file cannot be read.
    #[error("{}: cannot be read: {reason}; hint: the gateway's user needs to be able to read it", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// A file cannot be written.
    #[error("{}: cannot be written: {reason}; hint: the state folder must belong to the gateway's user", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        reason: std::io::Error,
    },
    /// `tls.certificate` names no file at all.
    #[error("tls.certificate is empty; hint: name one certificate at least")]
    None,
    /// A chain without a certificate.
    #[error("{}: no certificate in it; hint: PEM, the server's own certificate first, then its intermediates", path.display())]
    NoCertificate {
        /// Which.
        path: PathBuf,
    },
    /// A key file without a key that can be used.
    #[error("{}: no private key in it that can be used; hint: PEM, PKCS#8, PKCS#1 or SEC1, without a passphrase", path.display())]
    NoKey {
        /// Which.
        path: PathBuf,
    },
    /// Neither PEM nor X.509.
    #[error("{}: damaged; hint: {hint}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// The way out.
        hint: &'static str,
    },
    /// The key belongs to another certificate.
    #[error("{}: does not belong to the certificate in {}; hint: give the key that the certificate was made for", key.display(), chain.display())]
    Mismatch {
        /// The chain.
        chain: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// Everybody on the machine can read the key.
    #[error("{}: every user of this machine can read this private key; hint: chmod 600 {}", path.display(), path.display())]
    Exposed {
        /// The key.
        path: PathBuf,
    },
    /// The TLS library refused.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A certificate could not be made.
    #[error("a certificate could not be made: {0}; hint: server.names holds a name that no certificate can carry")]
    Make(#[from] rcgen::Error),
}
