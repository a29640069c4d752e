//! Signing in: a password, a key or a refresh token against tokens.
//!
//! Guarantees: an unknown user, a wrong password, a locked user and a missing second factor are the same answer after the
//! same work; a try is counted in the store before its password is looked at, so tries that race cannot outrun the
//! back-off; a refresh token works once, and its second use revokes its family, thief's and owner's tokens alike
//! (RFC 9700 §4.14.2).
//! Does not: count failures by address (`limits`), or know HTTP (`pipeline::own`).

use super::accounts::{Accounts, KEY_SUBJECT};
use super::key_ring::KeyRing;
use super::keys::{NoRandomness, PresentedKey};
use super::passwords::{HashFault, Verdict};
use super::refresh::{RefreshToken, fresh_id};
use super::tokens::{Grant, TokenKeys};
use crate::config::secret::Secret;
use crate::store::timestamp::Timestamp;
use crate::store::user_record::{RefreshRecord, UserName, UserRecord};
use crate::store::{Attempt, Change, NewRefresh, StoreError};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use subtle::ConstantTimeEq as _;

/// Failed tries without a wait.
const FREE_TRIES: u32 = 4;
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// How often a try that raced with another one is taken up again.
const RACES: u8 = 4;

/// What is given out.
#[derive(Debug)]
pub struct Tokens {
    /// The token.
    pub access: Secret,
    /// How long it holds.
    pub lifetime: Duration,
    /// What gets the next one; services have none, their key is theirs.
    pub refresh: Option<Secret>,
    /// Whose they are, for the log.
    pub principal: Arc<str>,
    /// With which role.
    pub role: Arc<str>,
}

/// Why none are.
#[derive(Debug, thiserror::Error)]
pub enum SignInFault {
    /// The credential is not good; why is for the log.
    #[error("{why}")]
    Refused {
        /// A word of a closed set.
        why: &'static str,
        /// Whose it would be, where there is such a one.
        who: Option<Arc<str>>,
    },
    /// Too many passwords are being checked.
    #[error("too many sign-ins at once")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A token could not be made.
    #[error("no token can be made")]
    NotIssued,
}

impl From<HashFault> for SignInFault {
    fn from(fault: HashFault) -> Self {
        match fault {
            HashFault::Busy => Self::Busy,
            HashFault::Failed => Self::NotIssued,
        }
    }
}

impl From<NoRandomness> for SignInFault {
    fn from(_: NoRandomness) -> Self {
        Self::NotIssued
    }
}

fn refused(why: &'static str) -> SignInFault {
    SignInFault::Refused { why, who: None }
}

fn refused_to(why: &'static str, who: &str) -> SignInFault {
    SignInFault::Refused { why, who: Some(who.into()) }
}

/// What a user presents.
#[derive(Debug)]
pub struct PasswordGrant {
    /// The name as it came.
    pub name: String,
    /// The password.
    pub password: Secret,
    /// The second factor, where one came.
    pub code: Option<Secret>,
}

/// Whether a user without one gets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SecondFactor {
    Required,
    WhereEnrolled,
}

/// Whose tokens are made, and from which sign-in.
struct Subject<'a> {
    subject: &'a str,
    role: Arc<str>,
    family: &'a str,
    now: Timestamp,
}

impl Accounts {
    /// A user's password against tokens.
    ///
    /// # Errors
    /// [`SignInFault`]
    pub async fn by_password(
        &self,
        keys: &TokenKeys,
        grant: PasswordGrant,
        now: SystemTime,
    ) -> Result<Tokens, SignInFault> {
        let now = Timestamp::from(now);
        let user = self.who(grant, SecondFactor::WhereEnrolled, now).await?;
        self.first_tokens(keys, &user, now).await
    }

    /// Whose password it is; nothing is given out for it. A second factor has to be there.
    ///
    /// # Errors
    /// [`SignInFault`]
    pub async fn by_both_factors(&self, grant: PasswordGrant, now: SystemTime) -> Result<UserRecord, SignInFault> {
        self.who(grant, SecondFactor::Required, Timestamp::from(now)).await
    }

