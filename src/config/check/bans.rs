//! `[bans]`: who is never served, and what gets one there.

use std::time::Duration;

use ipnet::IpNet;

use super::address::network;
use crate::config::error::Wrong;
use crate::config::quantity;
use crate::config::raw::Section;
use crate::config::types::{Bans, Rate};

const LONGEST: Duration = Duration::from_secs(90 * 86_400);

pub(super) fn bans(mut bans: Section<'_>) -> Bans {
    let given = |bans: &mut Section<'_>, key| bans.list(key, |item| network(item.text()?));
    let networks = |bans: &mut Section<'_>, key| given(bans, key).unwrap_or_default();
    Bans {
        allow: networks(&mut bans, "allow"),
        deny: networks(&mut bans, "deny"),
        exempt: given(&mut bans, "exempt").unwrap_or_else(this_machine),
        failures: bans.read("failures", rate("30/hour").ok().flatten(), |item| rate(item.text()?)),
        unknown_routes: bans.read("unknown_routes", rate("60/hour").ok().flatten(), |item| rate(item.text()?)),
        time: bans.duration("time", Duration::from_secs(3_600), LONGEST),
    }
}

/// A proxy or a script of this machine speaks for many: it is not banned for what one of them does.
fn this_machine() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1"].into_iter().filter_map(|text| network(text).ok()).collect()
}

/// `"30/hour"`, all of which may come at once; `"off"`.
fn rate(text: &str) -> Result<Option<Rate>, Wrong> {
    if text == "off" {
        return Ok(None);
    }
    let (count, per) = quantity::rate(text).map_err(|wrong| wrong.or_hint(|| "\"off\" turns it off".into()))?;
    Ok(Some(Rate { count, per, burst: count }))
}
