//! `[roles.*]`: the built-in ones, with what the file says on top.
//!
//! Guarantees: a role has what it is named to have and nothing more: a role of the file's own starts with no endpoint and
//! no model, and has to name both. Answers `threats.md` §6.1 (API5, functions that nobody meant to open).

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use super::address::network;
use super::budgets::budgets;
use crate::config::error::Wrong;
use crate::config::quantity::{self, quoted};
use crate::config::raw::{Item, Section, not_one_of};
use crate::config::types::{Allowance, EndpointSet, OptionsPolicy, Role, SystemPrompt};
use crate::ollama::endpoint::{Class, Endpoint};
use crate::ollama::model_list::ModelList;
use crate::ollama::model_name::ModelPattern;

/// The role of a request without a credential.
pub(super) const ANONYMOUS: &str = "anonymous";
const USER: &str = "user";
const ADMIN: &str = "admin";

const CLASSES: [(&str, Class); 4] = [
    ("inference", Class::Inference),
    ("catalogue", Class::Catalogue),
    ("management", Class::Management),
    ("egress", Class::Egress),
];
const ALLOWANCES: [(&str, Allowance); 9] = [
    ("template", Allowance::Template),
    ("raw", Allowance::Raw),
    ("suffix", Allowance::Suffix),
    ("context", Allowance::Context),
    ("debug-render", Allowance::DebugRender),
    ("web-search", Allowance::WebSearch),
    ("cloud", Allowance::Cloud),
    ("foreign-registries", Allowance::ForeignRegistries),
    ("schema-pattern", Allowance::SchemaPattern),
];
/// Of a context or an answer.
pub(super) const MAX_TOKENS: u64 = 1_000_000;

/// By name.
pub(super) type Roles = BTreeMap<String, Role>;

pub(super) fn roles(section: Section<'_>) -> Roles {
    let mut roles: BTreeMap<String, Role> = [USER, ADMIN].map(|name| (name.to_owned(), starting(name))).into();
    for (name, section) in section.sections() {
        if !is_role_name(name) {
            section.wrong(Wrong::new("is no name of a role").hint("a-z, 0-9, - and _, at most 64 of them"));
        }
        roles.insert(name.to_owned(), role(name, section));
    }
    roles
}

