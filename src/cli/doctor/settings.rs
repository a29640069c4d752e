//! The settings of the running Ollama that decide how safe it is behind a gateway.
//!
//! From the environment of the process that listens there, where this user may read it; otherwise from its systemd
//! unit and the drop-ins of it. Does not: read `EnvironmentFile=`.

use super::{Finding, Machine, listening};
use crate::config::types::Upstream;
use std::collections::BTreeMap;
use std::net::IpAddr;

const CHECK: &str = "settings";
/// Where units are; what comes later overrides.
const UNITS: [&str; 3] = ["/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system"];

type Variables = BTreeMap<String, String>;

/// Looks where it can.
pub(super) fn look(machine: &Machine, upstream: &Upstream) -> Vec<Finding> {
    let port = upstream.address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
    match port.and_then(|port| listening::environment(machine, port)).or_else(|| of_unit(machine)) {
        Some(variables) => judge(&variables),
        None => vec![Finding::unknown(
            CHECK,
            "the settings of Ollama cannot be read from here",
            "run doctor as root on Ollama's machine; OLLAMA_HOST, OLLAMA_ORIGINS, OLLAMA_DEBUG should not be set, OLLAMA_NO_CLOUD should be 1",
        )],
    }
}

fn judge(variables: &Variables) -> Vec<Finding> {
    let value = |name: &str| variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
    let on = |name: &str| value(name).is_some_and(|value| !matches!(value, "0" | "false" | "False" | "FALSE" | "f"));
    let mut findings = Vec::new();
    if let Some(host) = value("OLLAMA_HOST").filter(|host| !listens_on_loopback(host)) {
        let found = format!("OLLAMA_HOST={host}: Ollama listens on more than loopback");
        findings.push(Finding::wrong(CHECK, found, "set OLLAMA_HOST=127.0.0.1:11434 and restart Ollama"));
    }
    if let Some(origins) = value("OLLAMA_ORIGINS") {
        let found = format!("OLLAMA_ORIGINS={origins}: Ollama itself lets web pages in");
        let remedy = "unset it: which pages may call is cors.origins here";
        let wrong = origins.split(',').any(|origin| origin.trim().ends_with('*'));
        findings.push(if wrong {
            Finding::wrong(CHECK, found, remedy)
        } else {
            Finding::warning(CHECK, found, remedy)
        });
    }
    for name in ["OLLAMA_DEBUG", "OLLAMA_DEBUG_LOG_REQUESTS"].into_iter().filter(|name| on(name)) {
        let found = format!("{name} is on: prompts get into Ollama's log");
        findings.push(Finding::wrong(CHECK, found, format!("unset {name} and restart Ollama")));
    }
    if !on("OLLAMA_NO_CLOUD") {
        findings.push(Finding::warning(
            CHECK,
            "OLLAMA_NO_CLOUD is not set",
            "set OLLAMA_NO_CLOUD=1 and restart Ollama",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, "Ollama's host, origins, cloud and debugging are set as they should be"));
    }
    findings
}

