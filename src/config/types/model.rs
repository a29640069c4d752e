//! `[models.*]`: what Ollama is told for one model, whoever calls.
//!
//! Guarantees: names are in their one spelling, so no other spelling of a client's gets round a pin; a pin sets something.

use crate::ollama::model_name::ModelName;
use std::collections::BTreeMap;

/// What is set for one model, whatever callers and roles say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelPin {
    /// `options.num_ctx`
    pub num_ctx: Option<u32>,
    /// `keep_alive`, as Go spells a length of time.
    pub keep_alive: Option<String>,
}

/// All pins, by the canonical name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelPins(BTreeMap<String, ModelPin>);

static NONE: ModelPins = ModelPins(BTreeMap::new());

impl ModelPins {
    /// Of nothing.
    #[must_use]
    pub fn none() -> &'static Self {
        &NONE
    }

    /// What is set for this model.
    #[must_use]
    pub fn of(&self, model: &ModelName) -> Option<&ModelPin> {
        self.0.get(model.canonical())
    }

    /// Adds one; says whether there was none of this model.
    pub fn insert(&mut self, model: &ModelName, pin: ModelPin) -> bool {
        self.0.insert(model.canonical().to_owned(), pin).is_none()
    }
}
