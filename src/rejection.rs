//! Every way in which a request is refused, and the one table that says what a client and the log are told.
//!
//! Guarantees: the public text is `&'static str` (with numbers at most), so no byte of a client or of Ollama can be
//! echoed; a new variant does not compile until it has its row. `README.md` prints the table; a test compares them.

use crate::limits::{Exceeded, UsedUp};
use crate::ollama::fault::BodyFault;
use crate::ollama::response::UpstreamFault;
use http::StatusCode;

/// Why a request is refused.
#[derive(Debug)]
pub enum Rejection {
    /// No Host, several, or one that is no authority.
    HostInvalid,
    /// The address, or the key, is banned.
    Banned,
    /// A well-formed Host that is not served here.
    HostNotServed,
    /// The Host is not the name that TLS was opened for.
    SniMismatch,
    /// Not an origin-form target.
    TargetInvalid,
    /// `Upgrade`, or cleartext HTTP/2.
    UpgradeRefused,
    /// `Transfer-Encoding` other than one `chunked`.
    FramingInvalid,
    /// `Expect` other than `100-continue`.
    ExpectationFailed,
    /// A credential in the query.
    CredentialInUrl,
    /// A header that decides something is not plain ASCII, or comes twice.
    HeaderInvalid,
    /// More header lines than are read.
    HeadersTooMany,
    /// A body where the route takes none.
    BodyNotAllowed,
    /// The `Origin` is not allowed.
    OriginNotAllowed,
    /// No such path.
    UnknownRoute,
    /// CONNECT.
    ConnectRefused,
    /// The path is known, the method is not.
    MethodNotAllowed {
        /// The `Allow` header.
        allow: &'static str,
    },
    /// No credential.
    CredentialMissing,
    /// A credential that is unknown, wrong, expired or revoked: told apart in the log only.
    CredentialInvalid {
        /// For the log.
        why: &'static str,
    },
    /// More than one credential.
    CredentialAmbiguous,
    /// Too many failed authentications from this address.
    AuthenticationThrottled(Exceeded),
    /// No token is given out.
    Token(TokenFault),
    /// An `X-Conversation-Id` that is missing, comes twice or is no plain word.
    ConversationInvalid,
    /// The conversation is somebody else's.
    ConversationNotFound,
    /// The role may not call this.
    EndpointForbidden,
    /// The role may not come from this address.
    AddressForbidden,
    /// The request rate is used up.
    RateLimited(Exceeded),
    /// The principal has too many requests in flight.
    TooManyInFlight {
        /// When one of them will probably be over.
        retry_after_s: u64,
    },
    /// The queue is full of this principal's own requests.
    TooManyWaiting {
        /// When its turn would probably come.
        retry_after_s: u64,
    },
    /// A budget is used up.
    BudgetUsedUp(UsedUp),
    /// Not the media type of the route.
    ContentTypeUnsupported,
    /// A `Content-Encoding`.
    ContentEncodingUnsupported,
    /// The body is above its cap.
    BodyTooLarge {
        /// Bytes.
        limit: usize,
    },
    /// The body came slower than the least rate.
    BodyTooSlow,
    /// The body broke off.
    BodyIncomplete,
    /// What the body says is refused.
    Body(BodyFault),
    /// Its turn in the queue did not come in time.
    Overloaded {
        /// When it would probably come.
        retry_after_s: u64,
    },
    /// Ollama refused, failed, or is not there.
    Upstream {
        /// What the client is told.
        fault: UpstreamFault,
        /// What happened, for the log.
        detail: String,
    },
    /// A fault of ours.
    Internal,
}

/// Why no token is given out (RFC 6749 §5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFault {
    /// A parameter is missing, comes twice, or the body is no form.
    RequestInvalid,
    /// Another `grant_type`.
    GrantUnsupported,
    /// A password, a code or a refresh token that is not good: told apart in the log only.
    GrantInvalid {
        /// For the log.
        why: &'static str,
    },
    /// The same of a service's key.
    ClientInvalid {
        /// For the log.
        why: &'static str,
    },
}

impl TokenFault {
    /// OAuth's word.
    #[must_use]
    pub const fn oauth(self) -> &'static str {
        match self {
            Self::RequestInvalid => "invalid_request",
            Self::GrantUnsupported => "unsupported_grant_type",
            Self::GrantInvalid { .. } => "invalid_grant",
            Self::ClientInvalid { .. } => "invalid_client",
        }
    }

    /// Ours.
    #[must_use]
    pub fn code(self) -> &'static str {
        self.facts().code
    }

    #[rustfmt::skip]
    fn facts(self) -> Facts {
        use StatusCode as S;
        match self {
            Self::RequestInvalid    => client(S::BAD_REQUEST, "token_request_invalid", "The token request is not well formed."),
            Self::GrantUnsupported  => client(S::BAD_REQUEST, "grant_unsupported", "The grant types are password, refresh_token and client_credentials."),
            Self::GrantInvalid{..}  => client(S::BAD_REQUEST, "grant_invalid", "The credentials are not valid. A user with a second factor sends its code as 'otp'."),
            Self::ClientInvalid{..} => client(S::UNAUTHORIZED, "client_invalid", "The client's key is not valid."),
        }
    }
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The client's.
    Client,
    /// Ollama's.
    Upstream,
    /// Ours.
    Gateway,
}

