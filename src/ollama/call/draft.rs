//! A call while it is being written.
//!
//! Guarantees: every text passes [`Draft::read`], so that content rules see all of it and the count of characters is of
//! all of it; of a schema, rules see the caller's own words (see `schema_words`). A turn of the user is neither empty nor
//! too long, whatever parts it is made of.

use super::image::Images;
use super::message::Turn;
use super::{AnswerShape, Call, MediaType, Rules, UsageChunk};
use crate::config::types::{Allowance, ModelPin, OnMatch, SystemPrompt};
use crate::ollama::content::RuleId;
use crate::ollama::fault::BodyFault;
use crate::ollama::model_name::ModelName;
use crate::ollama::strict_json::{Text, Value, Writer};
use bytes::Bytes;

/// What has been decided so far.
pub(super) struct Draft<'r> {
    pub(super) rules: &'r Rules<'r>,
    pub(super) out: Writer,
    pub(super) model: Option<ModelName>,
    pub(super) shape: AnswerShape,
    pub(super) usage: UsageChunk,
    pub(super) max_tokens: Option<u32>,
    pub(super) images: Images,
    pub(super) turn: Turn,
    pub(super) ends: Ends,
    prompt_chars: usize,
    matches: Vec<RuleId>,
}

/// What happens to white space at the ends of a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// It is cut off, and so not counted.
    Trim,
    /// It matters (`raw`, `suffix`), so it stays and is counted.
    Keep,
}

impl<'r> Draft<'r> {
    pub(super) fn new(rules: &'r Rules<'r>, body: &Bytes) -> Self {
        Self {
            rules,
            out: Writer::over(body),
            model: None,
            shape: AnswerShape::Whole,
            usage: UsageChunk::Keep,
            max_tokens: None,
            images: Images::default(),
            turn: Turn::default(),
            ends: Ends::Trim,
            prompt_chars: 0,
            matches: Vec::new(),
        }
    }

    /// What is set for the model, once that is known.
    pub(super) fn pin(&self) -> Option<&'r ModelPin> {
        self.rules.pins.of(self.model.as_ref()?)
    }

    /// Whether the role names it. Under a pinned system prompt nothing that would go round the prompt is allowed.
    pub(super) fn allows(&self, allowance: Allowance) -> bool {
        let pinned = matches!(self.rules.role.system_prompt, SystemPrompt::Pin(_));
        let goes_round = match allowance {
            Allowance::Template | Allowance::Raw | Allowance::Suffix | Allowance::Context => true,
            Allowance::DebugRender
            | Allowance::WebSearch
            | Allowance::Cloud
            | Allowance::ForeignRegistries
            | Allowance::SchemaPattern => false,
        };
        !(pinned && goes_round) && self.rules.role.allow.contains(&allowance)
    }

    /// Counts a text's characters and looks for blocked content in it.
    pub(super) fn read(&mut self, text: &Text<'_>) -> Result<usize, BodyFault> {
        self.found(self.rules.content.find_in(text))?;
        let characters = text.chars();
        self.prompt_chars += characters;
        Ok(characters)
    }

    /// The same of a part of a text.
    pub(super) fn read_part(&mut self, part: &str) -> Result<(), BodyFault> {
        self.search(part)?;
        self.count(part);
        Ok(())
    }

    /// Counts a text's characters.
    pub(super) fn count(&mut self, text: &str) {
        self.prompt_chars += text.chars().count();
    }

    /// Writes the operator's system prompt; the model reads it too.
    pub(super) fn pinned(&mut self, key: &str, prompt: &str) {
        self.count(prompt);
        self.out.key(key);
        self.out.string(prompt);
    }

    /// Looks for blocked content.
    pub(super) fn search(&mut self, text: &str) -> Result<(), BodyFault> {
        self.found(self.rules.content.find(text))
    }

    fn found(&mut self, rule: Option<RuleId>) -> Result<(), BodyFault> {
        let Some(rule) = rule else { return Ok(()) };
        match self.rules.validation.on_match {
            OnMatch::Refuse => return Err(BodyFault::ContentBlocked { rule }),
            OnMatch::Log if self.matches.contains(&rule) => {}
            OnMatch::Log => self.matches.push(rule),
        }
        Ok(())
    }

    /// Writes a text that is read by the model.
    pub(super) fn text(&mut self, text: &Text<'_>) -> Result<(), BodyFault> {
        self.read(text)?;
        self.out.text(text);
        Ok(())
    }

    /// Writes JSON of the caller's own making (arguments), with its keys in their order.
    pub(super) fn opaque(&mut self, value: &Value<'_>) -> Result<(), BodyFault> {
        self.read_all(value)?;
        self.out.value(value);
        Ok(())
    }

    /// Reads all of a value, names included.
    pub(super) fn read_all(&mut self, value: &Value<'_>) -> Result<(), BodyFault> {
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::Text(text) => self.read(text).map(drop),
            Value::Array(items) => items.iter().try_for_each(|item| self.read_all(item)),
            Value::Object(members) => members.iter().try_for_each(|(key, value)| {
                self.read(key)?;
                self.read_all(value)
            }),
        }
    }

    /// The call, once the body as a whole is within its bound; images have a bound of their own.
    pub(super) fn into_call(self, length: usize) -> Result<Call, BodyFault> {
        let limit = self.rules.validation.max_body;
        let length = length.saturating_sub(self.images.encoded_bytes());
        if length > limit {
            return Err(BodyFault::TooLarge { limit, length });
        }
        Ok(Call {
            model: self.model,
            body: self.out.into_pieces(),
            media_type: MediaType::Json,
            shape: self.shape,
            usage: self.usage,
            max_tokens: self.max_tokens,
            prompt_chars: self.prompt_chars,
            images: self.images.count(),
            matches: self.matches,
        })
    }
}
