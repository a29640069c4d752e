//! The signature of the stock `ollama` command (`OLLAMA_AUTH=1`): `Authorization: <public key>:<signature>` over
//! `METHOD,path?ts=SECONDS`, with the Ed25519 key in `~/.ollama`.
//!
//! Guarantees: the key has to be enrolled (`key add-ssh`); the moment may be 60 seconds off; a signature that has been
//! seen is bound to the connection it came on, and opens nothing on another one. What has to be remembered for that is
//! bounded, and only holders of enrolled keys can fill it; where it is full, signatures are refused.
//! Does not: cover the host and the body: Ollama's scheme leaves them out. TLS covers them on the way.
//! Answers `field.md` D-1.

use super::key_ring::KeyRing;
use crate::store::key_bounds::PublicKey;
use crate::store::key_record::KeyRecord;
use crate::telemetry::clock;
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// How far the clocks may differ, in seconds.
const WINDOW: u64 = 60;
/// Signatures that are remembered.
const MAX_SEEN: usize = 65_536;
/// What stands before the key in an SSH public key: the length and name of its type, and the key's length.
const SSH_PREFIX: &[u8] = b"\0\0\0\x0bssh-ed25519\0\0\0\x20";

/// A key and a signature, well formed.
#[derive(Debug, Clone)]
pub struct PresentedSignature {
    key: PublicKey,
    signature: [u8; 64],
}

/// What was signed.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The method.
    pub method: &'a str,
    /// The path, as it came.
    pub path: &'a str,
    /// The query, as it came: `ts=SECONDS`.
    pub query: &'a str,
    /// The connection's number.
    pub connection: u64,
}

/// Why a signature opens nothing. The client is told the same for all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureRefusal {
    /// No such key is enrolled.
    Unknown,
    /// There is no moment in the query, or something else is.
    NoMoment,
    /// More than a minute ago, or ahead.
    TooOld,
    /// It is not the key's.
    Wrong,
    /// It was seen on another connection.
    Replayed,
    /// There is no room to remember it.
    NoRoom,
}

impl SignatureRefusal {
    /// For the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "ssh_key_unknown",
            Self::NoMoment => "signature_without_time",
            Self::TooOld => "signature_time",
            Self::Wrong => "signature_wrong",
            Self::Replayed => "signature_replayed",
            Self::NoRoom => "signature_no_room",
        }
    }
}

impl PresentedSignature {
    /// Reads the value of the header.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (key, signature) = text.split_once(':')?;
        let signature = STANDARD.decode(signature).ok()?.try_into().ok()?;
        Some(Self { key: ssh_blob(key)?, signature })
    }
}

/// Reads a line of an `.pub` file: `ssh-ed25519 AAAA… comment`.
#[must_use]
pub fn parse_public_key(line: &str) -> Option<PublicKey> {
    let mut words = line.split_whitespace();
    let kind = words.next()?;
    (kind == "ssh-ed25519").then(|| words.next()).flatten().and_then(ssh_blob)
}

fn ssh_blob(text: &str) -> Option<PublicKey> {
    let blob = STANDARD.decode(text).ok()?;
    blob.strip_prefix(SSH_PREFIX)?.try_into().ok().map(PublicKey)
}

/// The signatures of the last two minutes, and the connections they came on.
#[derive(Debug, Default)]
pub struct SeenSignatures(Mutex<HashMap<[u8; 64], Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    connection: u64,
    until: u64,
}

impl SeenSignatures {
    /// Whose signature it is, if it opens now.
    ///
    /// # Errors
    /// [`SignatureRefusal`]
    pub fn verify(
        &self,
        keys: &KeyRing,
        presented: &PresentedSignature,
        signed: &Signed<'_>,
        now: SystemTime,
    ) -> Result<Arc<KeyRecord>, SignatureRefusal> {
        let seconds = moment(signed.query).ok_or(SignatureRefusal::NoMoment)?;
        let present = clock::unix_seconds(now);
        let text = format!("{},{}?{}", signed.method, signed.path, signed.query);
        let right = UnparsedPublicKey::new(&ED25519, presented.key.0).verify(text.as_bytes(), &presented.signature);
        // Looked up whatever came of it: who has no key cannot tell whether one is enrolled.
        let record = keys.signer(presented.key, now);
        right.map_err(|_| SignatureRefusal::Wrong)?;
        let record = record.ok_or(SignatureRefusal::Unknown)?;
        if seconds.abs_diff(present) > WINDOW {
            return Err(SignatureRefusal::TooOld);
        }
        let seen = Seen { connection: signed.connection, until: seconds.saturating_add(WINDOW) };
        self.remember(presented.signature, seen, present)?;
        Ok(record)
    }

    fn remember(&self, signature: [u8; 64], new: Seen, present: u64) -> Result<(), SignatureRefusal> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_SEEN {
            all.retain(|_, seen| seen.until >= present);
        }
        let full = all.len() >= MAX_SEEN;
        match all.entry(signature) {
            Entry::Occupied(seen) if seen.get().connection == new.connection => Ok(()),
            Entry::Occupied(_) => Err(SignatureRefusal::Replayed),
            Entry::Vacant(_) if full => Err(SignatureRefusal::NoRoom),
            Entry::Vacant(free) => {
                free.insert(new);
                Ok(())
            }
        }
    }
}

/// `ts=SECONDS` and nothing else, in one spelling.
fn moment(query: &str) -> Option<u64> {
    let digits = query.strip_prefix("ts=")?;
    let plain = (1..=12).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_spelling_of_a_moment_is_read() {
        assert_eq!(moment("ts=1764000000"), Some(1_764_000_000));
        for query in ["", "ts=", "ts=-1", "ts=1&ts=2", "ts=1&a=b", "a=b&ts=1", "ts=+1", "ts=1764000000000", "TS=1"] {
            assert_eq!(moment(query), None, "{query}");
        }
    }

    #[test]
    fn only_ed25519_keys_are_read() {
        let key = "AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";
        assert!(parse_public_key(&format!("ssh-ed25519 {key} ana@laptop")).is_some());
        for line in [key.to_owned(), format!("ssh-rsa {key}"), format!("ssh-ed25519 {}", &key[..60]), String::new()] {
            assert!(parse_public_key(&line).is_none(), "{line}");
        }
        assert!(PresentedSignature::parse(&format!("{key}:{}", STANDARD.encode([0; 64]))).is_some());
        assert!(PresentedSignature::parse(&format!("{key}:{}", STANDARD.encode([0; 63]))).is_none());
        assert!(PresentedSignature::parse("user:password").is_none());
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten_in_time() {
        let seen = SeenSignatures::default();
        let entry = |number: usize| {
            let mut signature = [0; 64];
            signature[..8].copy_from_slice(&number.to_le_bytes());
            signature
        };
        let at = |connection| Seen { connection, until: 100 };
        for number in 0..MAX_SEEN {
            assert_eq!(seen.remember(entry(number), at(1), 50), Ok(()));
        }
        assert_eq!(seen.remember(entry(MAX_SEEN), at(1), 100), Err(SignatureRefusal::NoRoom));
        assert_eq!(seen.remember(entry(7), at(1), 100), Ok(()), "the same connection may say it again");
        assert_eq!(seen.remember(entry(7), at(2), 100), Err(SignatureRefusal::Replayed));
        assert_eq!(seen.remember(entry(MAX_SEEN), at(1), 101), Ok(()));
        assert_eq!(seen.0.lock().unwrap().len(), 1);
    }
}