impl Fault {
    /// For the log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
            Self::Gateway => "gateway",
        }
    }
}

/// Whether the connection may go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It may.
    Keep,
    /// It ends after the answer: what follows on it cannot be trusted, or is a body that nobody will read.
    Close,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The HTTP status.
    pub status: StatusCode,
    /// The stable code.
    pub code: &'static str,
    /// What the client is told.
    pub public: &'static str,
    /// Whose fault.
    pub fault: Fault,
    /// Whether the connection may go on.
    pub connection: Connection,
    /// Seconds after which a try may succeed.
    pub retry_after: Option<u64>,
}

const fn client(status: StatusCode, code: &'static str, public: &'static str) -> Facts {
    Facts { status, code, public, fault: Fault::Client, connection: Connection::Keep, retry_after: None }
}

const fn gateway(status: StatusCode, code: &'static str, public: &'static str, retry_after: u64) -> Facts {
    let retry_after = Some(retry_after);
    Facts { status, code, public, fault: Fault::Gateway, connection: Connection::Keep, retry_after }
}

impl Facts {
    const fn closing(self) -> Self {
        Self { connection: Connection::Close, ..self }
    }

    const fn after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }
}

impl Rejection {
    /// Whether somebody tried to be somebody and was not: guesses count, whatever they are made of.
    #[must_use]
    pub const fn is_wrong_credential(&self) -> bool {
        matches!(
            self,
            Self::CredentialInvalid { .. }
                | Self::CredentialAmbiguous
                | Self::Token(TokenFault::GrantInvalid { .. } | TokenFault::ClientInvalid { .. })
        )
    }

