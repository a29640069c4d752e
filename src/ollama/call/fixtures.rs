//! Roles and rules for tests.

use super::{Call, Rules, parse};
use crate::config::types::{
    Allowance, EndpointSet, ModelPins, OnMatch, OnOutputMatch, OptionsPolicy, Role, SystemPrompt, UnknownFields,
    Validation,
};
use crate::ollama::content::ContentRules;
use crate::ollama::endpoint::Endpoint;
use crate::ollama::fault::BodyFault;
use crate::ollama::model_list::ModelList;
use crate::ollama::model_name::ModelPattern;
use bytes::Bytes;
use std::sync::OnceLock;

/// The defaults of the configuration.
pub(crate) fn validation() -> Validation {
    Validation {
        max_message_chars: 4000,
        max_messages: 256,
        max_body: 1 << 20,
        max_images_bytes: 8 << 20,
        max_images: 4,
        max_image_pixels: 16_000_000,
        max_image_side: 4096,
        max_audio_bytes: 1 << 20,
        max_depth: 64,
        max_tools: 64,
        max_schema_bytes: 16_384,
        max_embed_inputs: 256,
        max_embed_bytes: 262_144,
        unknown_fields: UnknownFields::Drop,
        blocked: Vec::new(),
        patterns: Vec::new(),
        on_match: OnMatch::Refuse,
        on_output_match: OnOutputMatch::Replace,
    }
}

/// A role that may run every local model, and nothing special.
pub(crate) fn role() -> Role {
    Role {
        name: "user".to_owned(),
        endpoints: EndpointSet::default(),
        models: vec![ModelPattern::parse("*").unwrap()].into(),
        subset: ModelList::default(),
        addresses: Vec::new(),
        system_prompt: SystemPrompt::Allow,
        options: OptionsPolicy {
            num_ctx_max: None,
            num_predict_default: 512,
            num_predict_max: 2048,
            keep_alive: Some("5m".to_owned()),
            top_logprobs_max: 5,
        },
        allow: Vec::new(),
        concurrent: None,
        budgets: Vec::new(),
        together: Vec::new(),
        weight: std::num::NonZeroU32::MIN,
        registries: Vec::new(),
    }
}

/// A role and rules that a test can change before it judges bodies by them.
pub(crate) struct Judge {
    pub(crate) role: Role,
    pub(crate) validation: Validation,
}

impl Judge {
    pub(crate) fn new() -> Self {
        Self { role: role(), validation: validation() }
    }

    pub(crate) fn allowing(allow: &[Allowance]) -> Self {
        Self { role: Role { allow: allow.to_vec(), ..role() }, validation: validation() }
    }

    pub(crate) fn call(&self, endpoint: Endpoint, body: &[u8]) -> Result<Call, BodyFault> {
        self.read(endpoint, &Bytes::copy_from_slice(body))
    }

    pub(crate) fn read(&self, endpoint: Endpoint, body: &Bytes) -> Result<Call, BodyFault> {
        static NONE: OnceLock<ContentRules> = OnceLock::new();
        let none = NONE.get_or_init(|| ContentRules::compile(&validation()).unwrap());
        let empty = self.validation.blocked.is_empty() && self.validation.patterns.is_empty();
        let some = (!empty).then(|| ContentRules::compile(&self.validation).unwrap());
        let content = some.as_ref().unwrap_or(none);
        let rules = Rules { role: &self.role, validation: &self.validation, content, pins: ModelPins::none() };
        parse(endpoint, body, &rules)
    }

    /// What is sent, or the code of the refusal.
    pub(crate) fn sent(&self, endpoint: Endpoint, body: impl AsRef<[u8]>) -> String {
        match self.call(endpoint, body.as_ref()) {
            Ok(call) => String::from_utf8(call.body().into_owned()).unwrap(),
            Err(fault) => fault.facts().code.to_owned(),
        }
    }
}
