//! What a record may say.

use super::chain::Last;
use serde::Serialize;

/// One record, without its place in the chain. What is not known stays out.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Entry<'a> {
    /// What happened.
    pub event: Act,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<&'a str>,
    /// With which role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'a str>,
    /// From where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<&'a str>,
    /// The id of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<&'a str>,
    /// What was asked for: an endpoint's name, a command.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<&'a str>,
    /// What it was about: a model, a key's id, a user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<&'a str>,
    /// Which conversation it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<&'a str>,
    /// The status that a client was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The stable code of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'a str>,
    /// Why, from a closed set; or what failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'a str>,
    /// How it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'a str>,
    /// A keyed hash of the request's body, where the configuration asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt_hash: Option<&'a str>,
    /// Of a record on the chain itself: up to which record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<u64>,
    /// The hash of that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head: Option<&'a str>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// A request was answered or refused.
    Request,
    /// An administrator's command.
    Administration,
    /// The service began.
    Started,
    /// The service ended in order.
    Stopped,
    /// The policy was reloaded, or was not.
    Reload,
    /// The log can be written again.
    Resumed,
    /// A record before this one was torn when its process was killed, and is cut off.
    Torn,
    /// A file begins here: the record before this one is in another file, `object`.
    Continued,
    /// A closed file, `object`, is deleted: nothing in it has to be kept any longer.
    Deleted,
}

impl<'a> Entry<'a> {
    /// A record on the chain itself: what is said of a file that ends with `last`.
    pub(super) fn of_chain(event: Act, file: Option<&'a str>, last: &'a Last) -> Self {
        Self { object: file, through: Some(last.seq), head: Some(&last.hash), ..Self::act(event) }
    }

    /// An event with nothing else to say.
    #[must_use]
    pub const fn act(event: Act) -> Self {
        Self {
            event,
            principal: None,
            role: None,
            client: None,
            request_id: None,
            action: None,
            object: None,
            conversation: None,
            status: None,
            code: None,
            detail: None,
            outcome: None,
            prompt_hash: None,
            through: None,
            head: None,
        }
    }
}
