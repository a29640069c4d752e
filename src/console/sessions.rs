//! Who is signed in.
//!
//! Guarantees: a session is known by the hash of 32 random bytes, which only the browser has; it ends after half an hour
//! without use, after eight hours, and as soon as its holder is locked, revoked, changed, expired, or has no role that
//! may be here; there is a bounded number. Does not: survive a restart.

use super::form::Form;
use crate::gateway::Gateway;
use crate::pipeline::peer::SignedIn;
use crate::store::Banned;
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

    /// Whether a ban would shut its own holder out.
    pub(super) fn is_of(&self, banned: &Banned) -> bool {
        match (banned, &self.who) {
            (Banned::Key(banned), SignedIn::Key(own)) => *banned == own.as_str(),
            (Banned::User(banned), SignedIn::User { name, .. }) => **banned == **name,
            (Banned::Key(_) | Banned::User(_) | Banned::Network(_), _) => false,
        }
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

/// Whether somebody may be here, as they are now.
fn admitted(who: &SignedIn, gateway: &Gateway) -> Result<(), &'static str> {
    let (bans, now) = (&gateway.bans, clock::now());
    let (role, banned) = match who {
        SignedIn::Key(id) => {
            let key = gateway.keys.active(*id, now).ok_or("session_over")?;
            (Arc::clone(&key.role), bans.has_key(&key, now))
        }
        SignedIn::User { name: own, since } => {
            let role = gateway.accounts.standing(own, *since).ok_or("session_over")?;
            (role, bans.has_principal(&name(who), now))
        }
        SignedIn::Outside { principal, role } if is_known(principal, role, gateway) => {
            (Arc::clone(role), bans.has_principal(principal, now))
        }
        SignedIn::Outside { .. } => return Err("session_over"),
    };
    if banned {
        return Err("banned");
    }
    let named = gateway.policy().config.admin.roles.iter().any(|named| **named == *role);
    if named { Ok(()) } else { Err("not_an_admin") }
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
        admitted(&who, gateway)?;
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
        if session.is_over() || admitted(&session.who, gateway).is_err() {
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
