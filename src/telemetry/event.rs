//! Security events: a closed set of fixed names, for rules and alerts to match on.
//!
//! Guarantees: a name, once shipped, keeps its meaning; a detail that a client or Ollama may have written is escaped and
//! cut to 256 bytes; no field is made for a prompt, a key or a token. Does not: replace the one record of a request.

use super::metrics::metrics;
use super::printable::Printable;
use super::recent;
use super::request_id::RequestId;
use std::net::IpAddr;
use tracing::Level;

/// The most of a detail that is logged.
const MAX_DETAIL: usize = 256;

macro_rules! security_events {
    ($($variant:ident $name:literal $level:ident $message:literal)*) => {
        /// One kind of event. Its name, level and sentence are its row in this file.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum SecurityEvent {
            $(#[doc = $message] $variant,)*
        }

        impl SecurityEvent {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The fixed name: the field `event` of the line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// How loud it is.
            #[must_use]
            pub const fn level(self) -> Level {
                match self { $(Self::$variant => Level::$level),* }
            }

            /// The sentence of the line.
            #[must_use]
            pub const fn message(self) -> &'static str {
                match self { $(Self::$variant => $message),* }
            }
        }
    };
}

security_events! {
    AuthenticationFailure   "authentication_failure"   WARN  "a credential was refused"
    AddressThrottled        "address_throttled"        WARN  "too many failed authentications from one address"
    AddressBanned           "address_banned"           WARN  "an address is banned for a while"
    HoneyKeyUsed            "honey_key_used"           ERROR "somebody used a key that was laid out for that"
    AuthorizationDenied     "authorization_denied"     WARN  "a known caller asked for what its role does not name"
    CredentialInUrl         "credential_in_url"        WARN  "a credential came in a URL"
    CredentialInCleartext   "credential_in_cleartext"  ERROR "a credential came without TLS and must be taken as known to others"
    RateLimitExceeded       "rate_limit_exceeded"      WARN  "a rate limit was reached"
    BudgetUsedUp            "budget_used_up"           WARN  "a budget is used up"
    ConnectionRefused       "connection_refused"       WARN  "a connection was refused: no slot is free"
    InvalidInput            "invalid_input"            WARN  "a request was malformed or not allowed"
    ContentBlocked          "content_blocked"          WARN  "a content rule matched"
    OriginRefused           "origin_refused"           WARN  "a browser asked from an origin that is not listed"
    HostRefused             "host_refused"             WARN  "a request named a host that is not served"
    UpstreamError           "upstream_error"           ERROR "Ollama answered with an error"
    UpstreamUnavailable     "upstream_unavailable"     ERROR "Ollama could not be reached or did not answer in time"
    UpstreamWedged          "upstream_wedged"          ERROR "a model says nothing to anybody; it is asked to unload"
    ConfigurationError      "configuration_error"      ERROR "the configuration is not valid"
    PolicyReloaded          "policy_reloaded"          INFO  "the policy was reloaded"
    PolicyReloadFailed      "policy_reload_failed"     ERROR "the policy was not reloaded; the one before goes on"
    KeysReloaded            "keys_reloaded"            INFO  "the keys were reloaded"
    KeysReloadFailed        "keys_reload_failed"       ERROR "the keys were not reloaded; those before go on"
    CertificateLoaded       "certificate_loaded"       INFO  "a certificate is in use"
    CertificateFailed       "certificate_failed"       ERROR "a certificate could not be loaded or renewed"
    InternalError           "internal_error"           ERROR "a fault of the gateway itself"
    Listening               "listening"                INFO  "a listener is open"
    Ready                   "ready"                    INFO  "requests are served"
    Stopping                "stopping"                 INFO  "no new connections; running requests finish"
    Stopped                 "stopped"                  INFO  "all is closed"
}

/// What an event is about. What is not known stays out of the line.
#[derive(Debug, Clone, Copy, Default)]
pub struct About<'a> {
    /// The client's address, as the gateway knows it.
    pub client: Option<IpAddr>,
    /// The request.
    pub request_id: Option<RequestId>,
    /// The authenticated caller.
    pub principal: Option<&'a str>,
    /// A fixed word for why, from a closed set of its own: a rejection's code, a limit's name.
    pub reason: Option<&'static str>,
    /// Anything else, written by whom it may be: it is escaped and cut.
    pub detail: Option<&'a str>,
}

macro_rules! line {
    ($level:ident, $event:expr, $about:expr) => {
        tracing::event!(
            target: "security",
            Level::$level,
            event = $event.name(),
            client = $about.client.map(tracing::field::display),
            request_id = $about.request_id.map(tracing::field::display),
            principal = $about.principal.map(|text| tracing::field::display(Printable::new(text, MAX_DETAIL))),
            reason = $about.reason,
            detail = $about.detail.map(|text| tracing::field::display(Printable::new(text, MAX_DETAIL))),
            "{}",
            $event.message()
        )
    };
}

impl SecurityEvent {
    /// Counts it, and logs it with the target `security`.
    pub fn report(self, about: &About<'_>) {
        metrics().happened(self);
        recent::keep(self, about);
        let level = self.level();
        if level == Level::ERROR {
            line!(ERROR, self, about);
        } else if level == Level::WARN {
            line!(WARN, self, about);
        } else {
            line!(INFO, self, about);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_distinct_words_and_every_level_is_one_that_is_logged_by_default() {
        let names: HashSet<_> = SecurityEvent::ALL.iter().map(|event| event.name()).collect();
        assert_eq!(names.len(), SecurityEvent::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        assert!(SecurityEvent::ALL.iter().all(|event| event.level() <= Level::INFO));
    }
}
