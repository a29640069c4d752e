//! The routes of the gateway itself: `/auth/token`, `/auth/revoke`, `/.well-known/jwks.json`.
//!
//! Guarantees: they count against the request rate of the address, and failures against its failed authentications, as
//! everywhere; errors are those of RFC 6749 §5.2, and the same bytes for every reason why a credential is no good; where
//! nothing is issued, there are no such routes. Nothing of these requests reaches Ollama.

use super::admit;
use super::answer::Answer;
use super::form::{Encoding, Form};
use super::limit;
use super::record::Record;
use super::route::{Own, OwnRoute};
use crate::config::secret::Secret;
use crate::gateway::{Gateway, Policy};
use crate::identity::keys::PresentedKey;
use crate::identity::refresh::REFRESH_PREFIX;
use crate::identity::sign_in::{PasswordGrant, SignInFault, Tokens};
use crate::identity::tokens::PresentedToken;
use crate::limits::AddressPrefix;
use crate::rejection::{Rejection, TokenFault};
use crate::telemetry::clock;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap};
use serde_json::json;
use std::sync::Arc;

/// Bytes of a token request.
const MAX_BODY: usize = 16 * 1024;

/// Answers a request to one of them.
///
/// # Errors
/// 400, 401, 404, 413, 415, 429, 503.
pub async fn answer(own: Own, gateway: &Gateway, policy: &Policy, record: &mut Record) -> Result<Answer, Rejection> {
    if !gateway.can_account() {
        return Err(Rejection::Overloaded { retry_after_s: 2 });
    }
    limit::limit_own(gateway, record)?;
    let (route, headers) = own.into_parts();
    record.own = Some(route);
    let keys = &policy.tokens;
    match route {
        OwnRoute::Jwks if keys.has_public_keys() => Ok(Answer::document(keys.jwks().to_owned())),
        OwnRoute::Token if keys.issues() => token(&headers, gateway, policy, record).await,
        OwnRoute::Revoke if keys.issues() => revoke(&headers, gateway, policy, record).await,
        OwnRoute::Jwks | OwnRoute::Token | OwnRoute::Revoke => Err(Rejection::UnknownRoute),
    }
}

async fn token(
    headers: &HeaderMap,
    gateway: &Gateway,
    policy: &Policy,
    record: &mut Record,
) -> Result<Answer, Rejection> {
    let address = AddressPrefix::from(record.client);
    gateway.limiters().authentication_allowed(address).map_err(Rejection::AuthenticationThrottled)?;
    let form = form(headers, (gateway, policy), record).await?;
    let tokens = grant(&form, headers, (gateway, policy)).await.map_err(|fault| {
        if fault.rejection.is_wrong_credential() {
            gateway.limiters().authentication_failed(address);
        }
        record.principal = fault.who.map(|who| who.to_string().into());
        fault.rejection
    })?;
    record.principal = Some(Arc::clone(&tokens.principal));
    record.role = Some(tokens.role.to_string());
    if gateway.bans.has_principal(tokens.principal.trim_start_matches("key:"), clock::now()) {
        return Err(Rejection::Banned);
    }
    Ok(Answer::document(written(&tokens)))
}

/// A refusal, and whom it is about.
struct Refused {
    rejection: Rejection,
    who: Option<Arc<str>>,
}

impl From<TokenFault> for Refused {
    fn from(fault: TokenFault) -> Self {
        Self { rejection: Rejection::Token(fault), who: None }
    }
}

async fn grant(form: &Form, headers: &HeaderMap, (gateway, policy): (&Gateway, &Policy)) -> Result<Tokens, Refused> {
    let (accounts, keys, now) = (&gateway.accounts, &policy.tokens, clock::now());
    let wanted = |name| form.get(name).cloned().ok_or(TokenFault::RequestInvalid);
    if form.is("grant_type", "password") {
        let name = wanted("username")?.expose().to_owned();
        let grant = PasswordGrant { name, password: wanted("password")?, code: form.get("otp").cloned() };
        return accounts.by_password(keys, grant, now).await.map_err(|fault| refused(fault, Credential::User));
    }
    if form.is("grant_type", "refresh_token") {
        let text = wanted("refresh_token")?;
        return accounts.by_refresh(keys, &text, now).await.map_err(|fault| refused(fault, Credential::User));
    }
    if form.is("grant_type", "client_credentials") {
        let key = client(form, headers)?;
        let tokens = accounts.by_key(keys, (&gateway.keys, &key), now);
        return tokens.map_err(|fault| refused(fault, Credential::Client));
    }
    wanted("grant_type")?;
    Err(TokenFault::GrantUnsupported.into())
}

