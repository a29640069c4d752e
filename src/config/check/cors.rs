//! `[cors]`, and the variables that override it.

use super::origin::origin;
use crate::config::Environment;
use crate::config::error::{Fault, Place, Wrong};
use crate::config::quantity::quoted;
use crate::config::raw::{Section, not_one_of};
use crate::config::types::{Cors, Credentials};

const METHODS: [&str; 7] = ["GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"];
const DEFAULT_METHODS: usize = 5;

/// What the official clients and browsers send (recorded), so that a page using one of them works.
const CLIENT_HEADERS: [&str; 26] = [
    "Content-Type",
    "Authorization",
    "X-Api-Key",
    "X-Token",
    "Accept",
    "User-Agent",
    "X-Requested-With",
    "OpenAI-Beta",
    "anthropic-version",
    "anthropic-beta",
    "anthropic-dangerous-direct-browser-access",
    "x-stainless-arch",
    "x-stainless-async",
    "x-stainless-custom-poll-interval",
    "x-stainless-helper",
    "x-stainless-helper-method",
    "x-stainless-lang",
    "x-stainless-os",
    "x-stainless-package-version",
    "x-stainless-poll-helper",
    "x-stainless-read-timeout",
    "x-stainless-retry-count",
    "x-stainless-runtime",
    "x-stainless-runtime-version",
    "x-stainless-stream-helper",
    "x-stainless-timeout",
];

pub(super) fn cors(mut cors: Section<'_>, environment: &Environment) -> Cors {
    let source = cors.source();
    let origins = cors.list("origins", |item| origin(item.text()?)).unwrap_or_default();
    let credentials = cors.switch("credentials", Credentials::Allow, Credentials::Deny, Credentials::Deny);
    let methods = cors.list("methods", |item| method(item.text()?)).unwrap_or_else(default_methods);
    let headers = cors.list("headers", |item| header(item.text()?)).unwrap_or_default();
    let told_origins = environment.read(source, "CORS_ORIGINS", |text| each(text, origin));
    let told_credentials = environment.read(source, "CORS_ALLOW_CREDENTIALS", switch);
    let place = told_origins.is_some().then_some("CORS_ORIGINS");
    let place = place.or(told_credentials.is_some().then_some("CORS_ALLOW_CREDENTIALS"));
    let checked = Cors {
        origins: told_origins.unwrap_or(origins),
        credentials: told_credentials.unwrap_or(credentials),
        methods: environment.read(source, "CORS_ALLOW_METHODS", |text| each(text, method)).unwrap_or(methods),
        headers: with_client_headers(
            environment.read(source, "CORS_ALLOW_HEADERS", |text| each(text, header)).unwrap_or(headers),
        ),
    };
    if let Some(wrong) = clash(&checked) {
        match place {
            Some(name) => source.note(Fault::new(Place::Environment, name, wrong)),
            None => cors.fault_of("origins", wrong),
        }
    }
    checked
}

/// What does not go together.
fn clash(cors: &Cors) -> Option<Wrong> {
    let everybody = cors.origins.iter().any(|origin| origin == "*");
    if everybody && cors.credentials == Credentials::Allow {
        let text = "\"*\" with credentials: every page on the web could act as its visitor";
        return Some(Wrong::new(text).hint("write out the origins, or credentials = false"));
    }
    if everybody && cors.origins.len() > 1 {
        return Some(Wrong::new("\"*\" stands beside other origins").hint("\"*\" alone, or each origin"));
    }
    None
}

/// The parts of a comma list.
fn each<T>(text: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Result<Vec<T>, Wrong> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(parse).collect()
}

fn switch(text: &str) -> Result<Credentials, Wrong> {
    match text {
        "true" => Ok(Credentials::Allow),
        "false" => Ok(Credentials::Deny),
        other => Err(not_one_of(other, ["true", "false"].into_iter())),
    }
}

fn default_methods() -> Vec<String> {
    METHODS.iter().take(DEFAULT_METHODS).map(|method| (*method).to_owned()).collect()
}

fn method(text: &str) -> Result<String, Wrong> {
    if METHODS.contains(&text) { Ok(text.to_owned()) } else { Err(not_one_of(text, METHODS.into_iter())) }
}

/// RFC 9110 §5.1; `*` is refused, since with credentials it means a header of that name.
fn header(text: &str) -> Result<String, Wrong> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if !text.is_empty() && text.bytes().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(Wrong::new(format!("{} is no name of a header", quoted(text)))
        .hint("write out each; what the official clients send is allowed without being named"))
}

fn with_client_headers(named: Vec<String>) -> Vec<String> {
    let mut headers: Vec<String> = CLIENT_HEADERS.iter().map(|header| (*header).to_owned()).collect();
    for name in named {
        if !headers.iter().any(|header| header.eq_ignore_ascii_case(&name)) {
            headers.push(name);
        }
    }
    headers
}
