//! No field without a decision: the gateway's tables beside the threat catalogue's, beside Ollama's structs, and beside
//! the page that shows them.

use crate::differential::decoder::Decoder;
use crate::differential::routes;
use ollama_gateway::ollama::call::{Fate, fates};
use ollama_gateway::ollama::endpoint::Endpoint;
use std::fmt::Write as _;
use std::path::PathBuf;

fn root(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

const fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Pass => "pass",
        Fate::Clamp => "clamp",
        Fate::Set => "set",
        Fate::Drop => "drop",
        Fate::Refuse => "refuse",
    }
}

/// What the gateway does with a field; `none`: its tables do not know it.
fn fate(endpoint: Endpoint, path: &str) -> &'static str {
    fates(endpoint).iter().find(|(known, _)| known == path).map_or("none", |(_, fate)| word(*fate))
}

/// A table of the catalogue is a route's, or that of an object within: `["chat.messages"]`.
#[test]
fn every_field_has_the_fate_of_the_catalogue() {
    let text = std::fs::read_to_string(root("tests/cases/fields.toml")).unwrap();
    let catalogue: toml::Table = toml::from_str(&text).unwrap();
    let (mut wrong, mut seen) = (Vec::new(), Vec::new());
    for (header, rows) in &catalogue {
        let (route, prefix) = header
            .split_once('.')
            .map_or((header.as_str(), String::new()), |(route, path)| (route, format!("{path}.")));
        let endpoint = routes().into_iter().find(|endpoint| endpoint.facts().name == route).unwrap();
        seen.push(endpoint);
        for (field, expected) in rows.as_table().unwrap() {
            let (path, expected) = (format!("{prefix}{field}"), expected.as_str().unwrap());
            let found = fate(endpoint, &path);
            if found != expected {
                wrong.push(format!("[{route}] {path}: the catalogue says {expected}, the table {found}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let missing: Vec<Endpoint> = routes().into_iter().filter(|endpoint| !seen.contains(endpoint)).collect();
    assert!(missing.is_empty(), "routes that the catalogue does not have: {missing:?}");
}

/// An empty body read into Ollama's structs shows all of their fields.
#[test]
fn every_field_of_ollamas_structs_has_a_fate() {
    let mut decoder = Decoder::start();
    for endpoint in routes() {
        let route = endpoint.facts().name;
        // What two of the routes cannot be read without.
        let least: &[u8] = br#"{"max_tokens":1,"messages":[{"role":"user","content":""}]}"#;
        let chats = matches!(endpoint, Endpoint::ChatCompletions | Endpoint::Messages);
        let empty: &[u8] = if chats { least } else { b"{}" };
        let view = decoder.read(&[(route, empty)]).remove(0);
        let fields = view.read.as_object().unwrap_or_else(|| panic!("{route}: {}", view.error));
        for field in fields.keys() {
            assert_ne!(fate(endpoint, field), "none", "{route}: {field} has no row");
        }
    }
}

/// `UPDATE_PAGES=1 cargo test --test it fields` writes the page anew.
#[test]
fn the_page_shows_the_tables() {
    let page = root("docs/fields.md");
    let wanted = rendered();
    if std::env::var_os("UPDATE_PAGES").is_some() {
        std::fs::write(&page, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&page).unwrap_or_default();
    assert!(found == wanted, "docs/fields.md is not what the tables say: UPDATE_PAGES=1 cargo test --test it fields");
}

fn rendered() -> String {
    let mut page = String::from(INTRODUCTION);
    for endpoint in routes() {
        let facts = endpoint.facts();
        write!(page, "\n## `{}`\n\n", facts.path).unwrap();
        for fate in [Fate::Set, Fate::Pass, Fate::Clamp, Fate::Refuse, Fate::Drop] {
            let rows = fates(endpoint);
            let names = rows.iter().filter(|(_, found)| *found == fate).map(|(path, _)| format!("`{path}`"));
            let names: Vec<String> = names.collect();
            if !names.is_empty() {
                writeln!(page, "- **{}**: {}", word(fate), names.join(", ")).unwrap();
            }
        }
    }
    page
}

const INTRODUCTION: &str = "\
# Fields

What the gateway does with each field of each request body. The body that reaches Ollama is written from these tables,
so what is not named here never gets there: it is dropped, or refused with `unknown_fields = \"refuse\"`.

- **set**: the gateway writes it, from the policy, from the caller's value, or from both: `model` in its canonical
  spelling, `keep_alive` as the role says, a user's text without white space at its ends.
- **pass**: the caller's value, if it has the right type and is within its bounds.
- **clamp**: the caller's value, lowered to the role's bound; the length of an answer is always sent.
- **refuse**: the request is refused unless the value is empty or the role's `allow` names it.
- **drop**: it does not reach Ollama.

A path with dots names a field within an object or within the objects of a list. Parts of several types that stand in one
list share their paths. This page is made from the tables themselves, and a test fails when it is not what they say.
";
