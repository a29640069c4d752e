//! Signing in to the console: by both factors of a user, by a key, at an outside issuer.
//!
//! Guarantees: all that guess here count as one, apart from clients of the other listeners, and are slowed down together;
//! a wrong name, password, code, key and role are the same answer, and the log says which it was; the cookie of a flow at
//! an issuer finds it once. The page after an issuer's answer leads on by itself: a browser sends the session's cookie
//! (`SameSite=Strict`) only where one of our pages has led it.
//! Does not: know passwords (`identity::sign_in`) or the protocol of an issuer (`identity::oidc::sign_on`).

use super::body::{Body, page, redirect, redirect_to};
use super::form::Form;
use super::sessions::{cookie, random};
use super::{Console, is_own_page, pages};
use crate::config::secret::Secret;
use crate::gateway::Gateway;
use crate::identity::keys::PresentedKey;
use crate::identity::oidc::sign_on::{Pending, Returned, SignOn, SignOnFault};
use crate::identity::sign_in::{PasswordGrant, SignInFault};
use crate::limits::AddressPrefix;
use crate::pipeline::form::decoded;
use crate::pipeline::peer::SignedIn;
use crate::store::timestamp::Timestamp;
use crate::telemetry::clock;
use crate::telemetry::event::{About, SecurityEvent};
use http::header;
use http::request::Parts;
use http::{Response, StatusCode};
use maud::Markup;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Nobody comes from this address.
const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 255, 255, 254));
/// The cookie of a flow: it has to come along from the issuer's page, which is another site.
const FLOW: &str = "ogw_flow";
const FLOW_END: &str = "ogw_flow=; Path=/console/oidc; HttpOnly; Secure; SameSite=Lax; Max-Age=0";
/// Flows that are under way at most.
const MOST: usize = 64;

/// Flows at the issuer, by the hash of their cookie.
#[derive(Debug, Default)]
pub(super) struct Flows(Mutex<HashMap<super::sessions::Digest, Pending>>);

impl Flows {
    fn keep(&self, cookie: &str, pending: Pending) {
        let mut flows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flows.retain(|_, pending| !pending.is_over());
        if flows.len() >= MOST
            && let Some(any) = flows.keys().next().copied()
        {
            flows.remove(&any);
        }
        flows.insert(super::sessions::hash(cookie), pending);
    }

    fn take(&self, cookie: &str) -> Option<Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&super::sessions::hash(cookie))
    }
}

/// The door, as the configuration makes it.
pub(super) fn markup(gateway: &Gateway, said: Option<&str>) -> Markup {
    let policy = gateway.policy();
    let issuer = policy.config.admin.oidc.as_ref().map(|sign_on| sign_on.issuer.issuer.as_str());
    pages::door::sign_in(said, issuer)
}

const SAID: &str = "This did not sign you in.";

impl Console {
    /// Somebody's credential for a session.
    pub(super) async fn sign_in(&self, gateway: &Gateway, form: &Form) -> Response<Body> {
        if gateway.limiters().authentication_allowed(AddressPrefix::from(HERE)).is_err() {
            let said = Some("Too many failures. Wait a minute.");
            return page(StatusCode::TOO_MANY_REQUESTS, markup(gateway, said));
        }
        let who = if form.get("key").is_empty() { user(gateway, form).await } else { key(gateway, form.get("key")) };
        match who.and_then(|who| self.admit(gateway, who)) {
            Ok(cookie) => redirect("/console", Some(&cookie)),
            Err(reason) => {
                self.failed(gateway, reason);
                page(StatusCode::UNAUTHORIZED, markup(gateway, Some(SAID)))
            }
        }
    }

