//! `[traces]`: the collector, whose parents are believed, who is told.
//!
//! Guarantees: a key without a collector is a fault: somebody counts on it.

use super::address::network;
use crate::config::Environment;
use crate::config::error::Wrong;
use crate::config::raw::{Item, Section};
use crate::config::secret::{Reference, Secret};
use crate::config::types::{SampleRatio, ToUpstream, Traces};
use std::path::PathBuf;

pub(super) fn traces(mut traces: Section<'_>, environment: &Environment) -> Option<Traces> {
    let otlp = traces.read("otlp", None, |item| collector(item.text()?));
    let secret = traces.item("authorization");
    let authorization =
        secret.and_then(|item| item.read(|item| of_header(Reference::parse(item.text()?)?.resolve(environment)?)));
    let trusted = traces.list("trusted", |item| network(item.text()?)).unwrap_or_default();
    let root = traces.item("root").and_then(|item| item.read(|item| item.text().map(PathBuf::from)));
    let ratio = traces.item("ratio").and_then(|item| item.read(|item| ratio(item)));
    let to_upstream = traces.switch("to_upstream", ToUpstream::Send, ToUpstream::Omit, ToUpstream::Omit);
    if otlp.is_none() {
        for (key, used) in [
            ("authorization", authorization.is_some()),
            ("trusted", !trusted.is_empty()),
            ("root", root.is_some()),
            ("ratio", ratio.is_some()),
            ("to_upstream", to_upstream == ToUpstream::Send),
        ] {
            if used {
                let hint = "otlp = \"http://127.0.0.1:4318/v1/traces\"";
                traces.fault_of(key, Wrong::new("is set, but there is no traces.otlp").hint(hint));
            }
        }
    }
    let otlp = otlp?;
    if root.is_some() && otlp.starts_with("http://") {
        traces.fault_of("root", Wrong::new("is set, but traces.otlp is no https:// URL").hint("nobody would read it"));
    }
    if trusted.is_empty() && ratio.is_some_and(SampleRatio::is_nothing) {
        let hint = "name the networks in traces.trusted whose traces are followed, or otlp = \"off\"";
        traces.fault_of("ratio", Wrong::new("is 0, and no other trace is followed: nothing would be sent").hint(hint));
    }
    Some(Traces { otlp, root, ratio: ratio.or(SampleRatio::new(1.0))?, authorization, trusted, to_upstream })
}

fn ratio(item: &Item<'_>) -> Result<SampleRatio, Wrong> {
    let number = item.decimal()?;
    let outside = || Wrong::new(format!("{number} is not in 0..=1")).hint("0.1 keeps one trace of ten");
    SampleRatio::new(number).ok_or_else(outside)
}

/// The URL is not repeated in a fault: it may hold a password.
fn collector(text: &str) -> Result<Option<String>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    let wrong = |what: &str| Wrong::new(what.to_owned()).hint("\"http://127.0.0.1:4318/v1/traces\", or \"off\"");
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let rest = rest.ok_or_else(|| wrong("is no http:// or https:// URL"))?;
    if rest.contains(['@', '#']) {
        return Err(wrong("has credentials or a fragment"));
    }
    let parsed = text.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
    let path = rest.split_once('/').map_or("", |(_, path)| path);
    if parsed.is_none() || path.is_empty() {
        return Err(wrong("has no host or no path"));
    }
    Ok(Some(text.to_owned()))
}

fn of_header(secret: Secret) -> Result<Secret, Wrong> {
    let fits = secret.expose().bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if fits { Ok(secret) } else { Err(Wrong::new("refers to a text that no header may hold")) }
}
