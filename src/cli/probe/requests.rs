//! Heads and credentials: what is refused before a body is read.

use super::exchange::Ask;
use super::ground::{ANONYMOUS, Caller, Ground};
use super::{Table, Verdict, passed, refused, roles, samples};
use crate::cli::CommandError;
use crate::config::types::{Anonymous, ConversationIds, PathKeys};
use crate::ollama::endpoint::{Class, Endpoint};
use std::net::IpAddr;

/// What is asked, how it is to be told, and the codes that are right.
type Question = (&'static str, Ask, &'static [&'static str]);

pub(super) async fn probe(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    let Some(from) = samples::address(&ground.stated, &[]) else {
        rows.add("[bans]", Verdict::Silent("nobody is served: it leaves no address".to_owned()));
        return Ok(());
    };
    for (what, ask, codes) in heads(from).into_iter().chain(credentials(ground, from)) {
        let seen = ground.stand().await?.ask(&ask).await;
        rows.add(what, refused(&seen, codes));
    }
    origin(ground, from, rows).await?;
    unknown_caller(ground, from, rows).await?;
    conversation(ground, rows).await
}

fn tags(from: IpAddr) -> Ask {
    Ask::plain("GET", "/api/tags", from)
}

fn heads(from: IpAddr) -> Vec<Question> {
    let many = |mut ask: Ask| {
        for _ in 0..100 {
            ask = ask.with("x-probe", "1");
        }
        ask
    };
    let post = || Ask::plain("POST", "/api/chat", from);
    vec![
        ("server.names: another host", tags(from).with("host", "not-served.invalid"), &["host_not_served"]),
        (
            "two hosts",
            tags(from).with("host", "a.invalid").with("host", "b.invalid"),
            &["host_invalid", "request_malformed"],
        ),
        ("an absolute target", Ask::plain("GET", "http://elsewhere.invalid/api/tags", from), &["target_invalid"]),
        (
            "CONNECT",
            Ask::plain("CONNECT", "elsewhere.invalid:443", from).with("content-length", "0"),
            &["method_not_allowed", "target_invalid"],
        ),
        ("an unknown route", Ask::plain("GET", "/api/nothing", from), &["unknown_route"]),
        ("an encoded slash", Ask::plain("GET", "/api%2Ftags", from), &["unknown_route"]),
        ("another method", Ask::plain("POST", "/api/tags", from), &["method_not_allowed"]),
        ("an upgrade", tags(from).with("upgrade", "websocket"), &["upgrade_refused"]),
        (
            "two framings",
            post().with("content-length", "3").with("transfer-encoding", "chunked"),
            &["framing_invalid", "request_malformed"],
        ),
        (
            "another transfer coding",
            post().with("transfer-encoding", "gzip, chunked"),
            &["framing_invalid", "request_malformed"],
        ),
        ("another expectation", post().with("expect", "the-unexpected"), &["expectation_failed"]),
        ("more than 100 headers", many(tags(from)), &["headers_too_many"]),
        ("a head of 256 KiB", tags(from).with("x-probe", "a".repeat(256 * 1024)), &["headers_too_many"]),
        ("a body on GET", tags(from).with("content-length", "1").carrying("x"), &["body_not_allowed"]),
        ("a credential in the query", Ask::plain("GET", "/api/tags?api_key=1", from), &["credential_in_url"]),
    ]
}

fn credentials(ground: &Ground, from: IpAddr) -> Vec<Question> {
    let role = ground.stated.roles.keys().find(|name| *name != ANONYMOUS);
    let key = role.map(|role| ground.key(role)).unwrap_or_default();
    let wrong = {
        // Of the right form: the last characters are a checksum, so a piece of another key does.
        let other = role.map(|role| ground.key_id(role)).unwrap_or_default();
        key.replacen(&other, &other.chars().rev().collect::<String>(), 1)
    };
    let bearer = |text: &str| format!("Bearer {text}");
    let token = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwcm9iZSJ9.";
    let mut questions: Vec<Question> = vec![
        ("a key that nobody has", tags(from).with("authorization", bearer(&wrong)), &["credential_invalid"]),
        ("a word for a key", tags(from).with("authorization", bearer("let-me-in")), &["credential_invalid"]),
        ("a token that nobody signed", tags(from).with("authorization", bearer(token)), &["credential_invalid"]),
        ("another scheme", tags(from).with("authorization", "Basic cHJvYmU6cHJvYmU="), &["credential_invalid"]),
        (
            "two credentials",
            tags(from).with("authorization", bearer(&key)).with("x-api-key", key.clone()),
            &["credential_ambiguous"],
        ),
    ];
    if ground.stated.auth.path_keys == PathKeys::Refuse {
        let target = format!("/k/{key}/api/tags");
        questions.push(("auth.path_keys = false", Ask::plain("GET", &target, from), &["credential_in_url"]));
    }
    questions
}

async fn origin(ground: &Ground, from: IpAddr, rows: &mut Table) -> Result<(), CommandError> {
    const KEY: &str = "cors.origins: another one";
    if ground.stated.cors.origins.iter().any(|origin| origin == "*") {
        rows.add(KEY, Verdict::Left("every origin is allowed".to_owned()));
        return Ok(());
    }
    let ask = tags(from).with("origin", "https://not-allowed.invalid");
    rows.add(KEY, refused(&ground.stand().await?.ask(&ask).await, &["origin_not_allowed"]));
    Ok(())
}

async fn unknown_caller(ground: &Ground, from: IpAddr, rows: &mut Table) -> Result<(), CommandError> {
    match ground.stated.auth.anonymous {
        Anonymous::Deny => {
            let seen = ground.stand().await?.ask(&tags(from)).await;
            rows.add("auth.anonymous = false", refused(&seen, &["credential_missing"]));
        }
        Anonymous::Allow => {
            let role = ground.stated.roles.get(ANONYMOUS);
            let found = role.and_then(|role| Some((ground.caller(role)?, roles::any_route(role)?)));
            let Some((caller, endpoint)) = found else { return Ok(()) };
            let seen = ground.stand().await?.ask(&ground.call(endpoint, &caller)).await;
            rows.add("auth.anonymous = true", passed(&seen));
        }
    }
    Ok(())
}

async fn conversation(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    if ground.stated.auth.conversation_ids == ConversationIds::Optional {
        return Ok(());
    }
    let runs: Vec<_> = Endpoint::ALL.into_iter().filter(|e| e.facts().class == Class::Inference).collect();
    let Some((caller, endpoint)): Option<(Caller, Endpoint)> = ground.caller_of(&runs) else { return Ok(()) };
    let ask = ground.call(endpoint, &caller).without("x-conversation-id");
    let seen = ground.stand().await?.ask(&ask).await;
    rows.add("auth.conversation_ids = \"required\"", refused(&seen, &["conversation_invalid"]));
    Ok(())
}
