//! Examples to probe with: addresses, models, words and calls that a configuration takes, and texts that a pattern matches.
//!
//! Guarantees: an address is one that `[bans]` and the role leave; a model one that the role may run; where there is no
//! example, that is said and not guessed.

use super::exchange::Ask;
use super::ground::Caller;
use crate::config::Config;
use crate::config::types::Role;
use crate::ollama::content::ContentRules;
use crate::ollama::endpoint::{Endpoint, Payload};
use crate::ollama::model_name::{ModelName, ModelPattern, permits};
use crate::pipeline::inspect::is_within;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::net::{IpAddr, Ipv4Addr};

/// Addresses of documentation (RFC 5737), and this machine's.
const ADDRESSES: [Ipv4Addr; 5] = [
    Ipv4Addr::new(203, 0, 113, 7),
    Ipv4Addr::new(198, 51, 100, 7),
    Ipv4Addr::new(192, 0, 2, 7),
    Ipv4Addr::new(10, 254, 254, 7),
    Ipv4Addr::LOCALHOST,
];

/// Hosts of a network that are tried.
const HOSTS: usize = 64;

/// Addresses to try: the first ones of networks, and those of documentation.
fn candidates<'n>(networks: impl Iterator<Item = &'n IpNet> + 'n) -> impl Iterator<Item = IpAddr> + 'n {
    let inside = networks.flat_map(|network| network.hosts().take(HOSTS).chain([network.addr()]));
    inside.chain(ADDRESSES.into_iter().map(IpAddr::from)).map(|address| address.to_canonical())
}

/// Whether `[bans]` leaves this address alone.
fn is_served(config: &Config, address: IpAddr) -> bool {
    let bans = &config.bans;
    (bans.allow.is_empty() || is_within(address, &bans.allow)) && !is_within(address, &bans.deny)
}

/// An address in one of these networks (none: anywhere) that `[bans]` serves; rather one that may be banned.
pub(super) fn address(config: &Config, within: &[IpNet]) -> Option<IpAddr> {
    let fits = |address: &IpAddr| is_served(config, *address) && (within.is_empty() || is_within(*address, within));
    let all = || candidates(within.iter().chain(&config.bans.allow)).filter(fits);
    all().find(|address| !is_within(*address, &config.bans.exempt)).or_else(|| all().next())
}

/// The same, and one that may be banned automatically.
pub(super) fn bannable(config: &Config) -> Option<IpAddr> {
    address(config, &[]).filter(|address| !is_within(*address, &config.bans.exempt))
}

/// An address in none of these networks that `[bans]` serves.
pub(super) fn address_outside(config: &Config, networks: &[IpNet]) -> Option<IpAddr> {
    let fits = |address: &IpAddr| is_served(config, *address) && !is_within(*address, networks);
    candidates(config.bans.allow.iter()).find(fits)
}

/// Any address in none of these networks.
pub(super) fn anywhere_outside(networks: &[IpNet]) -> Option<IpAddr> {
    candidates(std::iter::empty()).find(|address| !is_within(*address, networks))
}

/// An address of the network.
pub(super) fn address_in(network: &IpNet) -> IpAddr {
    network.hosts().next().unwrap_or_else(|| network.addr()).to_canonical()
}

/// A name that the pattern fits, where the role may run it.
pub(super) fn model_of(pattern: &ModelPattern, role: &Role) -> Option<String> {
    let names = ["probe", "probe:latest", "x", ""].map(|piece| pattern.as_str().replace('*', piece));
    let permitted =
        |text: &String| ModelName::parse(text).is_ok_and(|name| pattern.matches(&name) && permits(role, &name));
    names.into_iter().find(permitted)
}

/// A model that the role may run.
pub(super) fn model(role: &Role) -> Option<String> {
    role.models.iter().find_map(|pattern| model_of(pattern, role))
}

/// A model that the role may not run.
pub(super) fn foreign_model(role: &Role) -> Option<&'static str> {
    let unnamed = |text: &&str| ModelName::parse(text).is_ok_and(|name| !role.names(&name));
    ["nobodys-model:latest", "another-one:1b"].into_iter().find(unnamed)
}

