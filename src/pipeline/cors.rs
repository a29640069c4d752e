//! Cross-origin requests, decided here alone.
//!
//! Guarantees: an origin is allowed when it equals one of the list, byte for byte, or is this host's own; `null` never;
//! exactly one `Access-Control-Allow-Origin` and `Vary: Origin` on every answer to an allowed origin, refusals and
//! streams included; none to any other. Ollama sees no `Origin` (`threats.md` §4.5, fact 9).
//! Source: Fetch, "CORS protocol".

use super::reply::Fields;
use crate::config::types::{Cors, Credentials};
use http::header::{self, HeaderMap, HeaderValue};

/// `[cors]`, ready to use.
#[derive(Debug)]
pub struct CorsPolicy {
    origins: Vec<String>,
    any: Any,
    credentials: Credentials,
    methods: HeaderValue,
    headers: HeaderValue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Any {
    Listed,
    Anyone,
}

/// What one request's `Origin` means.
#[derive(Debug, Clone)]
pub enum Decision {
    /// No `Origin`: not a cross-origin request.
    NoOrigin,
    /// Allowed: this value is sent back.
    Allowed(HeaderValue),
    /// Not allowed.
    Refused,
}

/// What answers carry.
pub const EXPOSED: &str = "X-Request-Id, Retry-After, RateLimit, RateLimit-Policy, RateLimit-Limit, \
                           RateLimit-Remaining, RateLimit-Reset";

impl CorsPolicy {
    /// Makes the header values once.
    ///
    /// # Errors
    /// The key whose values are no header value.
    pub fn new(config: &Cors) -> Result<Self, &'static str> {
        Ok(Self {
            origins: config.origins.clone(),
            any: if config.origins.iter().any(|o| o == "*") { Any::Anyone } else { Any::Listed },
            credentials: config.credentials,
            methods: config.methods.join(", ").parse().map_err(|_| "cors.methods")?,
            headers: config.headers.join(", ").parse().map_err(|_| "cors.headers")?,
        })
    }

    /// Decides by the one `Origin` of a request; two are refused.
    #[must_use]
    pub fn decide(&self, headers: &HeaderMap, host: Option<&str>) -> Decision {
        let mut values = headers.get_all(header::ORIGIN).iter();
        let Some(origin) = values.next() else { return Decision::NoOrigin };
        let Ok(text) = origin.to_str() else { return Decision::Refused };
        if values.next().is_some() || text == "null" {
            return Decision::Refused;
        }
        let same = host.is_some_and(|host| text.strip_prefix("https://") == Some(host));
        if same || self.origins.iter().any(|o| o == text) {
            return Decision::Allowed(origin.clone());
        }
        match self.any {
            Any::Anyone => Decision::Allowed(HeaderValue::from_static("*")),
            Any::Listed => Decision::Refused,
        }
    }

    /// Adds to the headers of an answer, whose `Vary` is on every one.
    pub fn write(&self, decision: &Decision, headers: &mut Fields) {
        let Decision::Allowed(origin) = decision else { return };
        headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()));
        headers.push((header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED)));
        if self.credentials == Credentials::Allow {
            headers.push((header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true")));
        }
    }

    /// Adds what only the answer to a preflight carries.
    pub fn write_preflight(&self, headers: &mut Fields) {
        headers.push((header::ACCESS_CONTROL_ALLOW_METHODS, self.methods.clone()));
        headers.push((header::ACCESS_CONTROL_ALLOW_HEADERS, self.headers.clone()));
        headers.push((header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600")));
    }
}