/// `127.0.0.1`, `http://localhost:11434`, `[::1]:80`. A host that is left out is every address.
fn listens_on_loopback(host: &str) -> bool {
    let host = host.split_once("://").map_or(host, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or(host);
    let bare = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or(v6),
        None if host.matches(':').count() == 1 => host.split(':').next().unwrap_or(host),
        None => host,
    };
    bare == "localhost" || bare.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// The `Environment=` of `ollama.service` and its drop-ins; `None` without a unit.
fn of_unit(machine: &Machine) -> Option<Variables> {
    let units = UNITS.iter().filter_map(|folder| machine.read(&format!("{folder}/ollama.service")));
    let texts: Vec<_> = units.chain(UNITS.iter().flat_map(|folder| drop_ins(machine, folder))).collect();
    if texts.is_empty() {
        return None;
    }
    let mut variables = Variables::new();
    let lines = || texts.iter().flat_map(|text| text.lines()).map(str::trim);
    lines().filter_map(|line| line.strip_prefix("Environment=")).for_each(|rest| set(rest, &mut variables));
    // What is unset is so in the end, wherever it is written.
    let unset = lines().filter_map(|line| line.strip_prefix("UnsetEnvironment=")).flat_map(str::split_ascii_whitespace);
    unset.for_each(|name| drop(variables.remove(name)));
    Some(variables)
}

fn drop_ins(machine: &Machine, folder: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(machine.file(&format!("{folder}/ollama.service.d"))) else { return Vec::new() };
    let mut files: Vec<_> =
        entries.flatten().map(|entry| entry.path()).filter(|p| p.extension().is_some_and(|e| e == "conf")).collect();
    files.sort();
    files.iter().filter_map(|file| std::fs::read_to_string(file).ok()).collect()
}

/// An empty assignment forgets those before it.
fn set(assignments: &str, variables: &mut Variables) {
    if assignments.trim().is_empty() {
        variables.clear();
    }
    for word in words(assignments) {
        if let Some((name, value)) = word.split_once('=') {
            variables.insert(name.to_owned(), value.to_owned());
        }
    }
}

/// Words between spaces; quotes keep spaces together.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut quote) = (vec![String::new()], None);
    for c in text.chars() {
        match (quote, c) {
            (None, '"' | '\'') => quote = Some(c),
            (Some(open), _) if open == c => quote = None,
            (None, ' ' | '\t') => words.push(String::new()),
            (None | Some(_), _) => words.last_mut().map_or((), |word| word.push(c)),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;
    use std::time::SystemTime;

    fn judged(pairs: &[(&str, &str)]) -> Vec<(Verdict, String)> {
        let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        judge(&variables).into_iter().map(|finding| (finding.verdict, finding.found)).collect()
    }

    #[test]
    fn each_setting_is_judged() {
        let safe = ("OLLAMA_NO_CLOUD", "1");
        assert_eq!(judged(&[safe, ("OLLAMA_HOST", "127.0.0.1:11434"), ("OLLAMA_DEBUG", "0")])[0].0, Verdict::Ok);
        for (name, value, verdict) in [
            ("OLLAMA_HOST", "0.0.0.0", Verdict::Wrong),
            ("OLLAMA_HOST", "http://[::]:11434/", Verdict::Wrong),
            ("OLLAMA_HOST", ":11434", Verdict::Wrong),
            ("OLLAMA_ORIGINS", "https://a.example, *", Verdict::Wrong),
            ("OLLAMA_ORIGINS", "https://a.example", Verdict::Warning),
            ("OLLAMA_DEBUG", "1", Verdict::Wrong),
            ("OLLAMA_DEBUG_LOG_REQUESTS", "true", Verdict::Wrong),
            ("OLLAMA_NO_CLOUD", "0", Verdict::Warning),
        ] {
            let found = judged(&[safe, (name, value)]);
            assert!(
                found.len() == 1 && found[0].0 == verdict && found[0].1.contains(name),
                "{name}={value}: {found:?}"
            );
        }
    }

    #[test]
    fn a_unit_and_its_drop_ins_are_read_in_order() {
        let root = tempfile::tempdir().unwrap();
        let machine = Machine { root: root.path().to_owned(), now: SystemTime::UNIX_EPOCH };
        assert_eq!(of_unit(&machine), None);
        let folder = machine.file("/etc/systemd/system/ollama.service.d");
        std::fs::create_dir_all(&folder).unwrap();
        let unit = "[Service]\nEnvironment=\"OLLAMA_HOST=0.0.0.0\" OLLAMA_DEBUG=1\nEnvironment=OLLAMA_ORIGINS=*\n";
        std::fs::write(machine.file("/etc/systemd/system/ollama.service"), unit).unwrap();
        std::fs::write(folder.join("10.conf"), "[Service]\nEnvironment=OLLAMA_HOST=127.0.0.1\n").unwrap();
        std::fs::write(folder.join("20.conf"), "[Service]\nUnsetEnvironment=OLLAMA_ORIGINS\n").unwrap();
        let variables = of_unit(&machine).unwrap();
        let all: Vec<_> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(all, ["OLLAMA_DEBUG=1", "OLLAMA_HOST=127.0.0.1"]);
        assert_eq!(words("a 'b c'  \"d e\""), ["a", "b c", "d e"]);
    }
}
