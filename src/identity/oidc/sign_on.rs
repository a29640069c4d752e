//! Sign-in by an outside issuer: the authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636, OpenID Connect Core §3.1).
//!
//! ```text
//! begin ─► Pending (state, nonce, verifier) + the issuer's address ─► the browser goes there and comes back ─► finish ─► Outsider
//! ```
//!
//! Guarantees: a [`Pending`] is used up by its one [`SignOn::finish`], whatever comes of it, so neither a state nor a code
//! is taken twice; the challenge is always S256; `state`, `nonce`, `iss`, `aud` and `azp` have to be those of this flow and
//! this client; the ID token is signed by a published key of the issuer, never by a shared secret; the role comes from the
//! table of the configuration. https alone. Answers RFC 9700 §2.1, §4.4 (CSRF, injection of codes, mix-up).
//! Does not: keep the issuer's tokens; they are read once and forgotten.

use super::fetch::{Endpoints, FetchFault, Fetcher, TokenRequest};
use super::jwks::KeySet;
use super::{LIFETIME, Outsider, outsider};
use crate::config::types;
use crate::identity::tokens::{Claims, Compact, Expected, Nbf, TokenRefusal, decisive, text_of};
use crate::ollama::strict_json::Value;
use crate::telemetry::clock;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use subtle::ConstantTimeEq as _;
use tokio::sync::Mutex;
use tokio::time::Instant;
use zeroize::Zeroizing;

/// How long what an issuer says of itself holds.
const FRESH: Duration = Duration::from_secs(10 * 60);
/// How often at most it is asked again because of a key that nobody knows.
const AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// How long a person may take at the issuer.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// One issuer that signs people in.
#[derive(Debug)]
pub struct SignOn {
    config: types::SignOn,
    known: Mutex<Option<Arc<Known>>>,
}

#[derive(Debug)]
struct Known {
    endpoints: Endpoints,
    keys: KeySet,
    at: Instant,
}

/// A flow that was begun. It can be finished once.
pub struct Pending {
    state: Zeroizing<String>,
    nonce: Zeroizing<String>,
    verifier: Zeroizing<String>,
    redirect: String,
    begun: Instant,
}

impl std::fmt::Debug for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pending").field("redirect", &self.redirect).finish_non_exhaustive()
    }
}

impl Pending {
    /// Whether it took too long.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.begun.elapsed() > PATIENCE
    }
}

