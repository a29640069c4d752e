//! A role, its rules and bodies to judge: what the benches of single stages share.

use bytes::Bytes;
use ollama_gateway::config::types::{Config, ModelPins, Role, Validation};
use ollama_gateway::config::{self, Environment};
use ollama_gateway::ollama::call::{self, Rules};
use ollama_gateway::ollama::content::ContentRules;
use ollama_gateway::ollama::endpoint::Endpoint;
use std::sync::Arc;

/// A configuration with these lines.
pub(crate) fn configuration(text: &str) -> Config {
    let text = format!("[server]\nnames = [\"ai.example.org\"]\n{text}\n");
    config::parse("gateway.toml", &text, &Environment::default()).unwrap()
}

/// The role and the rules that a body is judged by.
pub(crate) struct Judge {
    role: Arc<Role>,
    validation: Validation,
    content: ContentRules,
}

impl Judge {
    pub(crate) fn new(validation: &str) -> Self {
        let config = configuration(&format!("[validation]\n{validation}"));
        let role = Arc::clone(config.roles.get("user").unwrap());
        let content = ContentRules::compile(&config.validation).unwrap();
        Self { role, validation: config.validation, content }
    }

    /// Bytes of what is sent.
    pub(crate) fn parse(&self, body: &Bytes) -> usize {
        let rules =
            Rules { role: &self.role, validation: &self.validation, content: &self.content, pins: ModelPins::none() };
        call::parse(Endpoint::Chat, body, &rules).unwrap().body_bytes()
    }
}

/// A long conversation.
pub(crate) fn conversation(text: &str, turns: usize) -> Bytes {
    let turn = |i: usize| {
        let role = if i.is_multiple_of(2) { "user" } else { "assistant" };
        serde_json::json!({ "role": role, "content": text })
    };
    let messages: Vec<serde_json::Value> = (0..turns).map(turn).collect();
    serde_json::to_vec(&serde_json::json!({ "model": "tiny", "messages": messages, "stream": true })).unwrap().into()
}