fn is_role_name(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// What a role is before the file says anything.
fn starting(name: &str) -> Role {
    let usual =
        EndpointSet::default().with_class(Class::Public).with_class(Class::Inference).with_class(Class::Catalogue);
    let (endpoints, num_predict_max) = match name {
        USER => (usual, 2_048),
        ADMIN => (usual.with_class(Class::Management), 32_768),
        _ => (EndpointSet::default(), 2_048),
    };
    let models = if is_built_in(name) { ModelPattern::parse("*").into_iter().collect() } else { ModelList::default() };
    Role {
        name: name.to_owned(),
        endpoints,
        models,
        subset: ModelList::default(),
        addresses: Vec::new(),
        system_prompt: SystemPrompt::Allow,
        options: OptionsPolicy {
            num_ctx_max: None,
            num_predict_default: 512,
            num_predict_max,
            keep_alive: Some("5m".to_owned()),
            top_logprobs_max: 5,
        },
        allow: Vec::new(),
        concurrent: None,
        budgets: Vec::new(),
        together: Vec::new(),
        weight: NonZeroU32::MIN,
        registries: Vec::new(),
    }
}

fn is_built_in(name: &str) -> bool {
    matches!(name, USER | ADMIN)
}

fn role(name: &str, mut section: Section<'_>) -> Role {
    let start = starting(name);
    if !is_built_in(name) {
        section.missing("endpoints", "what it may call, for example endpoints = [\"inference\", \"catalogue\"]");
        section
            .missing("models", "what it may run and see, for example models = [\"llama3.2:*\"]; \"*\" is every model");
    }
    let role = Role {
        endpoints: endpoints(&mut section).unwrap_or(start.endpoints),
        models: models(&mut section).unwrap_or(start.models),
        subset: ModelList::default(),
        addresses: section.list("addresses", |item| network(item.text()?)).unwrap_or_default(),
        system_prompt: section
            .read("system_prompt", Some(SystemPrompt::Allow), system_prompt)
            .unwrap_or(SystemPrompt::Deny),
        options: options(section.section("options"), start.options),
        allow: section.list("allow", allowance).unwrap_or_default(),
        concurrent: concurrent(&mut section),
        budgets: budgets(&mut section),
        together: budgets(&mut section.section("together")),
        weight: weight(&mut section, start.weight),
        registries: section.list("registries", |item| registry(item.text()?)).unwrap_or_default(),
        name: start.name,
    };
    restrained(&section, &role);
    role
}

fn endpoints(section: &mut Section<'_>) -> Option<EndpointSet> {
    let named = section.list("endpoints", |item| endpoint(item.text()?))?;
    if section.is_empty_list("endpoints") {
        let hint = "leave the role out, or name what it may call";
        section.fault_of("endpoints", Wrong::new("is empty: the role may call nothing").hint(hint));
    }
    let public = EndpointSet::default().with_class(Class::Public);
    Some(named.into_iter().flatten().fold(public, EndpointSet::with))
}

/// The endpoints of a class, or the one of this name.
fn endpoint(text: &str) -> Result<Vec<Endpoint>, Wrong> {
    if let Some((_, class)) = CLASSES.iter().find(|(name, _)| *name == text) {
        return Ok(Endpoint::ALL.into_iter().filter(|endpoint| endpoint.facts().class == *class).collect());
    }
    if let Some(endpoint) = Endpoint::ALL.into_iter().find(|endpoint| endpoint.facts().name == text) {
        return Ok(vec![endpoint]);
    }
    let names = || CLASSES.iter().map(|(name, _)| *name).chain(Endpoint::ALL.into_iter().map(|e| e.facts().name));
    let hint = match quantity::near(text, names()) {
        Some(name) => format!("did you mean \"{name}\"?"),
        None => {
            "a class (inference, catalogue, management, egress) or the name of an endpoint, for example \"chat\"".into()
        }
    };
    Err(Wrong::new(format!("{} is no class and no endpoint", quoted(text))).hint(hint))
}

fn models(section: &mut Section<'_>) -> Option<ModelList> {
    let models = section.list("models", |item| {
        let text = item.text()?;
        let wrong = || Wrong::new(format!("{} is no model and no pattern", quoted(text)));
        ModelPattern::parse(text).map_err(|_| wrong().hint("for example \"qwen3:8b\", \"llama3.2:*\" or \"*\""))
    });
    if section.is_empty_list("models") {
        section.fault_of("models", Wrong::new("is empty: the role may run nothing").hint("\"*\" is every model"));
    }
    models.map(ModelList::from)
}

/// `None`: a pin, with a fault that is noted.
fn system_prompt(item: &Item<'_>) -> Result<Option<SystemPrompt>, Wrong> {
    const FORMS: &str = "\"allow\", \"deny\" or { pin = \"You are …\" }";
    if let Some(mut table) = item.section() {
        table.missing("pin", "the system prompt that every conversation has");
        let pin = table.item("pin").and_then(|item| item.read(|item| pinned(item.text()?)));
        return Ok(pin.map(SystemPrompt::Pin));
    }
    match item.text().map_err(|_| item.type_fault(FORMS))? {
        "allow" => Ok(Some(SystemPrompt::Allow)),
        "deny" => Ok(Some(SystemPrompt::Deny)),
        other => Err(Wrong::new(format!("{} is unknown", quoted(other))).hint(FORMS)),
    }
}

fn pinned(text: &str) -> Result<String, Wrong> {
    if text.trim().is_empty() {
        return Err(Wrong::new("is empty").hint("system_prompt = \"deny\" refuses system prompts and sets none"));
    }
    Ok(text.to_owned())
}

fn allowance(item: &Item<'_>) -> Result<Allowance, Wrong> {
    let text = item.text()?;
    let found = ALLOWANCES.iter().find(|(name, _)| *name == text).map(|(_, allowance)| *allowance);
    found.ok_or_else(|| not_one_of(text, ALLOWANCES.iter().map(|(name, _)| *name)))
}

fn concurrent(section: &mut Section<'_>) -> Option<NonZeroU32> {
    let parse = |item: &Item<'_>| {
        let number = item
            .integer(&(1..=10_000))
            .map_err(|wrong| wrong.or_hint(|| "leave it out for no bound of its own".into()));
        Ok(NonZeroU32::new(u32::try_from(number?).unwrap_or(u32::MAX)))
    };
    section.item("concurrent")?.read(parse)?
}