/// The key of a service: in the form, or as `Basic ID:KEY` (RFC 6749 §2.3.1); never both.
fn client(form: &Form, headers: &HeaderMap) -> Result<PresentedKey, TokenFault> {
    let malformed = TokenFault::ClientInvalid { why: "malformed" };
    let (id, secret) = match (headers.get(header::AUTHORIZATION), form.get("client_secret")) {
        (None, Some(secret)) => (form.get("client_id").cloned(), secret.clone()),
        (Some(value), None) => basic(value.as_bytes()).ok_or(malformed)?,
        (Some(_), Some(_)) => return Err(TokenFault::RequestInvalid),
        (None, None) => return Err(TokenFault::ClientInvalid { why: "missing" }),
    };
    let key = PresentedKey::parse(secret.expose()).map_err(|_| malformed)?;
    let same = id.is_none_or(|id| id.expose() == key.id().as_str());
    if same { Ok(key) } else { Err(malformed) }
}

fn basic(value: &[u8]) -> Option<(Option<Secret>, Secret)> {
    let (scheme, encoded) = value.split_at_checked(6)?;
    let text = String::from_utf8(STANDARD.decode(encoded).ok()?).ok().map(Secret::new)?;
    let (id, secret) = text.expose().split_once(':')?;
    let id = (!id.is_empty()).then(|| Secret::new(id.to_owned()));
    scheme.eq_ignore_ascii_case(b"basic ").then(|| (id, Secret::new(secret.to_owned())))
}

#[derive(Clone, Copy)]
enum Credential {
    User,
    Client,
}

fn refused(fault: SignInFault, of: Credential) -> Refused {
    let (rejection, who) = match (fault, of) {
        (SignInFault::Refused { why, who }, Credential::User) => {
            (Rejection::Token(TokenFault::GrantInvalid { why }), who)
        }
        (SignInFault::Refused { why, who }, Credential::Client) => {
            (Rejection::Token(TokenFault::ClientInvalid { why }), who)
        }
        (fault, _) => (trouble(&fault), None),
    };
    Refused { rejection, who }
}

/// What is no fault of the credential.
fn trouble(fault: &SignInFault) -> Rejection {
    match fault {
        SignInFault::Busy => Rejection::Overloaded { retry_after_s: 2 },
        SignInFault::Store(error) => {
            tracing::error!(event = "accounts_unreadable", %error, "a sign-in needs the store");
            Rejection::Overloaded { retry_after_s: 2 }
        }
        SignInFault::NotIssued | SignInFault::Refused { .. } => Rejection::Internal,
    }
}

/// RFC 6749 §5.1.
fn written(tokens: &Tokens) -> String {
    let mut answer = json!({
        "access_token": tokens.access.expose(), "token_type": "Bearer", "expires_in": tokens.lifetime.as_secs(),
    });
    if let (Some(refresh), Some(members)) = (&tokens.refresh, answer.as_object_mut()) {
        members.insert("refresh_token".to_owned(), refresh.expose().into());
    }
    answer.to_string()
}

/// RFC 7009: whoever holds a token may take it back; what is none is no fault.
async fn revoke(
    headers: &HeaderMap,
    gateway: &Gateway,
    policy: &Policy,
    record: &mut Record,
) -> Result<Answer, Rejection> {
    let form = form(headers, (gateway, policy), record).await?;
    let token = form.get("token").ok_or(Rejection::Token(TokenFault::RequestInvalid))?;
    let (accounts, keys, now) = (&gateway.accounts, &policy.tokens, clock::now());
    let done = if token.expose().starts_with(REFRESH_PREFIX) {
        accounts.revoke_refresh(keys, token, now).await.map(drop)
    } else if let Some(claims) = PresentedToken::of(token.expose()).and_then(|t| keys.verify(&t, now).ok()) {
        record.principal = Some(claims.subject.as_str().into());
        match &claims.id {
            Some(id) => accounts.revoke_access(id, claims.expires_at, now).await,
            None => Ok(()),
        }
    } else {
        Ok(())
    };
    done.map_err(|fault| trouble(&fault))?;
    Ok(Answer::document("{}".to_owned()))
}

async fn form(headers: &HeaderMap, ground: (&Gateway, &Policy), record: &mut Record) -> Result<Form, Rejection> {
    let encoding = encoding(headers).ok_or(Rejection::ContentTypeUnsupported)?;
    let body = admit::read_small(MAX_BODY, ground, record).await?;
    Form::parse(&body, encoding).ok_or(Rejection::Token(TokenFault::RequestInvalid))
}

fn encoding(headers: &HeaderMap) -> Option<Encoding> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let kind = value.split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Some(Encoding::Form);
    }
    kind.eq_ignore_ascii_case("application/json").then_some(Encoding::Json)
}

/// The body of an error, as OAuth's clients read it; with our code and the request's id.
#[must_use]
pub(super) fn error_body(fault: TokenFault, text: &str, request_id: &str) -> String {
    json!({ "error": fault.oauth(), "error_description": text, "code": fault.code(), "request_id": request_id })
        .to_string()
}
