//! The one record of a request: filled along the way, counted and written when it ends ([`super::end`]).
//!
//! Guarantees: it holds no prompt, no answer, no credential; text that a client chose is cut and escaped. It travels inside
//! the response's body, so that it ends when the last byte has been handed out, with its true times and counts.

use super::cors::Decision;
use super::credential;
use super::end::Standing;
use super::peer::{Peer, Protocol};
use super::route::OwnRoute;
use super::unread::Unread;
use crate::gateway::Policy;
use crate::http1::incoming::Incoming;
use crate::identity::conversations::ConversationId;
use crate::limits::{Quota, Turn, UsageMeter};
use crate::ollama::endpoint::{Dialect, Endpoint};
use crate::ollama::response::Usage;
use crate::rejection::{Connection, Fault, Rejection, TokenFault};
use crate::telemetry::audit::Audit;
use crate::telemetry::event::{About, SecurityEvent};
use crate::telemetry::metrics::metrics;
use crate::telemetry::request_id::RequestId;
use crate::telemetry::traces::Trace;
use http::request::Parts;
use http::{Request, StatusCode, header};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The answer left whole.
    Completed,
    /// A refusal left.
    Refused,
    /// The client left, or was cut, before the end.
    ClientLeft,
    /// Ollama failed after the answer had begun.
    UpstreamFailed,
}

impl Outcome {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::ClientLeft => "client_left",
            Self::UpstreamFailed => "upstream_failed",
        }
    }
}

/// What is known of a request.
#[derive(Debug)]
pub struct Record {
    /// Its id, told to the client too.
    pub id: RequestId,
    /// What its `Origin` means.
    pub cors: Decision,
    /// Whose error shape it gets.
    pub dialect: Dialect,
    /// The HTTP version.
    pub protocol: Protocol,
    /// The client's address.
    pub client: IpAddr,
    /// The connection it came on.
    pub peer: Arc<Peer>,
    /// Its route, once known.
    pub endpoint: Option<Endpoint>,
    /// Its route, where it is one of the gateway itself.
    pub own: Option<OwnRoute>,
    /// Where it is accounted for.
    pub audit: Option<Arc<Audit>>,
    /// Its trace, where there are traces.
    pub trace: Option<Trace>,
    /// Where it is counted for its caller.
    pub usage_meter: Option<Arc<UsageMeter>>,
    /// The conversation it belongs to.
    pub conversation: Option<ConversationId>,
    /// The keyed hash of its body, where that is wanted.
    pub prompt_hash: Option<String>,
    /// Who calls, once known.
    pub principal: Option<Arc<str>>,
    /// Its role, once known.
    pub role: Option<String>,
    /// The model, canonical.
    pub model: Option<String>,
    /// What is left of its rate.
    pub quota: Option<Quota>,
    /// Its body, until `admit` takes it.
    pub body: Unread,
    /// Bytes of its body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
    /// Tokens and durations, as far as Ollama tells.
    pub usage: Usage,
    /// Tokens of the prompt by its length, once it was sent to a model.
    pub prompt_estimate: Option<u64>,
    /// Its wait for a slot, where it came to one.
    pub turn: Option<Turn>,
    method: Box<str>,
    pub(super) path: Box<str>,
    pub(super) status: Option<StatusCode>,
    pub(super) code: &'static str,
    pub(super) detail: Option<String>,
    outcome: Outcome,
    pub(super) started: Instant,
    first_byte: Option<Duration>,
    pub(super) standing: Standing,
}

/// Bytes of a client's text that a log line may hold.
const SHOWN: usize = 256;

impl Record {
    /// Begins the record of a request; on the heap, since every stage passes it on.
    #[must_use]
    pub fn open(peer: &Arc<Peer>, policy: &Policy, request: Request<Incoming>) -> (Box<Self>, Parts) {
        let (request, body) = request.into_parts();
        let host = request
            .uri
            .authority()
            .map(http::uri::Authority::as_str)
            .or_else(|| request.headers.get(header::HOST).and_then(|h| h.to_str().ok()));
        let record = Box::new(Self {
            id: RequestId::new(),
            cors: policy.cors.decide(&request.headers, host),
            dialect: Endpoint::dialect_of_path(request.uri.path()),
            protocol: peer.protocol,
            client: peer.address,
            peer: Arc::clone(peer),
            endpoint: None,
            own: None,
            audit: None,
            trace: None,
            usage_meter: None,
            conversation: None,
            prompt_hash: None,
            principal: None,
            role: None,
            model: None,
            quota: None,
            body: Unread::new(&request.headers, body),
            bytes_in: 0,
            bytes_out: 0,
            usage: Usage::default(),
            prompt_estimate: None,
            turn: None,
            method: cut(request.method.as_str()).into(),
            path: shown_path(request.uri.path()).into(),
            status: None,
            code: "",
            detail: None,
            outcome: Outcome::ClientLeft,
            started: Instant::now(),
            first_byte: None,
            standing: Standing::InFlight { _busy: peer.activity.begin() },
        });
        metrics().in_flight.increment();
        (record, request)
    }

    /// Notes a refusal, and tells the security log what it must know.
    #[expect(clippy::wildcard_enum_match_arm, reason = "two hold more for the log than for the client")]
    pub fn refused(&mut self, rejection: &Rejection) {
        let facts = rejection.facts();
        self.code = facts.code;
        metrics().refusals.increment([facts.code]);
        if facts.fault == Fault::Upstream {
            metrics().upstream_failures.increment([facts.code]);
        }
        self.detail = match rejection {
            Rejection::Upstream { detail, .. } => Some(detail.clone()),
            Rejection::CredentialInvalid { why }
            | Rejection::Token(TokenFault::GrantInvalid { why } | TokenFault::ClientInvalid { why }) => {
                Some((*why).to_owned())
            }
            _ => rejection.exact(),
        };
        if let Some(event) = event_of(rejection) {
            self.note(event, facts.code);
        }
    }