/// What the browser brought back.
#[derive(Debug, Clone, Copy)]
pub struct Returned<'a> {
    /// `state`
    pub state: &'a str,
    /// `code`; empty where the issuer refused.
    pub code: &'a str,
    /// `iss` (RFC 9207); empty where it is not there.
    pub issuer: &'a str,
}

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignOnFault {
    /// The issuer cannot be reached, or says something else than it should.
    #[error("the issuer: {0}")]
    Issuer(String),
    /// It does not belong to the flow; why is for the log.
    #[error("{0}")]
    Refused(&'static str),
}

impl From<FetchFault> for SignOnFault {
    fn from(fault: FetchFault) -> Self {
        Self::Issuer(fault.to_string())
    }
}

impl From<TokenRefusal> for SignOnFault {
    fn from(refusal: TokenRefusal) -> Self {
        Self::Refused(refusal.as_str())
    }
}

impl SignOn {
    /// By this issuer.
    #[must_use]
    pub fn new(config: &types::SignOn) -> Self {
        Self { config: config.clone(), known: Mutex::default() }
    }

    /// Whether it is made of this configuration.
    #[must_use]
    pub fn is_of(&self, config: &types::SignOn) -> bool {
        self.config == *config
    }

    /// Begins a flow: where the browser has to go, and what has to be kept until it is back.
    ///
    /// # Errors
    /// [`SignOnFault`]
    pub async fn begin(&self, redirect: String) -> Result<(String, Pending), SignOnFault> {
        let known = self.known(FRESH).await?;
        let (state, nonce, verifier) = (random()?, random()?, random()?);
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        let scopes = self.config.scopes.iter().fold("openid".to_owned(), |all, scope| format!("{all} {scope}"));
        let mut url = known.endpoints.authorization.clone();
        let mut before = if url.contains('?') { '&' } else { '?' };
        for (name, value) in [
            ("response_type", "code"),
            ("client_id", &self.config.issuer.audience),
            ("redirect_uri", &redirect),
            ("scope", &scopes),
            ("state", &state),
            ("nonce", &nonce),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ] {
            url.push_str(&format!("{before}{name}={}", encoded(value)));
            before = '&';
        }
        Ok((url, Pending { state, nonce, verifier, redirect, begun: Instant::now() }))
    }

    /// Ends a flow.
    ///
    /// # Errors
    /// [`SignOnFault`]
    pub async fn finish(&self, pending: Pending, returned: Returned<'_>) -> Result<Outsider, SignOnFault> {
        let same: bool = pending.state.as_bytes().ct_eq(returned.state.as_bytes()).into();
        if !same {
            return Err(SignOnFault::Refused("sign_on_state"));
        }
        if pending.is_over() {
            return Err(SignOnFault::Refused("sign_on_too_late"));
        }
        let known = self.known(FRESH).await?;
        self.is_from(&known, returned.issuer)?;
        if returned.code.is_empty() {
            return Err(SignOnFault::Refused("sign_on_refused_by_issuer"));
        }
        let secret = self.config.client_secret.as_ref();
        let request = TokenRequest { code: returned.code, redirect: &pending.redirect, verifier: &pending.verifier };
        let fetcher = Fetcher::new(self.config.issuer.root.as_deref());
        let client = (self.config.issuer.audience.as_str(), secret);
        let token = fetcher.token(&known.endpoints, &request, client).await.map_err(of_code)?;
        self.read(&token, &pending, clock::now()).await
    }

    /// An issuer that says who it is has to be the one that was asked (RFC 9207).
    fn is_from(&self, known: &Known, said: &str) -> Result<(), SignOnFault> {
        let silent = said.is_empty() && !known.endpoints.says_issuer;
        if silent || said == self.config.issuer.issuer { Ok(()) } else { Err(SignOnFault::Refused("sign_on_issuer")) }
    }

    async fn read(&self, token: &str, pending: &Pending, now: SystemTime) -> Result<Outsider, SignOnFault> {
        let token = Compact::parse(token)?;
        let kid = token.header.kid.as_deref();
        let known = self.known(FRESH).await?;
        // Keys may have been turned since they were read.
        let known = if known.keys.get(kid).is_some() { known } else { self.known(AT_MOST_EVERY).await? };
        known.keys.get(kid).ok_or(TokenRefusal::UnknownKey)?.verify(&token)?;
        let claims = Claims::object(&token.claims).ok_or(TokenRefusal::Claims)?;
        let (issuer, audience) = (self.config.issuer.issuer.as_str(), self.config.issuer.audience.as_str());
        let now = i64::try_from(clock::unix_seconds(now)).unwrap_or(i64::MAX);
        decisive(&claims, &Expected { issuer, audience, lifetime: LIFETIME, nbf: Nbf::OrIat, now })?;
        let nonce = text_of(&claims, "nonce").unwrap_or_default();
        if !bool::from(nonce.as_bytes().ct_eq(pending.nonce.as_bytes())) {
            return Err(SignOnFault::Refused("sign_on_nonce"));
        }
        is_for_this_client(&claims, audience)?;
        Ok(outsider(&self.config.issuer, &claims)?)
    }

    /// What the issuer says of itself; asked again where that is older than `at_most`. One at a time asks.
    async fn known(&self, at_most: Duration) -> Result<Arc<Known>, SignOnFault> {
        let mut known = self.known.lock().await;
        if let Some(known) = known.as_ref().filter(|known| known.at.elapsed() < at_most) {
            return Ok(Arc::clone(known));
        }
        let fetcher = Fetcher::new(self.config.issuer.root.as_deref());
        let (endpoints, keys) = fetcher.provider(&self.config.issuer.issuer).await?;
        let fresh = Arc::new(Known { endpoints, keys, at: Instant::now() });
        *known = Some(Arc::clone(&fresh));
        Ok(fresh)
    }
}

/// RFC 6749 §5.2: a code that is used, late, of another client or without its verifier.
fn of_code(fault: FetchFault) -> SignOnFault {
    if fault.is_refusal() { SignOnFault::Refused("sign_on_code") } else { fault.into() }
}

/// A token for several parties names the one it was given to (OpenID Connect Core §3.1.3.7).
fn is_for_this_client(claims: &Value<'_>, client: &str) -> Result<(), SignOnFault> {
    let several = claims.get("aud").and_then(Value::as_array).is_some_and(|all| all.len() > 1);
    match (claims.get("azp"), several) {
        (None, false) => Ok(()),
        (Some(_), _) if text_of(claims, "azp") == Some(client) => Ok(()),
        (None | Some(_), _) => Err(SignOnFault::Refused("sign_on_party")),
    }
}

/// 256 bits, as RFC 7636 §4.1 wants a verifier.
fn random() -> Result<Zeroizing<String>, SignOnFault> {
    let mut bytes = Zeroizing::new([0; 32]);
    getrandom::fill(bytes.as_mut_slice()).map_err(|_| SignOnFault::Refused("no_randomness"))?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

/// A value in a query or a form.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut all, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => all.push(char::from(byte)),
            other => all.push_str(&format!("%{other:02X}")),
        }
        all
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7636, appendix B.
    #[test]
    fn the_challenge_is_that_of_the_rfc() {
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
        assert_eq!(challenge, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM");
    }

    #[test]
    fn values_cannot_leave_their_place_in_a_query() {
        assert_eq!(encoded("a b&c=d#é~"), "a%20b%26c%3Dd%23%C3%A9~");
        assert_ne!(*random().unwrap(), *random().unwrap());
        assert!((43..=128).contains(&random().unwrap().len()));
    }
}
