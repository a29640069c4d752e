//! What the calls of a role may say: system prompts, fields that have to be named, options that are clamped or set.

use super::exchange::{Reached, Seen};
use super::ground::{Caller, Ground};
use super::{Table, Verdict, messages, refused, samples};
use crate::cli::CommandError;
use crate::config::types::{Allowance, SystemPrompt};
use crate::ollama::endpoint::Endpoint;
use crate::ollama::model_name::ModelName;
use serde_json::{Value, json};

pub(super) async fn probe(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    for role in ground.stated.roles.values() {
        let Some(caller) = ground.caller(role) else { continue };
        if role.endpoints.contains(Endpoint::Chat) {
            system_prompt(ground, &caller, rows).await?;
            clamps(ground, &caller, rows).await?;
            models(ground, &caller, rows).await?;
        }
        if role.endpoints.contains(Endpoint::Generate) {
            fields(ground, &caller, rows).await?;
        }
    }
    messages::probe(ground, rows).await
}

/// Sends a call with these members, and says what Ollama got.
async fn with_members(
    ground: &Ground,
    (caller, endpoint): (&Caller, Endpoint),
    members: &Value,
) -> Result<(Seen, Value), CommandError> {
    let ask = ground.call(endpoint, caller);
    let mut body: Value = serde_json::from_slice(&ask.body).unwrap_or_default();
    if let (Some(body), Some(members)) = (body.as_object_mut(), members.as_object()) {
        body.extend(members.clone());
    }
    let stand = ground.stand().await?;
    let seen = stand.ask(&ask.carrying(body.to_string())).await;
    let got = serde_json::from_slice(&stand.upstream.last_body()).unwrap_or_default();
    Ok((seen, got))
}

async fn system_prompt(ground: &Ground, caller: &Caller, rows: &mut Table) -> Result<(), CommandError> {
    let word = samples::word(&ground.stated);
    let said = json!({"messages": [{"role": "system", "content": word}, {"role": "user", "content": word}]});
    let (seen, got) = with_members(ground, (caller, Endpoint::Chat), &said).await?;
    let first = got.pointer("/messages/0/content").and_then(Value::as_str).unwrap_or_default();
    let what = format!("roles.{}.system_prompt", caller.role.name);
    match &caller.role.system_prompt {
        SystemPrompt::Allow => {}
        SystemPrompt::Deny => rows.add(what, refused(&seen, &["system_prompt_denied"])),
        SystemPrompt::Pin(prompt) if first == prompt => rows.add(what, Verdict::Fired("is set".to_owned())),
        SystemPrompt::Pin(_) => rows.add(what, Verdict::Silent("the pinned one is not what Ollama gets".to_owned())),
    }
    Ok(())
}

/// What is asked for is more than any role may have.
async fn clamps(ground: &Ground, caller: &Caller, rows: &mut Table) -> Result<(), CommandError> {
    const MUCH: u32 = 100_000_000;
    let asked = json!({"keep_alive": "99h", "top_logprobs": MUCH, "options": {"num_predict": MUCH, "num_ctx": MUCH}});
    let (seen, got) = with_members(ground, (caller, Endpoint::Chat), &asked).await?;
    let options = &caller.role.options;
    let pin = ModelName::parse(&caller.model).ok().and_then(|model| ground.stated.models.of(&model).cloned());
    let pin = pin.unwrap_or_default();
    let num_ctx = pin.num_ctx.or(options.num_ctx_max);
    let keep_alive = pin.keep_alive.or_else(|| options.keep_alive.clone());
    let expected = [
        ("options.num_predict", "/options/num_predict", Some(json!(options.num_predict_max))),
        ("options.num_ctx", "/options/num_ctx", num_ctx.map(|max| json!(max))),
        ("options.keep_alive", "/keep_alive", keep_alive.map(|time| json!(time))),
        ("options.top_logprobs", "/top_logprobs", Some(json!(options.top_logprobs_max))),
    ];
    for (key, place, right) in expected {
        let what = format!("roles.{}.{key}", caller.role.name);
        let told = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
        let verdict = match (seen.reached, got.pointer(place)) {
            (Reached::No, _) => Verdict::Silent(format!("a call that asks for too much was to be lowered, but {seen}")),
            (Reached::Upstream, sent) if sent == right.as_ref() => {
                Verdict::Fired(format!("Ollama gets {}", told(sent)))
            }
            (Reached::Upstream, sent) => {
                Verdict::Silent(format!("Ollama was to get {}, and gets {}", told(right.as_ref()), told(sent)))
            }
        };
        rows.add(what, verdict);
    }
    Ok(())
}

/// Models that no pattern alone opens.
async fn models(ground: &Ground, caller: &Caller, rows: &mut Table) -> Result<(), CommandError> {
    let guarded = [
        ("cloud", Allowance::Cloud, "probe:cloud"),
        ("foreign-registries", Allowance::ForeignRegistries, "registry.invalid/a/probe:latest"),
    ];
    for (name, allowance, model) in guarded {
        if caller.role.allow.contains(&allowance) {
            continue;
        }
        let (seen, _) = with_members(ground, (caller, Endpoint::Chat), &json!({"model": model})).await?;
        let what = format!("roles.{}.allow without \"{name}\"", caller.role.name);
        rows.add(what, refused(&seen, &["model_not_found"]));
    }
    if !caller.role.allow.contains(&Allowance::SchemaPattern) {
        let schema = json!({"format": {"type": "object", "properties": {"a": {"type": "string", "pattern": "a"}}}});
        let (seen, _) = with_members(ground, (caller, Endpoint::Chat), &schema).await?;
        let what = format!("roles.{}.allow without \"schema-pattern\"", caller.role.name);
        rows.add(what, refused(&seen, &["schema_pattern"]));
    }
    Ok(())
}

/// Fields of `/api/generate` that have to be named.
async fn fields(ground: &Ground, caller: &Caller, rows: &mut Table) -> Result<(), CommandError> {
    let guarded = [
        ("template", Allowance::Template, json!({"template": "x"})),
        ("raw", Allowance::Raw, json!({"raw": true})),
        ("suffix", Allowance::Suffix, json!({"suffix": "x"})),
        ("context", Allowance::Context, json!({"context": [1]})),
        ("debug-render", Allowance::DebugRender, json!({"_debug_render_only": true})),
    ];
    for (name, allowance, members) in guarded {
        if caller.role.allow.contains(&allowance) {
            continue;
        }
        let (seen, _) = with_members(ground, (caller, Endpoint::Generate), &members).await?;
        rows.add(format!("roles.{}.allow without \"{name}\"", caller.role.name), refused(&seen, &["field_refused"]));
    }
    Ok(())
}
