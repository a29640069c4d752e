//! `X-Conversation-Id`: whose conversation is it?
//!
//! Guarantees: a conversation of somebody else and a conversation that there is not look the same: 404; decided before a
//! byte of the body is read. Only what runs a model has one.

use super::authenticate::Principal;
use super::record::Record;
use crate::config::types::ConversationIds;
use crate::gateway::{Gateway, Policy};
use crate::identity::conversations::{ConversationId, Ownership};
use crate::limits::Subject;
use crate::ollama::endpoint::{Class, Endpoint};
use crate::rejection::Rejection;
use crate::telemetry::clock;
use http::header::HeaderMap;

const HEADER: &str = "x-conversation-id";

/// Lets the owner pass, and whoever is the first.
pub(super) async fn own(
    endpoint: Endpoint,
    headers: &HeaderMap,
    principal: &Principal,
    (gateway, policy): (&Gateway, &Policy),
    record: &mut Record,
) -> Result<(), Rejection> {
    if endpoint.facts().class != Class::Inference {
        return Ok(());
    }
    let Some(id) = parse(headers, policy.config.auth.conversation_ids)? else { return Ok(()) };
    record.conversation = Some(id.clone());
    let caller = match principal.subject(record.client) {
        Subject::Principal(id) => id.as_str().to_owned(),
        Subject::Address(prefix) => format!("address:{prefix}"),
    };
    // It asks the store: what that needs is not to make every request larger.
    match Box::pin(gateway.conversations.claim(&id, &caller, clock::now())).await {
        Ok(Ownership::Own) => Ok(()),
        Ok(Ownership::Another) => Err(Rejection::ConversationNotFound),
        Err(error) => {
            tracing::error!(event = "conversations_unreadable", %error, "who owns a conversation cannot be read");
            Err(Rejection::Overloaded { retry_after_s: 5 })
        }
    }
}

fn parse(headers: &HeaderMap, ids: ConversationIds) -> Result<Option<ConversationId>, Rejection> {
    let mut values = headers.get_all(HEADER).iter();
    match (values.next(), values.next(), ids) {
        (None, _, ConversationIds::Optional) => Ok(None),
        (Some(one), None, _) => ConversationId::parse(one.as_bytes()).map(Some).ok_or(Rejection::ConversationInvalid),
        (None, _, ConversationIds::Required) | (Some(_), Some(_), _) => Err(Rejection::ConversationInvalid),
    }
}
