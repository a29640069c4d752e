//! `[traces]`

use crate::config::secret::Secret;
use ipnet::IpNet;

/// `[traces]`, where there are any.
#[derive(Debug, Clone)]
pub struct Traces {
    /// The collector's URL for traces.
    pub otlp: String,
    /// The value of `Authorization` that it wants.
    pub authorization: Option<Secret>,
    /// Whose `traceparent` is believed.
    pub trusted: Vec<IpNet>,
    /// Whether Ollama is told.
    pub to_upstream: ToUpstream,
}

/// Whether Ollama gets a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToUpstream {
    /// The one of this request.
    Send,
    /// None.
    Omit,
}
