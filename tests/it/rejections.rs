//! The table of refusals: complete, and the one that README shows.

use ollama_gateway::config::types::{Budget, Period, Resource};
use ollama_gateway::limits::{Exceeded, Quota, UsedUp};
use ollama_gateway::ollama::fault::MODEL_NOT_FOUND;
use ollama_gateway::ollama::response::{Ability, UpstreamFault};
use ollama_gateway::rejection::{Rejection, TokenFault};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::num::NonZeroU64;

const MARK: &str = "<!-- rejections -->";

fn exceeded() -> Exceeded {
    let quota = Quota { policy: "general", limit: 100, window_s: 60, remaining: 0, reset_s: 60 };
    Exceeded { quota, retry_after_s: 1 }
}

fn used_up() -> UsedUp {
    let (resource, amount, period) = (Resource::Tokens, NonZeroU64::MIN, Period::Day);
    UsedUp { budget: Budget { resource, amount, period }, retry_after_s: 1 }
}

/// One of each that is no fault of a body.
fn all() -> Vec<Rejection> {
    use Rejection as R;
    let mut all = vec![
        R::HostInvalid,
        R::Banned,
        R::HostNotServed,
        R::SniMismatch,
        R::TargetInvalid,
        R::UpgradeRefused,
        R::FramingInvalid,
        R::ExpectationFailed,
        R::CredentialInUrl,
        R::HeaderInvalid,
        R::HeadersTooMany,
        R::BodyNotAllowed,
        R::OriginNotAllowed,
        R::UnknownRoute,
        R::ConnectRefused,
        R::MethodNotAllowed { allow: "GET" },
        R::CredentialMissing,
        R::CredentialInvalid { why: "unknown" },
        R::CredentialAmbiguous,
        R::AuthenticationThrottled(exceeded()),
        R::EndpointForbidden,
        R::AddressForbidden,
        R::RateLimited(exceeded()),
        R::TooManyInFlight { retry_after_s: 1 },
        R::TooManyWaiting { retry_after_s: 1 },
        R::BudgetUsedUp(used_up()),
        R::ContentTypeUnsupported,
        R::ContentEncodingUnsupported,
        R::BodyTooLarge { limit: 1 },
        R::BodyTooSlow,
        R::BodyIncomplete,
        R::Overloaded { retry_after_s: 1 },
        R::Internal,
    ];
    all.extend(upstream_faults().map(|fault| Rejection::Upstream { fault, detail: String::new() }));
    all
}

fn upstream_faults() -> [UpstreamFault; 22] {
    use UpstreamFault as U;
    [
        U::Busy,
        U::ModelNotFound,
        U::NotFound,
        U::InvalidRequest,
        U::Unsupported { what: Ability::Tools },
        U::Unsupported { what: Ability::Thinking },
        U::Unsupported { what: Ability::Images },
        U::Unsupported { what: Ability::Embeddings },
        U::Unsupported { what: Ability::Generate },
        U::Unsupported { what: Ability::Chat },
        U::Unsupported { what: Ability::Insert },
        U::Unsupported { what: Ability::Route },
        U::ContextExceeded,
        U::NoMemory,
        U::Refused(403),
        U::Redirected(301),
        U::Failed(500),
        U::Invalid,
        U::Cut,
        U::TooLong,
        U::Timeout,
        U::Unreachable,
    ]
}

fn of_identity() -> Vec<Rejection> {
    let tokens = [
        TokenFault::RequestInvalid,
        TokenFault::GrantUnsupported,
        TokenFault::GrantInvalid { why: "user_unknown" },
        TokenFault::ClientInvalid { why: "unknown" },
    ];
    let mut all = vec![Rejection::ConversationInvalid, Rejection::ConversationNotFound];
    all.extend(tokens.map(Rejection::Token));
    all
}

/// Every row of a Rust source: `name(…"code", "text")` with the code and the text as they stand there.
fn rows_of(source: &str) -> Vec<(String, String, String)> {
    let row = regex::Regex::new(r#"=> [a-z]+\((?:S::)?(\w+), "([a-z0-9_]+)", "([^"]+)"\)"#).unwrap();
    row.captures_iter(source).map(|found| (found[1].to_owned(), found[2].to_owned(), found[3].to_owned())).collect()
}

fn source(path: &str) -> String {
    std::fs::read_to_string(format!("{}/src/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn rows() -> BTreeSet<(u16, String, String)> {
    let mut rows: BTreeSet<_> = all()
        .iter()
        .chain(&of_identity())
        .map(Rejection::facts)
        .map(|facts| (facts.status.as_u16(), facts.code.to_owned(), facts.public.to_owned()))
        .collect();
    rows.insert((404, MODEL_NOT_FOUND.0.to_owned(), MODEL_NOT_FOUND.1.to_owned()));
    for (status, code, text) in rows_of(&source("ollama/fault.rs")) {
        rows.insert((status.parse().unwrap(), code, text));
    }
    rows
}

fn table() -> String {
    let mut text = "| status | code | what the client is told |\n|---|---|---|\n".to_owned();
    for (status, code, public) in rows() {
        writeln!(text, "| {status} | `{code}` | {public} |").unwrap();
    }
    text
}

#[test]
fn no_refusal_of_the_source_is_missing_here() {
    let known: BTreeSet<String> = rows().into_iter().map(|(_, code, _)| code).collect();
    let found = rows_of(&source("rejection.rs"));
    assert!(found.len() > 25, "the rows of rejection.rs are read: {}", found.len());
    for (_, code, _) in found {
        assert!(known.contains(&code), "{code} has no row in this test's list");
    }
    assert!(rows_of(&source("ollama/fault.rs")).len() > 50);
}

#[test]
fn readme_shows_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let readme = std::fs::read_to_string(path).unwrap();
    let parts: Vec<&str> = readme.split(MARK).collect();
    let [before, shown, after] = parts[..] else { panic!("README.md has the mark {MARK} twice") };
    let table = table();
    if shown.trim() != table.trim() && std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(path, format!("{before}{MARK}\n{table}{MARK}{after}")).unwrap();
        return;
    }
    assert_eq!(shown.trim(), table.trim(), "run once with UPDATE_README=1");
}

#[test]
fn a_code_has_one_status_and_no_text_holds_a_detail() {
    let mut seen = std::collections::HashMap::new();
    for (status, code, text) in rows() {
        assert!((400..600).contains(&status), "{code}");
        assert_eq!(*seen.entry(code.clone()).or_insert(status), status, "{code}");
        assert!(!text.is_empty() && !text.contains(".ollama") && !text.contains("127.0.0.1"), "{text}");
    }
}