fn weight(section: &mut Section<'_>, start: NonZeroU32) -> NonZeroU32 {
    NonZeroU32::new(section.number("weight", start.get(), 1..=1_000)).unwrap_or(start)
}

/// `host` or `host:port`, lower case.
fn registry(text: &str) -> Result<String, Wrong> {
    let (host, port) = text.rsplit_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
    let port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    let host = super::address::is_host_name(host) || host.parse::<std::net::Ipv4Addr>().is_ok();
    if host && port {
        return Ok(text.to_owned());
    }
    let hint = "the host alone, lower case, for example \"registry.example.org\"";
    Err(Wrong::new(format!("{} is no host of a registry", quoted(text))).hint(hint))
}

fn options(mut section: Section<'_>, start: OptionsPolicy) -> OptionsPolicy {
    let mut num_ctx = section.section("num_ctx");
    let mut num_predict = section.section("num_predict");
    let num_predict_max = num_predict.number("max", start.num_predict_max, 1..=MAX_TOKENS);
    let usual = start.num_predict_default.min(num_predict_max);
    let num_predict_default = num_predict.number("default", usual, 1..=MAX_TOKENS);
    if num_predict_default > num_predict_max {
        let text = format!("{num_predict_default} is more than max, {num_predict_max}");
        num_predict.fault_of("default", Wrong::new(text).hint("lower it, or raise max"));
    }
    let num_ctx_max = num_ctx.item("max").and_then(|item| {
        let hint = || "leave num_ctx out, and what callers ask for is dropped".to_owned();
        item.read(|item| item.integer(&(256..=MAX_TOKENS)).map_err(|wrong| wrong.or_hint(hint)))
    });
    if num_ctx.is_written() {
        num_ctx.missing("max", "leave num_ctx out, and what callers ask for is dropped");
    }
    OptionsPolicy {
        num_ctx_max: num_ctx_max.and_then(|max| u32::try_from(max).ok()),
        num_predict_default,
        num_predict_max,
        keep_alive: section.read("keep_alive", start.keep_alive, |item| keep_alive(item.text()?)),
        top_logprobs_max: section.number("top_logprobs", start.top_logprobs_max, 0..=20),
    }
}

/// Go's spelling of a length of time; `"default"` leaves it to Ollama.
fn keep_alive(text: &str) -> Result<Option<String>, Wrong> {
    if text == "default" {
        return Ok(None);
    }
    let length = quantity::duration(text, Duration::from_secs(86_400));
    const HINT: &str = "leave it out for the default, 5m";
    let length = length.map_err(|wrong| wrong.or_hint(|| HINT.into()))?;
    let short = || Wrong::new(format!("{} is less than a second", quoted(text))).hint(HINT);
    go_duration(length).map(Some).ok_or_else(short)
}

/// Whole seconds, as Go spells them; less than one is none.
pub(super) fn go_duration(length: Duration) -> Option<String> {
    match length.as_secs() {
        0 => None,
        s if s % 3_600 == 0 => Some(format!("{}h", s / 3_600)),
        s if s % 60 == 0 => Some(format!("{}m", s / 60)),
        s => Some(format!("{s}s")),
    }
}

/// Everybody may not manage this server, nor make it dial out, unless everybody is somewhere.
fn restrained(section: &Section<'_>, role: &Role) {
    let guarded = |endpoint: &Endpoint| matches!(endpoint.facts().class, Class::Management | Class::Egress);
    let opened = Endpoint::ALL.into_iter().filter(|endpoint| role.endpoints.contains(*endpoint)).any(|e| guarded(&e));
    if role.name == ANONYMOUS && opened && role.addresses.is_empty() {
        let text = "lets everybody change the models of this server, or make it dial out";
        section.fault_of(
            "endpoints",
            Wrong::new(text).hint("leave management and egress out, or bind the role to addresses"),
        );
    }
}
