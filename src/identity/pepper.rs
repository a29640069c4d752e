//! The pepper: 32 random bytes in a file of the state folder, without which the hashes in the store are worth nothing.
//!
//! Guarantees: made once, whole, 0600; never made again where a store already belongs to one (that would lock every key
//! out in silence): the store remembers a fingerprint, so a missing or a foreign pepper is an error that says so.
//! Does not: travel. Several gateways at one PostgreSQL need the same file, copied by their operator.

use super::keys::{NoRandomness, PresentedKey};
use crate::store::key_record::KeyHash;
use crate::store::private_files::{PrivateFileError, check_file, write_once};
use crate::store::{Store, StoreError};
use aws_lc_rs::hmac;
use std::fmt;
use std::path::{Path, PathBuf};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

const FILE: &str = "pepper";
const FACT: &str = "pepper_fingerprint";
const LENGTH: usize = 32;

/// The key of the HMAC.
#[derive(Clone)]
pub struct Pepper(hmac::Key);

/// Why there is none to work with.
#[derive(Debug, thiserror::Error)]
pub enum PepperError {
    /// The store has keys made with one, and the file is gone.
    #[error(
        "{path} is missing, and the keys in the store {store} were made with it: restore it from a backup (or copy it from \
         the gateway that shares this store); without it they are lost, and a new store must be begun",
        path = path.display()
    )]
    Missing {
        /// Where it should be.
        path: PathBuf,
        /// Whose keys.
        store: String,
    },
    /// Another one than the store's.
    #[error(
        "{path} is not the pepper with which the keys in the store {store} were made: put that one back (or copy it from \
         the gateway that shares this store)",
        path = path.display()
    )]
    Foreign {
        /// Where it is.
        path: PathBuf,
        /// Whose keys.
        store: String,
    },
    /// Not 32 bytes.
    #[error("{path} is damaged (it must be {LENGTH} bytes): restore it from a backup", path = path.display())]
    Damaged {
        /// Where it is.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {path}: {source}", path = path.display())]
    Unreadable {
        /// Where it is.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is not private, or cannot be made.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The store cannot be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is nothing to make one from.
    #[error(transparent)]
    Randomness(#[from] NoRandomness),
}

impl Pepper {
    /// Reads the pepper that belongs to the store, or makes it for a new one.
    ///
    /// # Errors
    /// [`PepperError`]: it is missing, foreign, damaged or open to others.
    pub async fn open(state: &Path, store: &Store) -> Result<Self, PepperError> {
        let path = state.join(FILE);
        let claimed = store.fact(FACT).await?;
        if !path.exists() {
            if claimed.is_some() {
                return Err(PepperError::Missing { path, store: store.label() });
            }
            make(&path)?;
        }
        let pepper = Self::read(&path)?;
        pepper.belong_to(store, claimed, path).await?;
        Ok(pepper)
    }

    /// From bytes that are there already.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; LENGTH]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }

    /// What the store keeps of a key.
    #[must_use]
    pub fn hash(&self, key: &PresentedKey) -> KeyHash {
        self.sign(&[b"api key v1\0", key.id().as_str().as_bytes(), key.secret()])
    }

    /// What the store keeps of a refresh token.
    #[must_use]
    pub fn hash_refresh(&self, token: &PresentedKey) -> KeyHash {
        self.sign(&[b"refresh token v1\0", token.id().as_str().as_bytes(), token.secret()])
    }

    /// What the store keeps of a recovery code: it is bound to its user.
    #[must_use]
    pub fn hash_code(&self, user: &str, code: &str) -> KeyHash {
        self.sign(&[b"recovery code v1\0", user.as_bytes(), b"\0", code.as_bytes()])
    }

    /// A key for one purpose, from which neither the pepper nor another purpose's key can be had.
    #[must_use]
    pub fn derive(&self, purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(*self.sign(&[b"derived key v1\0", purpose]).as_bytes())
    }

    fn read(path: &Path) -> Result<Self, PepperError> {
        check_file(path)?;
        let bytes = std::fs::read(path).map_err(|source| PepperError::Unreadable { path: path.to_owned(), source })?;
        let bytes = Zeroizing::new(bytes);
        let bytes: &[u8; LENGTH] =
            bytes.as_slice().try_into().map_err(|_| PepperError::Damaged { path: path.to_owned() })?;
        Ok(Self::from_bytes(bytes))
    }

    /// Two gateways that begin a store at once may each have made a pepper: the first to leave its fingerprint wins.
    async fn belong_to(&self, store: &Store, claimed: Option<Vec<u8>>, path: PathBuf) -> Result<(), PepperError> {
        let own = self.sign(&[b"pepper fingerprint v1\0"]);
        let claimed = match claimed {
            Some(fingerprint) => Some(fingerprint),
            None => {
                store.claim_fact(FACT, own.as_bytes()).await?;
                store.fact(FACT).await?
            }
        };
        let same = claimed.is_some_and(|fingerprint| own.as_bytes().ct_eq(&fingerprint).into());
        if same { Ok(()) } else { Err(PepperError::Foreign { path, store: store.label() }) }
    }

    fn sign(&self, parts: &[&[u8]]) -> KeyHash {
        let mut context = hmac::Context::with_key(&self.0);
        parts.iter().for_each(|part| context.update(part));
        let mut bytes = [0; 32];
        for (slot, byte) in bytes.iter_mut().zip(context.sign().as_ref()) {
            *slot = *byte;
        }
        KeyHash::new(bytes)
    }
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[pepper]")
    }
}

fn make(path: &Path) -> Result<(), PepperError> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    getrandom::fill(bytes.as_mut_slice()).map_err(NoRandomness::from)?;
    Ok(write_once(path, bytes.as_slice())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_depends_on_the_pepper_the_id_and_the_secret() {
        let (key, other) = (PresentedKey::generate().unwrap(), PresentedKey::generate().unwrap());
        let pepper = Pepper::from_bytes(&[1; LENGTH]);
        let hash = |pepper: &Pepper, key: &PresentedKey| *pepper.hash(key).as_bytes();
        assert_eq!(hash(&pepper, &key), hash(&pepper.clone(), &key));
        assert_ne!(hash(&pepper, &key), hash(&pepper, &other));
        assert_ne!(hash(&pepper, &key), hash(&Pepper::from_bytes(&[2; LENGTH]), &key));
    }
}
