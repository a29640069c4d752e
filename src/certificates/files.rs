//! Certificate and key from PEM files.
//!
//! Guarantees: chain and key belong together, or nothing is taken; a key that every user of the machine can read is
//! refused; the bytes of the key are wiped. Does not: verify the chain (a private CA is as good as any).

use crate::certificates::atomic_file;
use crate::certificates::fault::CertificateFault;
use crate::certificates::leaf::Leaf;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// A chain with its key, and what the first certificate says.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    /// What the handshake needs.
    pub(crate) key: Arc<CertifiedKey>,
    /// What it says.
    pub(crate) leaf: Leaf,
}

/// Reads both files, whole or not at all.
pub(crate) fn load(chain: &Path, key: &Path) -> Result<Pair, CertificateFault> {
    refuse_exposed(key)?;
    let chain_pem = atomic_file::read(chain)?;
    let key_pem = Zeroizing::new(atomic_file::read(key)?);
    pair(chain, &certificates(chain, &chain_pem)?, key, &key_pem)
}

/// Chain and key as one, from PEM that was read already.
pub(crate) fn pair(
    chain: &Path,
    certificates: &[CertificateDer<'static>],
    key: &Path,
    key_pem: &[u8],
) -> Result<Pair, CertificateFault> {
    let leaf = certificates.first().and_then(|first| Leaf::parse(first));
    let hint = "not an X.509 certificate; write it again";
    let leaf = leaf.ok_or_else(|| CertificateFault::Damaged { path: chain.to_owned(), hint })?;
    let no_key = || CertificateFault::NoKey { path: key.to_owned() };
    let der = PrivateKeyDer::from_pem_slice(key_pem).map_err(|_| no_key())?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let signing = provider.key_provider.load_private_key(der).map_err(|_| no_key())?;
    let certified = CertifiedKey::new(certificates.to_vec(), signing);
    match certified.keys_match() {
        Ok(()) => Ok(Pair { key: Arc::new(certified), leaf }),
        Err(_) => Err(CertificateFault::Mismatch { chain: chain.to_owned(), key: key.to_owned() }),
    }
}

/// All certificates of a PEM file; at least one.
pub(crate) fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateFault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let hint = "the PEM text is cut or altered; write it again";
    let found = found.map_err(|_| CertificateFault::Damaged { path: path.to_owned(), hint })?;
    if found.is_empty() { Err(CertificateFault::NoCertificate { path: path.to_owned() }) } else { Ok(found) }
}

fn refuse_exposed(key: &Path) -> Result<(), CertificateFault> {
    let found = std::fs::metadata(key).map_err(|reason| CertificateFault::Read { path: key.to_owned(), reason })?;
    if found.permissions().mode() & 0o007 == 0 {
        Ok(())
    } else {
        Err(CertificateFault::Exposed { path: key.to_owned() })
    }
}

/// What tells one version of a file from the next without reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

impl Version {
    /// Of the file now; symbolic links are followed, as Kubernetes swaps them.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        let found = std::fs::metadata(path).ok()?;
        let (device, inode, size) = (found.dev(), found.ino(), found.size());
        Some(Self { device, inode, size, modified: found.modified().ok() })
    }
}