    async fn who(
        &self,
        grant: PasswordGrant,
        second_factor: SecondFactor,
        now: Timestamp,
    ) -> Result<UserRecord, SignInFault> {
        let user = match UserName::parse(&grant.name) {
            Some(name) => self.store.user(&name).await?,
            None => None,
        };
        let counted = match &user {
            Some(user) => self.count(user, now).await?,
            None => Counted::Looked,
        };
        let hash = user.as_ref().map(|user| user.password.clone());
        let verdict = self.passwords.verify(grant.password.clone(), hash).await?;
        let user = user.ok_or_else(|| refused("user_unknown"))?;
        let name = user.name.as_str();
        match (counted, verdict) {
            (Counted::TooEarly, _) => return Err(refused_to("user_backed_off", name)),
            (Counted::Looked, Verdict::Wrong) => return Err(refused_to("password_wrong", name)),
            (Counted::Looked, Verdict::Right | Verdict::RightButOld) => {}
        }
        if user.locked_at.is_some() {
            return Err(refused_to("user_locked", name));
        }
        if user.totp.is_none() && second_factor == SecondFactor::Required {
            return Err(refused_to("second_factor_not_enrolled", name));
        }
        self.check_second_factor(&user, grant.code.as_ref(), now).await?;
        self.store.attempt_succeeded(&user.name).await?;
        // A user who was made a moment ago: the token must open when it arrives.
        self.follow().await?;
        if verdict == Verdict::RightButOld {
            let new = self.passwords.hash(grant.password).await?;
            self.store.rehash(&user.name, &user.password, &new).await?;
        }
        Ok(user)
    }

    /// A key against a token. There is no refresh token: the key gets the next one (RFC 6749 §4.4.3).
    ///
    /// # Errors
    /// [`SignInFault`]
    pub fn by_key(
        &self,
        keys: &TokenKeys,
        (ring, presented): (&KeyRing, &PresentedKey),
        now: SystemTime,
    ) -> Result<Tokens, SignInFault> {
        let key = ring.verify(presented, now).map_err(|refusal| refused(refusal.as_str()))?;
        let serial = fresh_id()?;
        let (subject, family) = (format!("{KEY_SUBJECT}{}", key.id), key.id.to_string());
        let role = Arc::clone(&key.role);
        let subject = Subject { subject: &subject, role, family: &family, now: Timestamp::from(now) };
        let access = sign(keys, &subject, &serial)?;
        let principal = Arc::from(key.principal.as_str());
        Ok(Tokens { access, lifetime: keys.lifetime(), refresh: None, principal, role: Arc::clone(&key.role) })
    }

    /// A refresh token against the next pair.
    ///
    /// # Errors
    /// [`SignInFault`]
    pub async fn by_refresh(&self, keys: &TokenKeys, text: &Secret, now: SystemTime) -> Result<Tokens, SignInFault> {
        let now = Timestamp::from(now);
        let (presented, known) = self.known_refresh(text).await?;
        let subject = known.subject.as_str();
        if known.used_at.is_some() {
            return Err(self.reused(keys, &known, now).await?);
        }
        if known.family_revoked_at.is_some() {
            return Err(refused_to("refresh_token_revoked", subject));
        }
        if known.expires_at <= now {
            return Err(refused_to("refresh_token_expired", subject));
        }
        let name = UserName::parse(subject).ok_or_else(|| refused("refresh_token_subject"))?;
        let user = self.store.user(&name).await?.filter(|user| user.locked_at.is_none());
        let Some(user) = user.filter(|user| known.family_created_at >= user.valid_from) else {
            return Err(refused_to("refresh_token_subject", subject));
        };
        let next = RefreshToken::generate()?;
        let new = (next.id(), next.hash(&self.pepper));
        let expires_at = now.after(keys.refresh()).unwrap_or(now).min(last_day(&known, keys));
        let new = NewRefresh { id: &new.0, family: &known.family, hash: &new.1, expires_at };
        if self.store.rotate_refresh(&presented.id(), &new, now).await? == Change::NotMade {
            return Err(self.reused(keys, &known, now).await?);
        }
        self.follow().await?;
        let now = now.max(user.valid_from);
        pair(keys, &Subject { subject, role: user.role, family: &known.family, now }, &next)
    }

    /// Takes a refresh token back, with all of its family, and names that. What is none is no fault (RFC 7009 §2.2).
    ///
    /// # Errors
    /// The store failed.
    pub async fn revoke_refresh(
        &self,
        keys: &TokenKeys,
        text: &Secret,
        now: SystemTime,
    ) -> Result<Option<String>, SignInFault> {
        let now = Timestamp::from(now);
        let known = match self.known_refresh(text).await {
            Ok((_, known)) => known,
            Err(SignInFault::Refused { .. }) => return Ok(None),
            Err(fault @ (SignInFault::Busy | SignInFault::Store(_) | SignInFault::NotIssued)) => return Err(fault),
        };
        self.revoke_family(keys, &known.family, now).await?;
        Ok(Some(known.family))
    }

    /// Takes one token back.
    ///
    /// # Errors
    /// The store failed.
    pub async fn revoke_access(&self, id: &str, expires_at: i64, now: SystemTime) -> Result<(), SignInFault> {
        let end = Timestamp::from_seconds(expires_at.saturating_add(60));
        self.store.revoke_token(id, Timestamp::from(now), end).await?;
        Ok(self.renew().await?)
    }

