//! `validation.blocked` and `patterns`: each rule on a text of its own.
//!
//! Guarantees: a rule that another one always matches first is an error, since somebody who takes that one out counts on
//! it; a pattern that no example could be made for is told. Does not: probe answers, where the same rules look.

use super::ground::Ground;
use super::{Table, Verdict, passed, pattern, refused};
use crate::cli::CommandError;
use crate::config::types::OnMatch;
use crate::ollama::content::{ContentRules, RuleId};
use crate::ollama::endpoint::Endpoint;
use serde_json::{Value, json};

pub(super) async fn probe(ground: &Ground, rows: &mut Table) -> Result<(), CommandError> {
    let rules = &ground.stated.validation;
    let words = rules.blocked.iter().enumerate().map(|(n, word)| (RuleId::Word(n), Some(word.clone())));
    let patterns = rules.patterns.iter().enumerate().map(|(n, text)| (RuleId::Pattern(n), pattern::example(text)));
    for (rule, text) in words.chain(patterns) {
        let what = format!("validation.{rule}");
        let verdict = match text {
            Some(text) => of_rule(ground, rule, &text).await?,
            None => Verdict::Left("no text could be made that it matches: try it by `explain`".to_owned()),
        };
        rows.add(what, verdict);
    }
    if rules.blocked.is_empty() && rules.patterns.is_empty() {
        rows.add("validation.blocked, patterns", Verdict::Left("there are none".to_owned()));
    }
    Ok(())
}

async fn of_rule(ground: &Ground, rule: RuleId, text: &str) -> Result<Verdict, CommandError> {
    let Ok(compiled) = ContentRules::compile(&ground.stated.validation) else {
        return Ok(Verdict::Silent("does not compile".to_owned()));
    };
    // The gateways decide by the same rules; which of them it was, no client is told.
    match compiled.find(text) {
        Some(other) if other != rule => {
            return Ok(Verdict::Silent(format!("never decides: validation.{other} matches whatever it does")));
        }
        Some(_) => {}
        None => return Ok(Verdict::Silent("does not match what it was written for".to_owned())),
    }
    let Some((caller, endpoint)) = ground.caller_of(&[Endpoint::Chat, Endpoint::ChatCompletions, Endpoint::Messages])
    else {
        return Ok(Verdict::Left("no role sends messages".to_owned()));
    };
    let sample = ground.call(endpoint, &caller);
    let mut body: Value = serde_json::from_slice(&sample.body).unwrap_or_default();
    if let Some(content) = body.pointer_mut("/messages/0/content") {
        *content = json!(text);
    }
    let seen = ground.stand().await?.ask(&sample.carrying(body.to_string())).await;
    Ok(match (ground.stated.validation.on_match, passed(&seen)) {
        (OnMatch::Refuse, _) => refused(&seen, &["content_blocked"]),
        (OnMatch::Log, Verdict::Fired(_)) => Verdict::Fired("goes through, and is logged".to_owned()),
        (OnMatch::Log, other) => other,
    })
}