    /// The row of this refusal.
    #[must_use]
    #[rustfmt::skip]
    pub fn facts(&self) -> Facts {
        use StatusCode as S;
        match self {
            Self::HostInvalid          => client(S::BAD_REQUEST, "host_invalid", "The request must carry exactly one valid Host.").closing(),
            Self::Banned               => client(S::FORBIDDEN, "banned", "Requests from here are not served.").closing(),
            Self::HostNotServed        => client(S::MISDIRECTED_REQUEST, "host_not_served", "This host name is not served here.").closing(),
            Self::SniMismatch          => client(S::MISDIRECTED_REQUEST, "sni_mismatch", "The Host is not the name that the TLS connection was opened for.").closing(),
            Self::TargetInvalid        => client(S::BAD_REQUEST, "target_invalid", "The request target must be a plain path.").closing(),
            Self::UpgradeRefused       => client(S::BAD_REQUEST, "upgrade_refused", "Protocol upgrades are not served here.").closing(),
            Self::FramingInvalid       => client(S::BAD_REQUEST, "framing_invalid", "The length of the body must be given once: by Content-Length, or by chunked alone.").closing(),
            Self::ExpectationFailed    => client(S::EXPECTATION_FAILED, "expectation_failed", "The only expectation understood is 100-continue.").closing(),
            Self::CredentialInUrl      => client(S::BAD_REQUEST, "credential_in_url", "A credential must not be in the URL: send it in the Authorization header, and replace this one, since it may have been logged on its way."),
            Self::HeaderInvalid        => client(S::BAD_REQUEST, "header_invalid", "A header of the request is not valid or was sent twice.").closing(),
            Self::HeadersTooMany       => client(S::REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_many", "The request has too many headers.").closing(),
            Self::BodyNotAllowed       => client(S::BAD_REQUEST, "body_not_allowed", "This route takes no request body.").closing(),
            Self::OriginNotAllowed     => client(S::FORBIDDEN, "origin_not_allowed", "Requests from this web origin are not allowed."),
            Self::UnknownRoute         => client(S::NOT_FOUND, "unknown_route", "There is no such route."),
            Self::MethodNotAllowed{..} => client(S::METHOD_NOT_ALLOWED, "method_not_allowed", "The route does not answer this method."),
            Self::ConnectRefused       => client(S::METHOD_NOT_ALLOWED, "method_not_allowed", "No tunnels are made here.").closing(),
            Self::CredentialMissing    => client(S::UNAUTHORIZED, "credential_missing", "An API key is needed: send it as 'Authorization: Bearer KEY'."),
            Self::CredentialInvalid{..}=> client(S::UNAUTHORIZED, "credential_invalid", "The API key or token is not valid."),
            Self::CredentialAmbiguous  => client(S::UNAUTHORIZED, "credential_ambiguous", "Send exactly one credential."),
            Self::AuthenticationThrottled(e) => client(S::TOO_MANY_REQUESTS, "authentication_throttled", "Too many failed authentications from this address.").after(e.retry_after_s),
            Self::ConversationInvalid  => client(S::BAD_REQUEST, "conversation_invalid", "One X-Conversation-Id is needed: 1 to 64 letters, digits, '-', '_' or '.'."),
            Self::ConversationNotFound => client(S::NOT_FOUND, "conversation_not_found", "There is no such conversation."),
            Self::Token(fault)         => fault.facts(),
            Self::EndpointForbidden    => client(S::FORBIDDEN, "endpoint_forbidden", "This key's role may not use this route."),
            Self::AddressForbidden     => client(S::FORBIDDEN, "address_forbidden", "This key may not be used from this address."),
            Self::RateLimited(e)       => client(S::TOO_MANY_REQUESTS, "rate_limited", "Rate limit exceeded.").after(e.retry_after_s),
            Self::TooManyInFlight { retry_after_s } => client(S::TOO_MANY_REQUESTS, "too_many_in_flight", "Too many requests of this key are in progress.").after(*retry_after_s),
            Self::TooManyWaiting { retry_after_s }  => client(S::TOO_MANY_REQUESTS, "too_many_waiting", "Too many requests of this key are waiting.").after(*retry_after_s),
            Self::BudgetUsedUp(used_up) => client(S::TOO_MANY_REQUESTS, "budget_used_up", "The budget is used up.").after(used_up.retry_after_s),
            Self::ContentTypeUnsupported => client(S::UNSUPPORTED_MEDIA_TYPE, "content_type_unsupported", "The Content-Type must be application/json; for a transcription, multipart/form-data with a boundary."),
            Self::ContentEncodingUnsupported => client(S::UNSUPPORTED_MEDIA_TYPE, "content_encoding_unsupported", "The request body must not be compressed."),
            Self::BodyTooLarge{..}     => client(S::PAYLOAD_TOO_LARGE, "body_too_large", "The request body is too large.").closing(),
            Self::BodyTooSlow          => client(S::REQUEST_TIMEOUT, "body_too_slow", "The request body came too slowly.").closing(),
            Self::BodyIncomplete       => client(S::BAD_REQUEST, "body_incomplete", "The request body is incomplete or not well framed.").closing(),
            Self::Body(fault)          => body_facts(fault),
            Self::Overloaded { retry_after_s } => gateway(S::SERVICE_UNAVAILABLE, "overloaded", "The server is busy.", *retry_after_s),
            Self::Upstream{fault, ..}  => upstream_facts(fault),
            Self::Internal             => gateway(S::INTERNAL_SERVER_ERROR, "internal_error", "The gateway failed to answer.", 1),
        }
    }

    /// What the client is told, with the numbers that make it exact: `Rate limit exceeded (limit 10 in 60 s).`
    #[must_use]
    pub fn text(&self) -> String {
        let public = self.facts().public;
        self.exact().map_or_else(|| public.to_owned(), |exact| format!("{} ({exact}).", public.trim_end_matches('.')))
    }

    /// Numbers that make the public text exact: a limit and what was found.
    #[must_use]
    pub fn exact(&self) -> Option<String> {
        match self {
            Self::Body(fault) => fault.detail(),
            Self::BodyTooLarge { limit } => Some(format!("limit {limit} bytes")),
            Self::RateLimited(e) | Self::AuthenticationThrottled(e) => {
                Some(format!("limit {} in {} s, try again in {} s", e.quota.limit, e.quota.window_s, e.retry_after_s))
            }
            Self::BudgetUsedUp(used_up) => Some(format!("{used_up}, try again in {} s", used_up.retry_after_s)),
            Self::HostInvalid
            | Self::Banned
            | Self::HostNotServed
            | Self::SniMismatch
            | Self::TargetInvalid
            | Self::UpgradeRefused
            | Self::FramingInvalid
            | Self::ExpectationFailed
            | Self::CredentialInUrl
            | Self::HeaderInvalid
            | Self::HeadersTooMany
            | Self::BodyNotAllowed
            | Self::OriginNotAllowed
            | Self::UnknownRoute
            | Self::MethodNotAllowed { .. }
            | Self::ConnectRefused
            | Self::CredentialMissing
            | Self::CredentialInvalid { .. }
            | Self::CredentialAmbiguous
            | Self::ConversationInvalid
            | Self::ConversationNotFound
            | Self::Token(_)
            | Self::EndpointForbidden
            | Self::AddressForbidden
            | Self::TooManyInFlight { .. }
            | Self::TooManyWaiting { .. }
            | Self::ContentTypeUnsupported
            | Self::ContentEncodingUnsupported
            | Self::BodyTooSlow
            | Self::BodyIncomplete
            | Self::Overloaded { .. }
            | Self::Upstream { .. }
            | Self::Internal => None,
        }
    }
}

fn body_facts(fault: &BodyFault) -> Facts {
    let facts = fault.facts();
    client(status(facts.status), facts.code, facts.text)
}

fn upstream_facts(fault: &UpstreamFault) -> Facts {
    let facts = fault.facts();
    let status = status(facts.status);
    let (fault, retry_after) =
        (if status.is_client_error() { Fault::Client } else { Fault::Upstream }, facts.retry_after.map(u64::from));
    Facts { status, code: facts.code, public: facts.text, fault, connection: Connection::Keep, retry_after }
}

fn status(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