    /// Writes a security event of this request.
    pub fn note(&self, event: SecurityEvent, reason: &'static str) {
        self.note_detail(event, reason, self.detail.as_deref());
    }

    /// The same, with a detail that anybody may have written.
    pub fn note_detail(&self, event: SecurityEvent, reason: &'static str, detail: Option<&str>) {
        event.report(&About {
            client: Some(self.client),
            request_id: Some(self.id),
            principal: self.principal.as_deref(),
            reason: Some(reason),
            detail,
        });
    }

    pub(super) const fn method(&self) -> &str {
        &self.method
    }

    pub(super) const fn outcome(&self) -> Outcome {
        self.outcome
    }

    pub(super) const fn first_byte(&self) -> Option<Duration> {
        self.first_byte
    }

    /// Whether only the head of an answer is wanted.
    #[must_use]
    pub fn is_head(&self) -> bool {
        &*self.method == "HEAD"
    }

    /// Notes the status that the client is told.
    pub const fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// Notes that the answer begins.
    pub fn begun(&mut self) {
        self.first_byte.get_or_insert_with(|| self.started.elapsed());
    }

    /// Notes how it ended.
    pub const fn ended(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }

    /// Notes a failure of Ollama after the answer had begun.
    pub fn failed(&mut self, code: &'static str, detail: &str) {
        self.code = code;
        self.detail = Some(detail.to_owned());
        self.outcome = Outcome::UpstreamFailed;
        metrics().upstream_failures.increment([code]);
        self.note(SecurityEvent::UpstreamError, code);
    }

    /// Notes that a budget ended the answer.
    pub fn cut_short(&mut self, code: &'static str, detail: String) {
        self.code = code;
        self.detail = Some(detail);
        self.note(SecurityEvent::BudgetUsedUp, "cut_short");
    }

    /// Whether the connection must end after the answer.
    #[must_use]
    pub fn must_close(&self, connection: Connection) -> bool {
        connection == Connection::Close || !self.body.leaves_the_connection_clean()
    }
}

/// A client's path for the log: without keys, and cut.
#[must_use]
pub fn shown_path(path: &str) -> String {
    cut(&credential::redacted(path)).to_owned()
}

/// Cuts a client's text to what a line may hold, at a character's border.
fn cut(text: &str) -> &str {
    let end = (0..=SHOWN.min(text.len())).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    text.get(..end).unwrap_or("")
}

/// The security event that a refusal is.
fn event_of(rejection: &Rejection) -> Option<SecurityEvent> {
    match rejection {
        Rejection::CredentialMissing | Rejection::CredentialInvalid { .. } | Rejection::CredentialAmbiguous => {
            Some(SecurityEvent::AuthenticationFailure)
        }
        Rejection::Token(TokenFault::GrantInvalid { .. } | TokenFault::ClientInvalid { .. }) => {
            Some(SecurityEvent::AuthenticationFailure)
        }
        Rejection::AddressForbidden | Rejection::EndpointForbidden | Rejection::ConversationNotFound => {
            Some(SecurityEvent::AuthorizationDenied)
        }
        Rejection::AuthenticationThrottled(_) => Some(SecurityEvent::AddressThrottled),
        Rejection::RateLimited(_) | Rejection::TooManyInFlight { .. } | Rejection::TooManyWaiting { .. } => {
            Some(SecurityEvent::RateLimitExceeded)
        }
        Rejection::Banned => Some(SecurityEvent::AuthorizationDenied),
        Rejection::BudgetUsedUp(_) => Some(SecurityEvent::BudgetUsedUp),
        Rejection::CredentialInUrl => Some(SecurityEvent::CredentialInUrl),
        Rejection::OriginNotAllowed => Some(SecurityEvent::OriginRefused),
        Rejection::HostInvalid | Rejection::HostNotServed | Rejection::SniMismatch => Some(SecurityEvent::HostRefused),
        Rejection::TargetInvalid
        | Rejection::ConnectRefused
        | Rejection::UpgradeRefused
        | Rejection::FramingInvalid
        | Rejection::ExpectationFailed
        | Rejection::HeaderInvalid
        | Rejection::HeadersTooMany
        | Rejection::BodyNotAllowed
        | Rejection::ContentTypeUnsupported
        | Rejection::ContentEncodingUnsupported
        | Rejection::BodyTooLarge { .. }
        | Rejection::BodyTooSlow
        | Rejection::BodyIncomplete
        | Rejection::ConversationInvalid
        | Rejection::Token(TokenFault::RequestInvalid | TokenFault::GrantUnsupported)
        | Rejection::Body(_) => Some(SecurityEvent::InvalidInput),
        // A model that is not there, a request that Ollama refuses: the client's doing, in the record alone.
        Rejection::Upstream { .. } if rejection.facts().fault == Fault::Client => None,
        Rejection::Upstream { .. } => Some(SecurityEvent::UpstreamError),
        Rejection::UnknownRoute | Rejection::MethodNotAllowed { .. } | Rejection::Overloaded { .. } => None,
        Rejection::Internal => Some(SecurityEvent::InternalError),
    }
}
