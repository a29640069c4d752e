//! What a record may say.

use super::chain::Last;
use crate::telemetry::json_text::Fields;

/// One record, without its place in the chain. What is not known stays out.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// What happened.
    pub event: Act,
    /// Who did it.
    pub principal: Option<&'a str>,
    /// With which role.
    pub role: Option<&'a str>,
    /// From where.
    pub client: Option<&'a str>,
    /// The id of the request.
    pub request_id: Option<&'a str>,
    /// What was asked for: an endpoint's name, a command.
    pub action: Option<&'a str>,
    /// What it was about: a model, a key's id, a user.
    pub object: Option<&'a str>,
    /// Which conversation it belongs to.
    pub conversation: Option<&'a str>,
    /// The status that a client was told.
    pub status: Option<u16>,
    /// The stable code of a refusal.
    pub code: Option<&'a str>,
    /// Why, from a closed set; or what failed.
    pub detail: Option<&'a str>,
    /// How it ended.
    pub outcome: Option<&'a str>,
    /// A keyed hash of the request's body, where the configuration asks for it.
    pub prompt_hash: Option<&'a str>,
    /// Of a record on the chain itself: up to which record.
    pub through: Option<u64>,
    /// The hash of that one.
    pub head: Option<&'a str>,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl Act {
    /// Its name in the log.
    const fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Administration => "administration",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Reload => "reload",
            Self::Resumed => "resumed",
            Self::Torn => "torn",
            Self::Continued => "continued",
            Self::Deleted => "deleted",
        }
    }
}

impl<'a> Entry<'a> {
    /// Its fields, in the order in which they are declared.
    pub(super) fn write(&self, fields: &mut Fields<'_>) {
        fields.text("event", self.event.name());
        for (name, value) in [
            ("principal", self.principal),
            ("role", self.role),
            ("client", self.client),
            ("request_id", self.request_id),
            ("action", self.action),
            ("object", self.object),
            ("conversation", self.conversation),
        ] {
            fields.text_if_any(name, value);
        }
        if let Some(status) = self.status {
            fields.value("status", &status);
        }
        for (name, value) in
            [("code", self.code), ("detail", self.detail), ("outcome", self.outcome), ("prompt_hash", self.prompt_hash)]
        {
            fields.text_if_any(name, value);
        }
        if let Some(through) = self.through {
            fields.value("through", &through);
        }
        fields.text_if_any("head", self.head);
    }

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