/// A text that no content rule matches, made of this character so many times.
pub(super) fn filler(config: &Config, length: usize) -> Option<String> {
    let rules = ContentRules::compile(&config.validation).ok()?;
    let plain = |text: &String| rules.find(text).is_none();
    ["a", "z", "7", "-"].map(|piece| piece.repeat(length)).into_iter().find(plain)
}

/// A short text that no content rule matches.
pub(super) fn word(config: &Config) -> &'static str {
    let rules = ContentRules::compile(&config.validation);
    let plain = |text: &&str| rules.as_ref().is_ok_and(|rules| rules.find(text).is_none());
    ["q", "7", "-", "probe", "hello"].into_iter().find(plain).unwrap_or("q")
}

/// A call of this endpoint, without a credential.
pub(super) fn ask(endpoint: Endpoint, caller: &Caller, word: &str) -> Ask {
    let facts = endpoint.facts();
    let (method, target) = (facts.methods.first().copied().unwrap_or("GET"), target(endpoint, &caller.model));
    let ask = Ask::plain(method, &target, caller.from);
    match facts.payload {
        Payload::Nothing => ask,
        Payload::Json => {
            ask.with("content-type", "application/json").carrying(body(endpoint, &caller.model, word).to_string())
        }
        Payload::Blob => ask.carrying("probe"),
        Payload::Multipart => {
            ask.with("content-type", "multipart/form-data; boundary=probe").carrying(form(&caller.model, &wav(160)))
        }
    }
}

fn target(endpoint: Endpoint, model: &str) -> String {
    let fixed = endpoint.facts().path;
    if !fixed.ends_with('/') || fixed == "/" {
        return fixed.to_owned();
    }
    if endpoint == Endpoint::Model {
        format!("{fixed}{model}")
    } else if endpoint == Endpoint::UserKeys {
        format!("{fixed}cHJvYmU=")
    } else {
        format!("{fixed}sha256:{}", "0".repeat(64))
    }
}

/// The least body of a route that takes JSON.
#[expect(clippy::wildcard_enum_match_arm, reason = "a route that is added is found by the probe of all routes")]
fn body(endpoint: Endpoint, model: &str, word: &str) -> Value {
    let messages = json!([{"role": "user", "content": word}]);
    match endpoint {
        Endpoint::Chat | Endpoint::ChatCompletions => json!({"model": model, "messages": messages}),
        Endpoint::Messages => json!({"model": model, "max_tokens": 16, "messages": messages}),
        Endpoint::Generate | Endpoint::Completions | Endpoint::Embeddings => json!({"model": model, "prompt": word}),
        Endpoint::Embed | Endpoint::V1Embeddings | Endpoint::Responses => json!({"model": model, "input": word}),
        Endpoint::Copy => json!({"source": model, "destination": model}),
        Endpoint::Create => json!({"model": model, "from": model}),
        Endpoint::WebSearch => json!({"query": word}),
        Endpoint::WebFetch => json!({"url": "https://example.org/"}),
        _ => json!({"model": model}),
    }
}

/// A form with a sound in it.
pub(super) fn form(model: &str, sound: &[u8]) -> Vec<u8> {
    let mut form = format!(
        "--probe\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n{model}\r\n--probe\r\nContent-Disposition: \
         form-data; name=\"file\"; filename=\"probe.wav\"\r\nContent-Type: audio/wav\r\n\r\n"
    )
    .into_bytes();
    form.extend_from_slice(sound);
    form.extend_from_slice(b"\r\n--probe--\r\n");
    form
}

/// So many bytes of silence: one channel, 16 kHz.
pub(super) fn wav(bytes: u32) -> Vec<u8> {
    let mut wav = b"RIFF".to_vec();
    wav.extend_from_slice(&bytes.saturating_add(36).to_le_bytes());
    wav.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\x80\x3e\0\0\0\x7d\0\0\x02\0\x10\0data");
    wav.extend_from_slice(&bytes.to_le_bytes());
    wav.resize(wav.len().saturating_add(bytes as usize), 0);
    wav
}
