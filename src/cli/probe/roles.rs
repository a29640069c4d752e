//! Roles: who can have one, which routes it opens and which it does not, which models.

use super::exchange::Reached;
use super::ground::{ANONYMOUS, Caller, Ground};
use super::{Table, Verdict, refused, samples};
use crate::cli::CommandError;
use crate::config::types::{Anonymous, Role, SystemPrompt};
use crate::ollama::endpoint::{Class, Endpoint};
use std::sync::Arc;

pub(super) async fn probe(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    for role in ground.stated.roles.values() {
        let name = &role.name;
        if name == ANONYMOUS && ground.stated.auth.anonymous == Anonymous::Deny {
            rows.add(format!("roles.{name}"), Verdict::Silent("nobody can have it: auth.anonymous is false".into()));
            continue;
        }
        models(role, rows);
        match ground.caller(role) {
            Some(caller) => {
                routes(ground, &caller, rows).await?;
                addresses(ground, &caller, rows).await?;
                another_model(ground, &caller, rows).await?;
            }
            None if samples::model(role).is_none() => {}
            None => rows.add(
                format!("roles.{name}.addresses"),
                Verdict::Silent("nobody can have it: [bans] serves none of its addresses".into()),
            ),
        }
    }
    Ok(())
}

/// Each pattern has to let some model through.
fn models(role: &Role, rows: &mut Table) {
    for pattern in role.models.iter() {
        if samples::model_of(pattern, role).is_none() {
            let text = "lets no model through: what it fits is refused unless `allow` names \"cloud\" or \
                        \"foreign-registries\"";
            rows.add(format!("roles.{}.models \"{}\"", role.name, pattern.as_str()), Verdict::Silent(text.into()));
        }
    }
}

async fn routes(ground: &Ground, caller: &Caller, rows: &mut Table) -> Result<(), CommandError> {
    for class in [Class::Inference, Class::Catalogue, Class::Management, Class::Egress, Class::Named] {
        let of_class = || Endpoint::ALL.into_iter().filter(|endpoint| endpoint.facts().class == class);
        let (open, closed): (Vec<_>, Vec<_>) = of_class().partition(|e| caller.role.endpoints.contains(*e));
        let what = format!("roles.{}: {}", caller.role.name, class.name());
        let (through, kept) = (all(ground, caller, &open).await?, all(ground, caller, &closed).await?);
        if !open.is_empty() {
            let told = format!("goes through: {}", routes_of(open.len()));
            rows.add(what.clone(), through.map_or(Verdict::Fired(told), Verdict::Silent));
        }
        if !closed.is_empty() {
            let told = format!("{}: 403 endpoint_forbidden", routes_of(closed.len()));
            rows.add(what, kept.map_or(Verdict::Fired(told), Verdict::Silent));
        }
    }
    Ok(())
}

fn routes_of(count: usize) -> String {
    if count == 1 { "1 route".to_owned() } else { format!("{count} routes") }
}

/// What is wrong with the first one that is not answered as the role says.
async fn all(ground: &Ground, caller: &Caller, endpoints: &[Endpoint]) -> Result<Option<String>, CommandError> {
    for endpoint in endpoints {
        let stand = ground.stand().await?;
        let seen = stand.ask(&ground.call(*endpoint, caller)).await;
        let well = if caller.role.endpoints.contains(*endpoint) {
            let pinned = matches!(caller.role.system_prompt, SystemPrompt::Pin(_));
            seen.reached == Reached::Upstream || (pinned && seen.code == "system_prompt_pinned")
        } else {
            // An answer to HEAD has no body, so no code either.
            let code = if endpoint.facts().methods == ["HEAD"] { "" } else { "endpoint_forbidden" };
            seen.reached == Reached::No && seen.status == 403 && seen.code == code
        };
        if !well {
            return Ok(Some(format!("{}: {seen}", endpoint.facts().name)));
        }
    }
    Ok(None)
}

async fn addresses(ground: &Ground, caller: &Caller, rows: &mut Table) -> Result<(), CommandError> {
    let role = &caller.role;
    if role.addresses.is_empty() {
        return Ok(());
    }
    let what = format!("roles.{}.addresses", role.name);
    let Some(from) = samples::address_outside(&ground.stated, &role.addresses) else {
        rows.add(what, Verdict::Silent("makes no difference: [bans] serves no other address".into()));
        return Ok(());
    };
    let Some(endpoint) = any_route(role) else { return Ok(()) };
    let elsewhere = Caller { from, ..caller.clone() };
    let seen = ground.stand().await?.ask(&ground.call(endpoint, &elsewhere)).await;
    rows.add(what, refused(&seen, &["address_forbidden"]));
    Ok(())
}

async fn another_model(ground: &Ground, caller: &Caller, rows: &mut Table) -> Result<(), CommandError> {
    let runs = |endpoint: &Endpoint| endpoint.facts().class == Class::Inference;
    let route = Endpoint::ALL.into_iter().find(|e| runs(e) && caller.role.endpoints.contains(*e));
    let (Some(model), Some(endpoint)) = (samples::foreign_model(&caller.role), route) else { return Ok(()) };
    let stranger = Caller { model: model.to_owned(), ..caller.clone() };
    let seen = ground.stand().await?.ask(&ground.call(endpoint, &stranger)).await;
    rows.add(format!("roles.{}.models: another one", caller.role.name), refused(&seen, &["model_not_found"]));
    Ok(())
}

/// A route that the role may call and that needs a credential.
pub(super) fn any_route(role: &Arc<Role>) -> Option<Endpoint> {
    Endpoint::ALL.into_iter().find(|e| e.facts().class != Class::Public && role.endpoints.contains(*e))
}
