//! Who is signed in.
//!
//! Guarantees: a session is known by the hash of 32 random bytes, which only the browser has; it ends after half an hour
//! without use, after eight hours, and as soon as its holder is locked, revoked, changed, expired, or has no role that
//! may be here; there is a bounded number. Does not: survive a restart.

use super::form::Form;
use crate::gateway::Gateway;
use crate::pipeline::peer::SignedIn;
use crate::telemetry::clock;
use crate::telemetry::printable::hex;
use aws_lc_rs::digest::{SHA256, digest};
use http::header::{self, HeaderMap};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

const NAME: &str = "ogw_console";
/// The cookie that ends it.
pub(super) const GONE: &str = "ogw_console=; Path=/console; HttpOnly; Secure; SameSite=Strict; Max-Age=0";
const UNUSED: Duration = Duration::from_secs(30 * 60);
const WHOLE: Duration = Duration::from_secs(8 * 60 * 60);
const MOST: usize = 32;

pub(super) type Digest = [u8; 32];

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sessions(Mutex<HashMap<Digest, Session>>);

/// One.
#[derive(Clone)]
pub(super) struct Session {
    id: Digest,
    /// Whose it is.
    pub(super) who: SignedIn,
    /// What its forms carry.
    pub(super) token: Arc<str>,
    begun: Instant,
    used: Instant,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("who", &self.who).finish_non_exhaustive()
    }
}

impl Session {
    /// Whether the form is of this session.
    pub(super) fn sent(&self, form: &Form) -> bool {
        form.get("token").as_bytes().ct_eq(self.token.as_bytes()).into()
    }

    /// Whose it is, as logs say it.
    pub(super) fn name(&self) -> String {
        name(&self.who)
    }

    fn is_over(&self) -> bool {
        self.used.elapsed() > UNUSED || self.begun.elapsed() > WHOLE
    }
}

fn name(who: &SignedIn) -> String {
    match who {
        SignedIn::Key(id) => id.to_string(),
        SignedIn::User { name, .. } => format!("user:{name}"),
        SignedIn::Outside { principal, .. } => principal.to_string(),
    }
}

/// The role that somebody has now, if it may be here.
fn role(who: &SignedIn, gateway: &Gateway) -> Result<Arc<str>, &'static str> {
    let role = match who {
        SignedIn::Key(id) => gateway.keys.active(*id, clock::now()).map(|key| Arc::clone(&key.role)),
        SignedIn::User { name, since } => gateway.accounts.standing(name, *since),
        SignedIn::Outside { principal, role } => is_known(principal, role, gateway).then(|| Arc::clone(role)),
    };
    let role = role.ok_or("session_over")?;
    if gateway.bans.has_principal(&name(who), clock::now()) {
        return Err("banned");
    }
    let named = gateway.policy().config.admin.roles.iter().any(|named| **named == *role);
    if named { Ok(role) } else { Err("not_an_admin") }
}

/// Whether the configuration of now has that issuer, and gives that role.
fn is_known(principal: &str, role: &str, gateway: &Gateway) -> bool {
    let policy = gateway.policy();
    policy.config.admin.oidc.as_ref().is_some_and(|sign_on| {
        let host = sign_on.issuer.issuer.trim_start_matches("https://");
        let rest = principal.strip_prefix("oidc:").and_then(|rest| rest.strip_prefix(host));
        let gives = sign_on.issuer.roles.iter().any(|(_, given)| given == role);
        gives && rest.is_some_and(|rest| rest.starts_with(':'))
    })
}

impl Sessions {
    /// Begins one; whose it is, and what the browser is to keep.
    pub(super) fn begin(&self, who: SignedIn, gateway: &Gateway) -> Result<(String, String), &'static str> {
        role(&who, gateway)?;
        let (Some(secret), Some(token)) = (random(), random()) else { return Err("no_randomness") };
        let (id, now, name) = (hash(&secret), Instant::now(), name(&who));
        let session = Session { id, who, token: token.into(), begun: now, used: now };
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| !session.is_over());
        if sessions.len() >= MOST
            && let Some(oldest) = sessions.values().min_by_key(|session| session.used).map(|session| session.id)
        {
            sessions.remove(&oldest);
        }
        sessions.insert(id, session);
        let life = WHOLE.as_secs();
        Ok((name, format!("{NAME}={secret}; Path=/console; HttpOnly; Secure; SameSite=Strict; Max-Age={life}")))
    }

    /// The session of a request, if it has one that still holds.
    pub(super) fn of(&self, headers: &HeaderMap, gateway: &Gateway) -> Option<Session> {
        self.find(headers, gateway, Use::Request)
    }

    /// The same for a stream that goes on by itself: nobody need be there.
    pub(super) fn still(&self, headers: &HeaderMap, gateway: &Gateway) -> bool {
        self.find(headers, gateway, Use::Stream).is_some()
    }

    fn find(&self, headers: &HeaderMap, gateway: &Gateway, by: Use) -> Option<Session> {
        let id = hash(cookie(headers, NAME)?);
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get_mut(&id)?;
        if session.is_over() || role(&session.who, gateway).is_err() {
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

/// A cookie of a request, the first of its name.
pub(super) fn cookie<'h>(headers: &'h HeaderMap, wanted: &str) -> Option<&'h str> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == wanted).map(|(_, secret)| secret)
}

/// 32 random bytes as text.
pub(super) fn random() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(hex(&bytes))
}

/// What is kept of a secret.
pub(super) fn hash(secret: &str) -> Digest {
    let mut id = [0; 32];
    for (slot, byte) in id.iter_mut().zip(digest(&SHA256, secret.as_bytes()).as_ref()) {
        *slot = *byte;
    }
    id
}
