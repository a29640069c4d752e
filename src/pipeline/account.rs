//! The audit record of a request, and what it counts for its caller.
//!
//! Guarantees: every request that was refused, that showed a credential or that reached a model leaves one, whatever became
//! of it; health checks and preflights that were answered leave none.

use super::record::Record;
use super::route::OwnRoute;
use super::tokens::Tokens;
use crate::identity::conversations::ConversationId;
use crate::ollama::endpoint::{Class, Endpoint};
use crate::store::Used;
use crate::telemetry::audit::{Act, Entry, Soon};
use crate::telemetry::clock;
use crate::telemetry::printable::address;
use std::sync::Arc;
use std::time::SystemTime;

/// Writes it, where it was not written before the answer's end.
pub(super) fn account(record: &Record, outcome: &str, now: SystemTime) {
    let Some(audit) = record.audit.as_ref().filter(|_| counts(record)) else { return };
    let client = address(record.client);
    audit.record(&entry(record, outcome, &client), now);
}

/// Writes it together with others, before the answer's end leaves. `None`: there is nothing to wait for.
pub(super) fn account_soon(record: &mut Record) -> Option<Soon> {
    let audit = record.audit.take().filter(|_| counts(record))?;
    let client = address(record.client);
    Some(audit.record_soon(&entry(record, record.outcome().name(), &client), clock::now()))
}

fn entry<'a>(record: &'a Record, outcome: &'a str, client: &'a str) -> Entry<'a> {
    let action = record.endpoint.map(|e| e.facts().name).or(record.own.map(OwnRoute::name)).unwrap_or(&record.path);
    let anonymous = record.role.as_ref().map(|_| "anonymous");
    Entry {
        principal: record.principal.as_deref().or(anonymous),
        role: record.role.as_deref(),
        client: Some(client),
        request_id: Some(record.id.as_str()),
        action: Some(action),
        object: record.model.as_deref(),
        conversation: record.conversation.as_ref().map(ConversationId::as_str),
        status: record.status.map(|status| status.as_u16()),
        code: Some(record.code).filter(|code| !code.is_empty()),
        detail: record.detail.as_deref(),
        outcome: Some(outcome),
        prompt_hash: record.prompt_hash.as_deref(),
        ..Entry::act(Act::Request)
    }
}

/// Adds it to what its caller used.
pub(super) fn count(record: &Record, now: SystemTime) {
    let (Some(meter), Some(_)) = (&record.usage_meter, &record.role) else { return };
    let anonymous = || Arc::from("anonymous");
    let principal = record.principal.clone().unwrap_or_else(anonymous);
    let whole = |count: Option<u64>| i64::try_from(count.unwrap_or(0)).unwrap_or(i64::MAX);
    let tokens = Tokens::of(record);
    let used = Used {
        requests: 1,
        prompt_tokens: whole(tokens.prompt),
        output_tokens: whole(tokens.output),
        model_ms: whole(record.usage.total_duration_ns.map(|ns| ns / 1_000_000)),
    };
    // Only a model that was asked of Ollama: one that is not there is the client's own word.
    let model = record.model.as_deref().filter(|_| record.code.is_empty()).unwrap_or("");
    meter.count((&principal, model), used, now);
}

/// Whether it says something about somebody.
fn counts(record: &Record) -> bool {
    let public = record.endpoint.is_none_or(|endpoint: Endpoint| endpoint.facts().class == Class::Public);
    !public || record.own.is_some() || record.principal.is_some() || !record.code.is_empty()
}
