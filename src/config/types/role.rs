//! What a caller may do.
//!
//! Guarantees: a role names at least one endpoint and one model; its options are in their ranges.

use std::num::NonZeroU32;

use ipnet::IpNet;

use super::Budget;
use crate::ollama::endpoint::{Class, Endpoint};
use crate::ollama::model_list::ModelList;
use crate::ollama::model_name::ModelName;

/// `[roles.NAME]`: what a caller may do.
#[derive(Debug, Clone)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// What it may call.
    pub endpoints: EndpointSet,
    /// What it may run and see.
    pub models: ModelList,
    /// What a caller's own key leaves of that; empty: all of it.
    pub subset: ModelList,
    /// Where it may come from; empty: anywhere.
    pub addresses: Vec<IpNet>,
    /// System prompts in requests.
    pub system_prompt: SystemPrompt,
    /// `[roles.NAME.options]`
    pub options: OptionsPolicy,
    /// What is refused unless named: `allow = ["template", …]`.
    pub allow: Vec<Allowance>,
    /// Requests in flight at the same time, per principal; `None`: no bound of its own.
    pub concurrent: Option<NonZeroU32>,
    /// What each of its callers may use.
    pub budgets: Vec<Budget>,
    /// `[roles.NAME.together]`: what all of them together may use.
    pub together: Vec<Budget>,
    /// The share of each of its callers in the queue, against those of others.
    pub weight: NonZeroU32,
    /// Registries that `pull`, `push`, `create` and `copy` may name besides the default one.
    pub registries: Vec<String>,
}

impl Role {
    /// Whether a model is one of its own, and one of those that are left of them.
    #[must_use]
    pub fn names(&self, model: &ModelName) -> bool {
        self.models.has(model) && (self.subset.is_empty() || self.subset.has(model))
    }
}

/// A set of endpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EndpointSet(u64);

impl EndpointSet {
    /// The set with this one too.
    #[must_use]
    pub const fn with(self, endpoint: Endpoint) -> Self {
        Self(self.0 | (1 << endpoint as u64))
    }

    /// The set with a whole class too.
    #[must_use]
    pub fn with_class(self, class: Class) -> Self {
        Endpoint::ALL.into_iter().filter(|e| e.facts().class == class).fold(self, Self::with)
    }

    /// Whether it holds the endpoint.
    #[must_use]
    pub const fn contains(self, endpoint: Endpoint) -> bool {
        self.0 & (1 << endpoint as u64) != 0
    }
}

/// System prompts in requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SystemPrompt {
    /// Pass.
    Allow,
    /// Are refused.
    Deny,
    /// Are replaced by this one, which is always there.
    Pin(String),
}

/// What is refused unless a role names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Allowance {
    /// `template` of `/api/generate`
    Template,
    /// `raw`
    Raw,
    /// `suffix`
    Suffix,
    /// `context`
    Context,
    /// `_debug_render_only`
    DebugRender,
    /// server-side web search tools
    WebSearch,
    /// models that Ollama runs elsewhere
    Cloud,
    /// models of other registries
    ForeignRegistries,
    /// JSON schemas with `pattern`
    SchemaPattern,
}

/// `[roles.NAME.options]`: what Ollama's `options` may be.
#[derive(Debug, Clone, PartialEq)]
pub struct OptionsPolicy {
    /// `None`: dropped. Otherwise clamped to this, and passed.
    pub num_ctx_max: Option<u32>,
    /// Put in where the caller gives none.
    pub num_predict_default: u32,
    /// The most tokens of one answer.
    pub num_predict_max: u32,
    /// What `keep_alive` is set to: a Go duration such as `5m`; `None`: not sent, Ollama's default holds.
    pub keep_alive: Option<String>,
    /// `top_logprobs` at most.
    pub top_logprobs_max: u32,
}
