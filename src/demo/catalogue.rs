//! The one model, as `/api/tags`, `/api/ps`, `/api/show` and `/v1/models` tell of it.

use super::MODEL;
use crate::telemetry::clock;
use serde_json::{Value, json};
use std::time::Duration;

const DIGEST: &str = "0000000000000000000000000000000000000000000000000000000000000000";
const MODIFIED: &str = "2026-01-01T00:00:00Z";
const MODIFIED_UNIX: u64 = 1_767_225_600;
const KEPT: Duration = Duration::from_mins(5);

fn details() -> Value {
    json!({
        "parent_model": "", "format": "none", "family": "stand-in", "families": ["stand-in"], "parameter_size": "0",
        "quantization_level": "none",
    })
}

pub(super) fn tags() -> Value {
    let mut details = details();
    if let Some(fields) = details.as_object_mut() {
        fields.extend([("context_length".to_owned(), json!(4096)), ("embedding_length".to_owned(), json!(64))]);
    }
    json!({"models": [{
        "name": MODEL, "model": MODEL, "modified_at": MODIFIED, "size": 0, "digest": DIGEST, "details": details,
        "capabilities": ["completion"],
    }]})
}

pub(super) fn ps() -> Value {
    let expires = clock::now().checked_add(KEPT).unwrap_or(clock::now());
    json!({"models": [{
        "name": MODEL, "model": MODEL, "size": 0, "digest": DIGEST, "details": details(),
        "expires_at": clock::rfc3339(expires).to_string(), "size_vram": 0, "context_length": 4096,
    }]})
}

pub(super) fn show() -> Value {
    json!({
        "license": "", "modelfile": "# ollama-gateway's built-in stand-in: there is no model\n", "parameters": "",
        "template": "{{ .Prompt }}", "details": details(),
        "model_info": {
            "general.architecture": "stand-in", "stand-in.context_length": 4096, "stand-in.embedding_length": 64,
        },
        "tensors": [], "capabilities": ["completion"], "modified_at": MODIFIED,
    })
}

pub(super) fn models() -> Value {
    json!({"object": "list", "data": [model(MODEL)]})
}

pub(super) fn model(id: &str) -> Value {
    json!({"id": id, "object": "model", "created": MODIFIED_UNIX, "owned_by": "library"})
}
