//! The policies that bodies are judged by.

use bytes::Bytes;
use ollama_gateway::config::types::{ModelPins, OptionsPolicy, Role, SystemPrompt, Validation};
use ollama_gateway::config::{self, Environment};
use ollama_gateway::ollama::call::{self, Call, Rules};
use ollama_gateway::ollama::content::ContentRules;
use ollama_gateway::ollama::endpoint::Endpoint;
use ollama_gateway::ollama::fault::BodyFault;
use std::sync::Arc;

const ROLES: &str = r#"
[roles.plain]
endpoints = ["inference"]
models = ["tiny", "allowed:*"]

[roles.open]
endpoints = ["inference"]
models = ["tiny", "allowed:*"]
allow = ["template", "raw", "suffix", "context", "debug-render", "web-search", "schema-pattern"]
[roles.open.options]
num_ctx = { max = 8192 }
num_predict = { default = 64, max = 100000 }
keep_alive = "default"
top_logprobs = 20

[roles.pinned]
endpoints = ["inference"]
models = ["*"]
system_prompt = { pin = "Only talk about trains." }

[roles.denied]
endpoints = ["inference"]
models = ["tiny", "allowed:*", "forbidden"]
system_prompt = "deny"
"#;

/// A role with the rules of validation.
pub(crate) struct Judge {
    role: Arc<Role>,
    validation: Validation,
    content: ContentRules,
}

impl Judge {
    /// Each role, and the first one again where unknown fields are refused.
    pub(crate) fn all() -> Vec<Self> {
        let lax = parsed("drop");
        let strict = parsed("refuse");
        let roles = ["plain", "open", "pinned", "denied"].map(|name| (&lax, name));
        roles.into_iter().chain([(&strict, "plain")]).map(|(config, name)| Self::new(config, name)).collect()
    }

    fn new(config: &config::Config, role: &str) -> Self {
        let validation = config.validation.clone();
        let content = ContentRules::compile(&validation).unwrap();
        Self { role: Arc::clone(&config.roles[role]), validation, content }
    }

    pub(crate) fn parse(&self, endpoint: Endpoint, body: &[u8]) -> Result<Call, BodyFault> {
        let rules =
            Rules { role: &self.role, validation: &self.validation, content: &self.content, pins: ModelPins::none() };
        call::parse(endpoint, &Bytes::copy_from_slice(body), &rules)
    }

    pub(crate) fn options(&self) -> &OptionsPolicy {
        &self.role.options
    }

    pub(crate) fn system_prompt(&self) -> &SystemPrompt {
        &self.role.system_prompt
    }
}

fn parsed(unknown_fields: &str) -> config::Config {
    let text =
        format!("[server]\nnames = [\"ai.example.org\"]\n[validation]\nunknown_fields = \"{unknown_fields}\"\n{ROLES}");
    config::parse("gateway.toml", &text, &Environment::default()).unwrap_or_else(|faults| panic!("{faults}"))
}
