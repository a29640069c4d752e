//! Lines of Ollama's own streams: answers of `/api/chat` and `/api/generate`, and progress.
//!
//! Guarantees: see `shape`; the text itself is skipped over, not decoded.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::shape::{Kind, Reading, Shape, begins, no_error, raw};
use super::upstream_fault::UpstreamFault;
use super::usage::{Finish, Usage};

#[derive(Deserialize)]
pub(super) struct NativeLine<'a> {
    #[serde(borrow)]
    error: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<&'a RawValue>,
    #[serde(borrow)]
    created_at: Option<&'a RawValue>,
    #[serde(borrow)]
    message: Option<&'a RawValue>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    done: Option<bool>,
    #[serde(borrow)]
    done_reason: Option<&'a RawValue>,
    total_duration: Option<u64>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    context: Option<IgnoredAny>,
    remote_model: Option<IgnoredAny>,
    remote_host: Option<IgnoredAny>,
    #[serde(rename = "_debug_info")]
    debug_info: Option<IgnoredAny>,
}

impl<'a> NativeLine<'a> {
    pub(super) fn read(self, shape: Shape) -> Result<Reading<'a>, UpstreamFault> {
        no_error(self.error)?;
        let body = if shape == Shape::Chat { begins(self.message, '{') } else { begins(self.response, '"') };
        if !body || !begins(self.model, '"') {
            return Err(UpstreamFault::Invalid);
        }
        let private = self.context.is_some()
            || self.remote_model.is_some()
            || self.remote_host.is_some()
            || self.debug_info.is_some();
        let kind = match (self.done.ok_or(UpstreamFault::Invalid)?, private) {
            (false, false) => Kind::Piece,
            (false, true) => Kind::Rewrite,
            (true, false) => Kind::End,
            (true, true) => Kind::RewriteEnd,
        };
        let mut usage = Usage { total_duration_ns: self.total_duration, ..Usage::default() };
        usage.note(self.prompt_eval_count, self.eval_count);
        usage.finish = self.done_reason.map(|word| Finish::of_word(word.get())).unwrap_or_default();
        Ok(Reading { kind, model: raw(self.model), created: raw(self.created_at), usage, ..Reading::default() })
    }
}

#[derive(Deserialize)]
pub(super) struct ProgressLine<'a> {
    error: Option<IgnoredAny>,
    #[serde(borrow)]
    status: Option<&'a RawValue>,
}

impl ProgressLine<'_> {
    pub(super) fn read<'a>(self) -> Result<Reading<'a>, UpstreamFault> {
        if self.error.is_some() {
            // Not even which kind of failure: it would tell what answers at an address inside (`threats.md` §1 row 4).
            return Err(UpstreamFault::Failed(500));
        }
        let status = self.status.map(RawValue::get).filter(|status| status.starts_with('"'));
        let kind = match status {
            Some("\"success\"") => Kind::RewriteEnd,
            Some(_) => Kind::Rewrite,
            None => return Err(UpstreamFault::Invalid),
        };
        Ok(Reading { kind, ..Reading::default() })
    }
}