    /// The record of a refresh token whose secret is right.
    async fn known_refresh(&self, text: &Secret) -> Result<(RefreshToken, RefreshRecord), SignInFault> {
        let presented = RefreshToken::parse(text.expose()).ok_or_else(|| refused("refresh_token_malformed"))?;
        let known = self.store.refresh_token(&presented.id()).await?;
        let expected = known.as_ref().map_or([0; 32], |known| *known.hash.as_bytes());
        let same: bool = presented.hash(&self.pepper).as_bytes().ct_eq(&expected).into();
        let known = known.filter(|_| same).ok_or_else(|| refused("refresh_token_unknown"))?;
        Ok((presented, known))
    }

    /// Somebody has a copy: nobody knows who of the two is the owner, so neither goes on.
    async fn reused(
        &self,
        keys: &TokenKeys,
        known: &RefreshRecord,
        now: Timestamp,
    ) -> Result<SignInFault, SignInFault> {
        self.revoke_family(keys, &known.family, now).await?;
        Ok(refused_to("refresh_token_reused", &known.subject))
    }

    async fn revoke_family(&self, keys: &TokenKeys, family: &str, now: Timestamp) -> Result<(), SignInFault> {
        let end = now.after(keys.lifetime() + Duration::from_secs(60)).unwrap_or(now);
        self.store.revoke_family(family, now, end).await?;
        Ok(self.renew().await?)
    }

    /// Counts a try, or says that it comes too early.
    async fn count(&self, user: &UserRecord, now: Timestamp) -> Result<Counted, SignInFault> {
        let (mut failures, mut retry_at) = (user.failures, user.retry_at);
        for _ in 0..RACES {
            if retry_at > now {
                return Ok(Counted::TooEarly);
            }
            let next = now.after(wait_after(failures.saturating_add(1))).unwrap_or(now);
            let attempt = Attempt { failures, now, retry_at: next };
            if self.store.begin_attempt(&user.name, attempt).await? == Change::Made {
                return Ok(Counted::Looked);
            }
            let Some(again) = self.store.user(&user.name).await? else { return Ok(Counted::TooEarly) };
            (failures, retry_at) = (again.failures, again.retry_at);
        }
        Ok(Counted::TooEarly)
    }

    async fn first_tokens(&self, keys: &TokenKeys, user: &UserRecord, now: Timestamp) -> Result<Tokens, SignInFault> {
        // A change of the user makes tokens valid from the next second on.
        let now = now.max(user.valid_from);
        let (family, first) = (fresh_id()?, RefreshToken::generate()?);
        let (id, hash) = (first.id(), first.hash(&self.pepper));
        let expires_at = now.after(keys.refresh()).unwrap_or(now);
        let new = NewRefresh { id: &id, family: &family, hash: &hash, expires_at };
        self.store.begin_family(user.name.as_str(), &new, now).await?;
        let role = Arc::clone(&user.role);
        pair(keys, &Subject { subject: user.name.as_str(), role, family: &family, now }, &first)
    }
}

/// Whether a try was counted and may be looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Counted {
    Looked,
    TooEarly,
}

/// None, none, none, none, 2 s, 4 s, 8 s … 15 min.
fn wait_after(failures: u32) -> Duration {
    match failures.checked_sub(FREE_TRIES) {
        None | Some(0) => Duration::ZERO,
        Some(more) => Duration::from_secs(2_u64.saturating_pow(more)).min(LONGEST_WAIT),
    }
}

/// A sign-in does not go on for ever: four times the life of a refresh token, then a password is wanted again.
fn last_day(known: &RefreshRecord, keys: &TokenKeys) -> Timestamp {
    known.family_created_at.after(keys.refresh().saturating_mul(4)).unwrap_or(known.expires_at)
}

fn sign(keys: &TokenKeys, subject: &Subject<'_>, serial: &str) -> Result<Secret, SignInFault> {
    let Subject { subject, role, family, now } = subject;
    keys.sign(&Grant { subject, role, family, serial, now: *now }).map_err(|_| SignInFault::NotIssued)
}

fn pair(keys: &TokenKeys, subject: &Subject<'_>, refresh: &RefreshToken) -> Result<Tokens, SignInFault> {
    let serial = fresh_id()?;
    Ok(Tokens {
        access: sign(keys, subject, &serial)?,
        lifetime: keys.lifetime(),
        refresh: Some(refresh.reveal()),
        principal: super::accounts::principal(subject.subject).as_str().into(),
        role: Arc::clone(&subject.role),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_at_a_quarter_of_an_hour() {
        let waits = [1, 4, 5, 6, 7, 13, 14, u32::MAX].map(|failures| wait_after(failures).as_secs());
        assert_eq!(waits, [0, 0, 2, 4, 8, 512, 900, 900]);
    }
}
