//! Why no certificate was obtained, and how long to wait before the next try.
//!
//! Guarantees: the CA's own words are shown without control characters and cut; no key, no HMAC secret is in them.

use crate::certificates::acme::client::ClientFault;
use crate::certificates::fault::CertificateFault;
use crate::telemetry::printable::Printable;
use std::time::Duration;

use instant_acme::{Error, Problem};

/// The most of the CA's words that is shown.
const SHOWN: usize = 300;

/// Why no certificate was obtained.
#[derive(Debug, thiserror::Error)]
pub enum AcmeFault {
    /// The state folder is damaged: nothing is registered and nothing is ordered.
    #[error(transparent)]
    Store(#[from] CertificateFault),
    /// An address to be validated on is taken, or not ours.
    #[error("{address}: cannot be listened on: {reason}; hint: the CA asks there, so nothing else may")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// What the system said.
        reason: std::io::Error,
    },
    /// The running server tried, and failed.
    #[error("the running server tried: {reason}")]
    Asked {
        /// Its words.
        reason: String,
    },
    /// The running server says nothing.
    #[error("the running server does not answer; hint: see its log")]
    Unanswered,
    /// No answer, or none that can be used.
    #[error("the CA cannot be asked: {reason}")]
    Unreachable {
        /// What happened.
        reason: String,
        /// What the CA said about waiting.
        retry_after: Option<Duration>,
    },
    /// Too many requests.
    #[error("the CA wants us to wait: {reason}")]
    Limited {
        /// Its words.
        reason: String,
        /// How long.
        retry_after: Option<Duration>,
    },
    /// A challenge failed.
    #[error("the CA could not validate: {reason}")]
    Invalid {
        /// Its words, by name.
        reason: String,
    },
    /// It will not do what was asked.
    #[error("the CA refuses: {reason}")]
    Refused {
        /// Its words.
        reason: String,
    },
    /// None of the configured challenges fits.
    #[error(
        "{name}: the CA offers none of tls.acme.challenges; hint: a wildcard needs dns-01, an address cannot use it"
    )]
    NoChallenge {
        /// For this name.
        name: String,
    },
    /// The DNS command failed.
    #[error("the dns-01 command failed: {reason}")]
    Hook {
        /// How.
        reason: String,
    },
    /// What the CA issued is not what was ordered.
    #[error("the CA's certificate cannot be used: {reason}")]
    Unusable {
        /// Why.
        reason: String,
    },
    /// `[tls.acme]` holds what cannot work.
    #[error("tls.acme.{key}: {reason}")]
    Setting {
        /// Which key.
        key: &'static str,
        /// Why.
        reason: String,
    },
}

/// How soon another try makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Again {
    /// It may pass by itself.
    Soon,
    /// Somebody has to do something first, and each failed validation counts against us.
    Late,
}

impl AcmeFault {
    /// How soon another try makes sense.
    pub(crate) fn again(&self) -> Again {
        match self {
            Self::Unreachable { .. } => Again::Soon,
            Self::Store(_)
            | Self::Listen { .. }
            | Self::Asked { .. }
            | Self::Unanswered
            | Self::Limited { .. }
            | Self::Invalid { .. }
            | Self::Refused { .. }
            | Self::NoChallenge { .. }
            | Self::Hook { .. }
            | Self::Unusable { .. }
            | Self::Setting { .. } => Again::Late,
        }
    }

    /// What the CA said about waiting.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unreachable { retry_after, .. } | Self::Limited { retry_after, .. } => *retry_after,
            Self::Store(_)
            | Self::Listen { .. }
            | Self::Asked { .. }
            | Self::Unanswered
            | Self::Invalid { .. }
            | Self::Refused { .. }
            | Self::NoChallenge { .. }
            | Self::Hook { .. }
            | Self::Unusable { .. }
            | Self::Setting { .. } => None,
        }
    }

    /// From what the ACME library says, and the last `Retry-After` that was seen.
    pub(crate) fn of(error: Error, retry_after: Option<Duration>) -> Self {
        if let Error::Api(problem) = &error {
            return Self::of_problem(problem, retry_after);
        }
        let reason = shown(&error.to_string());
        if matches!(error, Error::Unsupported(_)) {
            return Self::Refused { reason };
        }
        Self::Unreachable { reason, retry_after }
    }

    fn of_problem(problem: &Problem, retry_after: Option<Duration>) -> Self {
        let reason = described(problem);
        match kind(problem) {
            "rateLimited" => Self::Limited { reason, retry_after },
            "badNonce" | "serverInternal" => Self::Unreachable { reason, retry_after },
            "connection" | "dns" | "tls" | "unauthorized" | "incorrectResponse" | "caa" => Self::Invalid { reason },
            "accountDoesNotExist" => {
                Self::Refused { reason: format!("{reason}; hint: move account.json away to register a new account") }
            }
            _ => Self::Refused { reason },
        }
    }
}

/// The last part of a problem's type, e.g. `rateLimited`.
pub(crate) fn kind(problem: &Problem) -> &str {
    problem.r#type.as_deref().and_then(|urn| urn.rsplit(':').next()).unwrap_or_default()
}

/// A problem in one line.
pub(crate) fn described(problem: &Problem) -> String {
    let detail = problem.detail.as_deref().unwrap_or("no detail");
    let each = problem.subproblems.iter().filter_map(|sub| sub.detail.as_deref());
    shown(&each.fold(format!("{}: {detail}", kind(problem)), |all, one| format!("{all}; {one}")))
}

/// Somebody else's words, fit for a log and a terminal.
pub(crate) fn shown(text: &str) -> String {
    Printable::new(text, SHOWN).to_string()
}

/// Whether an order without `replaces` might be taken: the CA answered, and it did not ask to wait.
pub(crate) fn is_about_replacing(error: &Error) -> bool {
    if let Error::Api(problem) = error {
        return kind(problem) != "rateLimited";
    }
    let answered = |other: &Error| matches!(other, Error::Other(cause) if !cause.is::<ClientFault>());
    answered(error) || matches!(error, Error::Unsupported(_))
}

/// Whether the CA did not even look at the request, so that it can be sent again at once.
pub(crate) fn is_bad_nonce(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if kind(problem) == "badNonce")
}

impl From<ClientFault> for Error {
    fn from(fault: ClientFault) -> Self {
        Self::Other(Box::new(fault))
    }
}
