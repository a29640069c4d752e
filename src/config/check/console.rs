//! `[admin]` roles and oidc: who may sign in to the console.
//!
//! Guarantees: a role that is named exists; an outside issuer signs in nobody but holders of such a role.

use super::auth::{provider, word};
use super::roles::ANONYMOUS;
use super::server::Listeners;
use crate::config::Environment;
use crate::config::error::Wrong;
use crate::config::quantity::quoted;
use crate::config::raw::{Item, Section};
use crate::config::secret::Reference;
use crate::config::types::{Admin, Role, SignOn};
use std::collections::BTreeMap;

pub(super) fn admin(
    mut admin: Section<'_>,
    listeners: Listeners,
    known: &BTreeMap<String, Role>,
    environment: &Environment,
) -> Admin {
    let Listeners { listen, metrics } = listeners;
    let roles = admin.list("roles", |item| role(item.text()?, known)).unwrap_or_else(|| vec!["admin".to_owned()]);
    let oidc = admin.item("oidc").and_then(|item| item.read(|item| sign_on(item, (known, &roles), environment)));
    Admin { listen, metrics, roles, oidc }
}

fn role(text: &str, known: &BTreeMap<String, Role>) -> Result<String, Wrong> {
    if text != ANONYMOUS && known.contains_key(text) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{} is no role of this file", quoted(text))).hint("\"admin\", or one of [roles.*]"))
}

fn sign_on(
    item: &Item<'_>,
    (known, may): (&BTreeMap<String, Role>, &[String]),
    environment: &Environment,
) -> Result<SignOn, Wrong> {
    let mut table = item.section().ok_or_else(|| item.type_fault("{ issuer = …, client_id = …, roles = { … } }"))?;
    table.missing("client_id", "as the issuer knows this gateway");
    let issuer = provider(&mut table, "client_id", known);
    if let Some((name, role)) = issuer.roles.iter().find(|(_, role)| !may.contains(role)) {
        let text = format!("{} means {}, which may not sign in to the console", quoted(name), quoted(role));
        table.fault_of("roles", Wrong::new(text).hint("a role that admin.roles names"));
    }
    let secret = table.item("client_secret");
    let client_secret = secret.and_then(|item| item.read(|item| Reference::parse(item.text()?)?.resolve(environment)));
    let scopes = table.list("scopes", |item| word(item.text()?)).unwrap_or_default();
    Ok(SignOn { issuer, client_secret, scopes })
}
