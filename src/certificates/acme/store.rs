//! What ACME keeps in the state folder.
//!
//! ```text
//! acme/lock                  held by the one process that orders
//! acme/request.json          `cert renew` asks a running server here
//! acme/answer.json           … and is answered here
//! acme/CA/account.json       the account and its key, 0600
//! acme/CA/certificate.pem    key and chain in one file, 0600, so that they cannot come apart
//! acme/CA/status.json        the last try, the next one, an order that is under way
//! ```
//!
//! `CA` is the directory's host and a few digits of its URL's hash: a certificate of staging is never taken for one of
//! production, nor an account.
//!
//! Guarantees: what is there but cannot be read is a fault, never the same as nothing: a failing disk must not look
//! like a first start, or every restart would register and order anew. Files are there whole or not at all.

use crate::certificates::acme::status::Status;
use crate::certificates::atomic_file::{self, Access};
use crate::certificates::fault::CertificateFault;
use crate::certificates::files::{self, Pair};
use crate::telemetry::printable::hex;
use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

const ACCOUNT_HINT: &str = "restore it from a backup, or move it away to register a new account";

/// The folder of one CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Store {
    folder: PathBuf,
}

impl Store {
    /// Of this directory URL.
    pub(crate) fn of(state: &Path, directory: &str) -> Self {
        let host = directory.split('/').nth(2).unwrap_or_default();
        let host: String = host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, directory.as_bytes());
        let digits = hex(digest.as_ref().get(..4).unwrap_or_default());
        Self { folder: state.join("acme").join(format!("{host}-{digits}")) }
    }

    /// The account, if there is one.
    pub(crate) fn account(&self) -> Result<Option<AccountCredentials>, CertificateFault> {
        read_json(&self.folder.join("account.json"), ACCOUNT_HINT)
    }

    /// The account's key turned out to be none.
    pub(crate) fn damaged_account(&self) -> CertificateFault {
        CertificateFault::Damaged { path: self.folder.join("account.json"), hint: ACCOUNT_HINT }
    }

    /// Keeps the account.
    pub(crate) fn keep_account(&self, account: &AccountCredentials) -> Result<(), CertificateFault> {
        write_json(&self.folder.join("account.json"), account)
    }

    /// The certificate, if there is one.
    pub(crate) fn certificate(&self) -> Result<Option<Pair>, CertificateFault> {
        let path = self.certificate_file();
        match atomic_file::read_if_there(&path)? {
            None => Ok(None),
            Some(_) => files::load(&path, &path).map(Some).map_err(|fault| damaged(fault, path)),
        }
    }

    /// Checks a certificate and keeps it.
    pub(crate) fn keep_certificate(&self, chain: &str, key: &str) -> Result<(), CertificateFault> {
        let both = Zeroizing::new(format!("{key}{chain}"));
        let path = self.certificate_file();
        files::pair(&path, &files::certificates(&path, chain.as_bytes())?, &path, key.as_bytes())?;
        atomic_file::write(&path, both.as_bytes(), Access::Owner)
    }

    /// Where the certificate is.
    pub(crate) fn certificate_file(&self) -> PathBuf {
        self.folder.join("certificate.pem")
    }

    /// How renewal stands; nothing yet where it never ran.
    pub(crate) fn status(&self) -> Result<Status, CertificateFault> {
        let hint = "remove it: the next try is then at once";
        Ok(read_json(&self.folder.join("status.json"), hint)?.unwrap_or_default())
    }

    /// Keeps how renewal stands.
    pub(crate) fn keep_status(&self, status: &Status) -> Result<(), CertificateFault> {
        write_json(&self.folder.join("status.json"), status)
    }
}

/// Something else than what we wrote: a permission or a disk says so itself.
fn damaged(fault: CertificateFault, path: PathBuf) -> CertificateFault {
    match fault {
        CertificateFault::Read { .. } | CertificateFault::Write { .. } | CertificateFault::Exposed { .. } => fault,
        CertificateFault::NoCertificate { .. }
        | CertificateFault::NoKey { .. }
        | CertificateFault::Damaged { .. }
        | CertificateFault::Mismatch { .. }
        | CertificateFault::None
        | CertificateFault::Tls(_)
        | CertificateFault::Make(_) => {
            let hint = "restore it from a backup, or move it away to order a new certificate";
            CertificateFault::Damaged { path, hint }
        }
    }
}

/// The right to order; it ends with the value, or with the process.
#[derive(Debug)]
pub(crate) struct Lock {
    _held: File,
}

impl Lock {
    /// Takes it; `None` while another process has it.
    pub(crate) fn take(state: &Path) -> Result<Option<Self>, CertificateFault> {
        let path = state.join("acme/lock");
        let fault = |reason| CertificateFault::Write { path: path.clone(), reason };
        atomic_file::folder_of(&path).map_err(fault)?;
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path).map_err(fault)?;
        atomic_file::hand_over(&path).map_err(fault)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Self { _held: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(reason)) => Err(fault(reason)),
        }
    }
}

/// A JSON file of ours; `None` where there is none.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, hint: &'static str) -> Result<Option<T>, CertificateFault> {
    let Some(bytes) = atomic_file::read_if_there(path)?.map(Zeroizing::new) else { return Ok(None) };
    let damaged = |_| CertificateFault::Damaged { path: path.to_owned(), hint };
    serde_json::from_slice(&bytes).map(Some).map_err(damaged)
}

/// Replaces a JSON file of ours.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), CertificateFault> {
    let fault = |fault| CertificateFault::Write { path: path.to_owned(), reason: std::io::Error::other(fault) };
    let bytes = Zeroizing::new(serde_json::to_vec_pretty(value).map_err(fault)?);
    atomic_file::write(path, &bytes, Access::Owner)
}
