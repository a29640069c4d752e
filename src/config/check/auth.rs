//! `[auth]`: who may call without a credential, and the tokens that are signed with keys of ours.
//!
//! Guarantees: `anonymous` goes with a role that says what everybody may do; `issue` goes with something to sign with; a
//! secret that could be guessed, and a file that is no Ed25519 key, are faults here and not at the first token.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;

use super::roles::ANONYMOUS;
use crate::config::Environment;
use crate::config::error::Wrong;
use crate::config::quantity::quoted;
use crate::config::raw::{Item, Section};
use crate::config::secret::{Reference, Secret};
use crate::config::types::{Anonymous, Auth, ConversationIds, Issue, Jwt, Oidc, PathKeys, Role, Server, SigningKey};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
/// HS256 needs as many bytes as its hash has (RFC 7518 §3.2).
const LEAST_SECRET: usize = 32;

pub(super) fn auth(
    mut auth: Section<'_>,
    (server, roles): (&Server, &BTreeMap<String, Role>),
    environment: &Environment,
) -> Auth {
    let jwt = jwt(auth.section("jwt"), server, environment);
    let oidc = auth.list("oidc", |item| oidc(item, roles)).unwrap_or_default();
    let path_keys = auth.switch("path_keys", PathKeys::Accept, PathKeys::Refuse, PathKeys::Refuse);
    let ids = [("optional", ConversationIds::Optional), ("required", ConversationIds::Required)];
    let conversation_ids = auth.choice("conversation_ids", &ids, ConversationIds::Optional);
    Auth { anonymous: anonymous(&mut auth, roles.contains_key(ANONYMOUS)), path_keys, conversation_ids, jwt, oidc }
}

fn anonymous(auth: &mut Section<'_>, role: bool) -> Anonymous {
    let Some(item) = auth.item("anonymous") else { return Anonymous::Deny };
    if !item.read(Item::boolean).unwrap_or(false) {
        return Anonymous::Deny;
    }
    if !role {
        let hint = "write [roles.anonymous] with what everybody may call, or leave this out";
        item.wrong(Wrong::new("is true, but there is no [roles.anonymous]").hint(hint));
    }
    Anonymous::Allow
}

fn jwt(mut jwt: Section<'_>, server: &Server, environment: &Environment) -> Jwt {
    let own = server.names.first().map(|name| format!("https://{name}")).unwrap_or_default();
    let checked = Jwt {
        issue: jwt.switch("issue", Issue::Yes, Issue::No, Issue::No),
        issuer: jwt.read("issuer", own, |item| word(item.text()?)),
        audience: jwt.read("audience", "ollama-gateway".to_owned(), |item| word(item.text()?)),
        lifetime: jwt.duration("lifetime", DAY, 30 * DAY),
        refresh: jwt.duration("refresh", 30 * DAY, 365 * DAY),
        secret: jwt.item("secret").and_then(|item| item.read(|item| secret(item, environment))),
        keys: jwt.list("keys", |item| signing_key(item, environment)).unwrap_or_default(),
    };
    let signs = jwt.has("secret") || jwt.has("keys") && !jwt.is_empty_list("keys");
    if checked.issue == Issue::Yes && !signs {
        let hint = "secret = \"credential:jwt\" for HS256, or keys = [\"credential:jwt-key\"] for EdDSA";
        jwt.fault_of("issue", Wrong::new("is true, but there is nothing to sign with").hint(hint));
    }
    if checked.lifetime > checked.refresh {
        let hint = "a refresh token has to live longer than what it refreshes";
        jwt.fault_of("refresh", Wrong::new("is shorter than auth.jwt.lifetime").hint(hint));
    }
    checked
}

/// An outside issuer.
fn oidc(item: &Item<'_>, known: &BTreeMap<String, Role>) -> Result<Oidc, Wrong> {
    let mut table = item.section().ok_or_else(|| item.type_fault("{ issuer = …, audience = …, roles = { … } }"))?;
    table.missing("audience", "the `aud` of tokens that are meant for this gateway");
    Ok(provider(&mut table, "audience", known))
}

/// What every table about an issuer has; `audience` is how the key of its `aud` is called there.
pub(super) fn provider(table: &mut Section<'_>, audience: &'static str, known: &BTreeMap<String, Role>) -> Oidc {
    table.missing("issuer", "for example \"https://id.example.org\"");
    table.missing("roles", "what the claim may hold, and the role it means: { staff = \"user\" }");
    let issuer = table.read("issuer", String::new(), |item| issuer(item.text()?));
    let audience = table.read(audience, String::new(), |item| word(item.text()?));
    let role_claim = table.read("role_claim", "groups".to_owned(), |item| word(item.text()?));
    let root = table.item("root").and_then(|item| item.read(|item| item.text().map(PathBuf::from)));
    let meant = table.item("roles").and_then(|item| item.read(|item| item.texts()));
    let mut roles = Vec::new();
    for (name, role) in meant.unwrap_or_default() {
        if role == ANONYMOUS || !known.contains_key(&role) {
            let text = format!("{} means {}, which is no role of this file", quoted(&name), quoted(&role));
            table.fault_of("roles", Wrong::new(text));
        }
        roles.push((name, role));
    }
    Oidc { issuer, audience, role_claim, roles, root }
}

fn issuer(text: &str) -> Result<String, Wrong> {
    let rest = text.strip_prefix("https://").filter(|rest| !rest.is_empty() && !rest.contains(['?', '#', '@']));
    let wrong = || Wrong::new(format!("{} is no https URL of an issuer", quoted(text)));
    rest.ok_or_else(|| wrong().hint("as its tokens write it in `iss`, for example \"https://id.example.org\""))?;
    word(text)
}

/// A text of a claim: compared by its bytes.
pub(super) fn word(text: &str) -> Result<String, Wrong> {
    let fits = (1..=255).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
    if fits {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{} is no claim", quoted(text))).hint("1 to 255 printable ASCII characters without spaces"))
}

fn secret(item: &Item<'_>, environment: &Environment) -> Result<Secret, Wrong> {
    let secret = Reference::parse(item.text()?)?.resolve(environment)?;
    if secret.expose().len() >= LEAST_SECRET {
        return Ok(secret);
    }
    let text = format!("refers to a secret of {} bytes, HS256 needs {LEAST_SECRET}", secret.expose().len());
    Err(Wrong::new(text).hint("openssl rand -base64 48"))
}

fn signing_key(item: &Item<'_>, environment: &Environment) -> Result<SigningKey, Wrong> {
    let pem = Reference::parse(item.text()?)?.resolve(environment)?;
    read_key(pem.expose()).ok_or_else(|| {
        Wrong::new("refers to no Ed25519 key (PKCS#8, PEM)").hint("openssl genpkey -algorithm ed25519 -out jwt.pem")
    })
}

fn read_key(pem: &str) -> Option<SigningKey> {
    let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).ok()?;
    let pair = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?;
    let public = pair.public_key().as_ref().try_into().ok()?;
    Some(SigningKey::new(der.secret_pkcs8_der(), public))
}
