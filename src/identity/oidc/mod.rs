//! Tokens of an outside issuer (OpenID Connect): discovery, its public keys, and which of our roles its claims mean.
//!
//! ```text
//! one task an issuer: discovery ─► JWKS ─► keys in memory      a request: iss ─► issuer ─► kid ─► signature ─► claims ─► role
//! ```
//!
//! Guarantees: a request fetches nothing: an unknown `kid` asks the issuer's one task to look again, which it does once a
//! minute at most, however many ask. https only, no redirect, the issuer's name as configured, an answer of 256 KiB and
//! 32 keys at most. A key has one algorithm, its own; shared secrets are none. While the issuer cannot be reached, the
//! keys of the last day hold. Answers `threats.md` §4.6 (fetches for unknown keys; key confusion).
//! Does not: sign anybody in by these tokens; that is between a client and the issuer. For the console, which is such a
//! client, see [`sign_on`].

mod fetch;
mod jwks;
pub mod sign_on;

use super::tokens::{Claims, Compact, Expected, Nbf, PresentedToken, TokenRefusal, common, is_access_token, text_of};
use crate::config::types::Oidc;
use crate::ollama::strict_json::Value;
use crate::telemetry::clock;
use arc_swap::ArcSwap;
use fetch::Fetcher;
use jwks::KeySet;
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How often the keys are looked at without a reason.
const EVERY: Duration = Duration::from_secs(10 * 60);
/// How often at most, whatever the reason.
const AT_MOST_EVERY: Duration = Duration::from_secs(60);
/// How long keys hold that cannot be renewed.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest life of a token that is believed.
const LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);

/// The outside issuers of a configuration.
#[derive(Debug, Default)]
pub struct Issuers(Vec<Arc<Issuer>>);

/// One of them.
#[derive(Debug)]
struct Issuer {
    config: Oidc,
    keys: ArcSwap<Known>,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct Known {
    keys: KeySet,
    at: Option<Instant>,
}

/// Whom a token of an outside issuer is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outsider {
    /// Its issuer and its `sub`.
    pub principal: String,
    /// One of our roles, by the table of the configuration.
    pub role: String,
}

impl Issuers {
    /// Begins to follow the issuers of a configuration; those of `before` that are the same go on with their keys.
    #[must_use]
    pub fn follow(wanted: &[Oidc], before: &Self) -> Self {
        let same = |config: &Oidc| before.0.iter().find(|issuer| issuer.config == *config).cloned();
        Self(wanted.iter().map(|config| same(config).unwrap_or_else(|| Issuer::follow(config))).collect())
    }

    /// Whom the token is about. `None`: it names no issuer of these.
    ///
    /// # Errors
    /// [`TokenRefusal`]
    pub fn verify(&self, token: &PresentedToken, now: SystemTime) -> Option<Result<Outsider, TokenRefusal>> {
        if self.0.is_empty() {
            return None;
        }
        let token = Compact::parse(token.as_str()).ok()?;
        // Not believed yet: it chooses one of a fixed list, whose keys then decide.
        let claims = Claims::object(&token.claims)?;
        let named = text_of(&claims, "iss")?;
        let issuer = self.0.iter().find(|issuer| issuer.config.issuer == named)?;
        Some(issuer.verify(&token, &claims, now))
    }
}

impl Issuer {
    fn follow(config: &Oidc) -> Arc<Self> {
        let issuer = Arc::new(Self { config: config.clone(), keys: ArcSwap::default(), wanted: Notify::new() });
        tokio::spawn(keep_fresh(Arc::downgrade(&issuer)));
        issuer
    }

    fn verify(&self, token: &Compact<'_>, claims: &Value<'_>, now: SystemTime) -> Result<Outsider, TokenRefusal> {
        is_access_token(&token.header)?;
        let known = self.keys.load();
        let fresh = known.at.is_some_and(|at| at.elapsed() < STALE);
        let key = known.keys.get(token.header.kid.as_deref()).filter(|_| fresh).ok_or_else(|| {
            self.wanted.notify_one();
            TokenRefusal::UnknownKey
        })?;
        key.verify(token)?;
        let now = i64::try_from(clock::unix_seconds(now)).unwrap_or(i64::MAX);
        let (issuer, audience) = (self.config.issuer.as_str(), self.config.audience.as_str());
        common(claims, &Expected { issuer, audience, lifetime: LIFETIME, nbf: Nbf::OrIat, now })?;
        outsider(&self.config, claims)
    }
}

/// Whom verified claims are about.
fn outsider(config: &Oidc, claims: &Value<'_>) -> Result<Outsider, TokenRefusal> {
    let subject = Claims::subject(claims)?;
    let role = role(config, claims).ok_or(TokenRefusal::Claims)?;
    let host = config.issuer.strip_prefix("https://").unwrap_or(&config.issuer);
    Ok(Outsider { principal: format!("oidc:{host}:{subject}"), role })
}

/// The first role of the table whose name the claim has.
fn role(config: &Oidc, claims: &Value<'_>) -> Option<String> {
    let claim = config.role_claim.split('.').try_fold(claims, |value, name| value.get(name))?;
    let has = |name: &str| match claim {
        Value::Text(one) => one.as_str() == name,
        Value::Array(many) => many.iter().any(|item| item.as_text().is_some_and(|text| text.as_str() == name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => false,
    };
    config.roles.iter().find(|(name, _)| has(name)).map(|(_, role)| role.clone())
}

/// Renews the keys of an issuer as long as somebody has it.
async fn keep_fresh(issuer: Weak<Issuer>) {
    let mut failures = 0_u32;
    loop {
        let Some(this) = issuer.upgrade() else { return };
        match Fetcher::new(this.config.root.as_deref()).keys(&this.config.issuer).await {
            Ok(keys) => {
                tracing::info!(event = "issuer_keys", issuer = this.config.issuer, keys = keys.len(), "keys renewed");
                this.keys.store(Arc::new(Known { keys, at: Some(Instant::now()) }));
                failures = 0;
            }
            Err(error) => {
                tracing::warn!(event = "issuer_unreachable", issuer = this.config.issuer, %error, "the last keys hold");
                failures = failures.saturating_add(1);
            }
        }
        tokio::time::sleep(pause(failures)).await;
        if failures == 0 {
            // Whoever drops the issuer is noticed within the period.
            drop(tokio::time::timeout(EVERY, this.wanted.notified()).await);
        }
    }
}

/// A minute after a success; 2 s, 4 s, 8 s … a minute after failures.
fn pause(failures: u32) -> Duration {
    match failures {
        0 => AT_MOST_EVERY,
        some => Duration::from_secs(2_u64.saturating_pow(some)).min(AT_MOST_EVERY),
    }
}
