//! Who is signed in.
//!
//! Guarantees: a session is known by the hash of 32 random bytes, which only the browser has; it ends after half an hour
//! without use, after eight hours, and as soon as its key is revoked, expires or is no admin's; there is a bounded
//! number. Does not: survive a restart.

use super::ADMIN;
use super::form::Form;
use crate::gateway::Gateway;
use crate::store::key_record::KeyId;
use crate::telemetry::clock;
use aws_lc_rs::digest::{SHA256, digest};
use http::header::{self, HeaderMap};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

const NAME: &str = "ogw_console";
/// The cookie that ends it.
pub(super) const GONE: &str = "ogw_console=; Path=/console; HttpOnly; SameSite=Strict; Max-Age=0";
const UNUSED: Duration = Duration::from_secs(30 * 60);
const WHOLE: Duration = Duration::from_secs(8 * 60 * 60);
const MOST: usize = 32;

type Digest = [u8; 32];

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Digest, Session>>);

/// One.
#[derive(Clone)]
pub(super) struct Session {
    id: Digest,
    /// The key that it began with.
    pub(super) key: KeyId,
    /// What its forms carry.
    pub(super) token: Arc<str>,
    begun: Instant,
    used: Instant,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Session {
    /// Whether the form is of this session.
    pub(super) fn sent(&self, form: &Form) -> bool {
        form.get("token").as_bytes().ct_eq(self.token.as_bytes()).into()
    }

    fn is_over(&self) -> bool {
        self.used.elapsed() > UNUSED || self.begun.elapsed() > WHOLE
    }
}

impl Sessions {
    /// Begins one; what the browser is to keep.
    pub(super) fn begin(&self, key: KeyId) -> Option<String> {
        let (secret, token) = (random()?, random()?);
        let (id, now) = (hash(&secret), Instant::now());
        let session = Session { id, key, token: token.into(), begun: now, used: now };
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| !session.is_over());
        if sessions.len() >= MOST
            && let Some(oldest) = sessions.values().min_by_key(|session| session.used).map(|session| session.id)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(id, session);
        Some(format!("{NAME}={secret}; Path=/console; HttpOnly; SameSite=Strict; Max-Age={}", WHOLE.as_secs()))
    }

    /// The session of a request, if it has one whose key still opens.
    pub(super) fn of(&self, headers: &HeaderMap, gateway: &Gateway) -> Option<Session> {
        self.find(headers, gateway, Use::Request)
    }

    /// The same for a stream that goes on by itself: nobody need be there.
    pub(super) fn still(&self, headers: &HeaderMap, gateway: &Gateway) -> bool {
        self.find(headers, gateway, Use::Stream).is_some()
    }

    fn find(&self, headers: &HeaderMap, gateway: &Gateway, by: Use) -> Option<Session> {
        let id = hash(secret_in(headers)?);
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get_mut(&id)?;
        let key = gateway.keys.active(session.key, clock::now());
        if session.is_over() || key.is_none_or(|key| &*key.role != ADMIN) {
            sessions.remove(&id);
            return None;
        }
        if by == Use::Request {
            session.used = Instant::now();
        }
        Some(session.clone())
    }

    /// Ends one.
    pub(super) fn end(&self, session: &Session) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&session.id);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Request,
    Stream,
}

fn secret_in(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == NAME).map(|(_, secret)| secret)
}

fn random() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn hash(secret: &str) -> Digest {
    let mut id = [0; 32];
    for (slot, byte) in id.iter_mut().zip(digest(&SHA256, secret.as_bytes()).as_ref()) {
        *slot = *byte;
    }
    id
}