    /// Begins a session for somebody who is known, where the role may have one.
    fn admit(&self, gateway: &Gateway, who: SignedIn) -> Result<String, &'static str> {
        let (name, cookie) = self.sessions.begin(who, gateway)?;
        tracing::info!(event = "console_sign_in", by = name, "an admin signed in to the console");
        self.account(gateway, &name, ("console sign-in", None), "completed");
        Ok(cookie)
    }

    fn failed(&self, gateway: &Gateway, reason: &'static str) {
        gateway.limiters().authentication_failed(AddressPrefix::from(HERE));
        report(reason);
        self.account(gateway, "unknown", ("console sign-in", Some(reason)), "refused");
    }

    /// Sends the browser to the issuer.
    pub(super) async fn begin_sign_on(&self, gateway: &Gateway, head: &Parts) -> Response<Body> {
        let (Some(sign_on), Some(redirect), true) =
            (self.sign_on(gateway), redirect_uri(head), is_own_page(&head.headers))
        else {
            return page(StatusCode::NOT_FOUND, pages::message("There is no such page."));
        };
        let (begun, secret) = (sign_on.begin(redirect).await, random());
        match (begun, secret) {
            (Ok((url, pending)), Some(secret)) => {
                self.flows.keep(&secret, pending);
                let cookie =
                    format!("{FLOW}={secret}; Path=/console/oidc; HttpOnly; Secure; SameSite=Lax; Max-Age=600");
                redirect_to(&url, &cookie)
            }
            (Err(fault), _) => self.no_sign_on(gateway, &fault),
            (Ok(_), None) => self.no_sign_on(gateway, &SignOnFault::Refused("no_randomness")),
        }
    }

    /// Takes what the browser brings back from the issuer.
    pub(super) async fn finish_sign_on(&self, gateway: &Gateway, head: &Parts) -> Response<Body> {
        let Some(sign_on) = self.sign_on(gateway) else {
            return page(StatusCode::NOT_FOUND, pages::message("There is no such page."));
        };
        let query = head.uri.query().unwrap_or("");
        let (state, code, issuer) = (field(query, "state"), field(query, "code"), field(query, "iss"));
        let returned = Returned { state: &state, code: &code, issuer: &issuer };
        let pending = cookie(&head.headers, FLOW).and_then(|secret| self.flows.take(secret));
        let Some(pending) = pending else {
            // Any page can send a browser here: that must not use up the tries of those who sign in.
            report("sign_on_unknown");
            return page(StatusCode::UNAUTHORIZED, markup(gateway, Some(SAID)));
        };
        let outsider = match sign_on.finish(pending, returned).await {
            Ok(outsider) => outsider,
            Err(fault) => return self.no_sign_on(gateway, &fault),
        };
        let who = SignedIn::Outside { principal: outsider.principal.into(), role: outsider.role.into() };
        match self.admit(gateway, who) {
            Ok(cookie) => {
                let mut response = page(StatusCode::OK, pages::door::onward());
                for cookie in [cookie.as_str(), FLOW_END] {
                    let value = header::HeaderValue::from_str(cookie).ok();
                    response.headers_mut().extend(value.map(|value| (header::SET_COOKIE, value)));
                }
                response
            }
            Err(reason) => self.no_sign_on(gateway, &SignOnFault::Refused(reason)),
        }
    }

    fn no_sign_on(&self, gateway: &Gateway, fault: &SignOnFault) -> Response<Body> {
        match fault {
            SignOnFault::Issuer(detail) => {
                tracing::warn!(event = "console_issuer", detail, "nobody can sign in by the issuer");
                let said = "The issuer cannot be asked at the moment.";
                page(StatusCode::BAD_GATEWAY, markup(gateway, Some(said)))
            }
            SignOnFault::Refused(reason) => {
                self.failed(gateway, reason);
                page(StatusCode::UNAUTHORIZED, markup(gateway, Some(SAID)))
            }
        }
    }

    /// The issuer of the configuration of now; what it said of itself is kept as long as that is the same.
    fn sign_on(&self, gateway: &Gateway) -> Option<Arc<SignOn>> {
        let policy = gateway.policy();
        let config = policy.config.admin.oidc.as_ref()?;
        let mut kept = self.sign_on.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = kept.as_ref().filter(|sign_on| sign_on.is_of(config)) {
            return Some(Arc::clone(same));
        }
        let new = Arc::new(SignOn::new(config));
        *kept = Some(Arc::clone(&new));
        Some(new)
    }
}

fn report(reason: &'static str) {
    let client = Some(Ipv4Addr::LOCALHOST.into());
    SecurityEvent::AuthenticationFailure.report(&About { client, reason: Some(reason), ..About::default() });
}

/// Where the issuer sends the browser back to: the address that the browser has for this machine.
fn redirect_uri(head: &Parts) -> Option<String> {
    let host = head.headers.get(header::HOST)?.to_str().ok()?;
    Some(format!("http://{host}/console/oidc/done"))
}

/// A field of a query, the first of its name.
fn field(query: &str, name: &str) -> String {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).and_then(|(_, value)| decoded(value)).unwrap_or_default()
}

fn key(gateway: &Gateway, text: &str) -> Result<SignedIn, &'static str> {
    let presented = PresentedKey::parse(text).map_err(|_| "malformed")?;
    let key = gateway.keys.verify(&presented, clock::now()).map_err(|refusal| refusal.as_str())?;
    Ok(SignedIn::Key(key.id))
}

async fn user(gateway: &Gateway, form: &Form) -> Result<SignedIn, &'static str> {
    let now = clock::now();
    let code = Some(form.get("code")).filter(|code| !code.is_empty()).map(|code| Secret::new(code.to_owned()));
    let password = Secret::new(form.exact("password").to_owned());
    let grant = PasswordGrant { name: form.get("name").to_owned(), password, code };
    match gateway.accounts.by_both_factors(grant, now).await {
        // A change of the user makes sessions valid from the next second on, as it does tokens.
        Ok(user) => Ok(SignedIn::User { name: user.name.shared(), since: Timestamp::from(now).max(user.valid_from) }),
        Err(SignInFault::Refused { why, .. }) => Err(why),
        Err(SignInFault::Busy) => Err("too_many_sign_ins"),
        Err(SignInFault::Store(_) | SignInFault::NotIssued) => Err("store_failed"),
    }
}
