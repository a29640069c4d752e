//! TLS to others' servers: the issuer of tokens, the collector of traces.
//!
//! Guarantees: a server is who its certificate says, by the machine's roots or by those of one file alone. Does not:
//! refuse a file that has no certificate; then nobody is trusted.

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::io;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

/// A connector that trusts the certificates of a PEM file, or the machine's roots.
///
/// # Errors
/// The file cannot be read, or holds what cannot be a root.
pub(crate) fn connector(root: Option<&Path>) -> io::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots(root)?)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(root: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match root {
        Some(path) => {
            let pem = std::fs::read(path)?;
            for certificate in CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok) {
                roots.add(certificate).map_err(io::Error::other)?;
            }
        }
        None => drop(roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs)),
    }
    Ok(roots)
}
