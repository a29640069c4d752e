//! The content rules, applied to answers.
//!
//! Guarantees: what matches is replaced, cut or logged as the policy says, also where a model split it over many pieces;
//! each match is told to the log by the number of its rule, never by its text.

use super::record::Record;
use crate::config::types::OnOutputMatch;
use crate::gateway::Policy;
use crate::ollama::content::{Piece, Window};
use crate::ollama::response::{Channel, OutputRules, Ruling};
use crate::telemetry::event::{About, SecurityEvent};
use crate::telemetry::request_id::RequestId;
use std::net::IpAddr;
use std::sync::Arc;

/// The rules of one policy, at work on one answer.
pub(super) struct AnswerRules {
    policy: Arc<Policy>,
    windows: Vec<(Channel, Window)>,
    client: IpAddr,
    request: RequestId,
    principal: Option<Arc<str>>,
}

impl AnswerRules {
    /// `None` where there is nothing to look for: such answers pass as they came.
    pub(super) fn new(policy: &Arc<Policy>, record: &Record) -> Option<Self> {
        let action = policy.config.validation.on_output_match;
        if policy.content.is_empty() || action == OnOutputMatch::Ignore {
            return None;
        }
        Some(Self {
            policy: Arc::clone(policy),
            windows: Vec::new(),
            client: record.client,
            request: record.id,
            principal: record.principal.clone(),
        })
    }

    fn window(&mut self, channel: Channel) -> Option<&mut Window> {
        if !self.windows.iter().any(|(known, _)| *known == channel) {
            let action = self.policy.config.validation.on_output_match;
            self.windows.push((channel, Window::new(Arc::clone(&self.policy.content), action)));
        }
        self.windows.iter_mut().find(|(known, _)| *known == channel).map(|(_, window)| window)
    }

    fn release(&self, piece: &Piece, out: &mut String) -> Ruling {
        out.push_str(&piece.text);
        for rule in &piece.found {
            SecurityEvent::ContentBlocked.report(&About {
                client: Some(self.client),
                request_id: Some(self.request),
                principal: self.principal.as_deref(),
                reason: Some("answer"),
                detail: Some(&rule.to_string()),
            });
        }
        if piece.cut { Ruling::Cut } else { Ruling::Pass }
    }
}

impl OutputRules for AnswerRules {
    fn push(&mut self, channel: Channel, text: &str, out: &mut String) -> Ruling {
        let piece = self.window(channel).map(|window| window.push(text)).unwrap_or_default();
        self.release(&piece, out)
    }

    fn flush(&mut self, channel: Channel, out: &mut String) -> Ruling {
        let piece = self.window(channel).map(Window::finish).unwrap_or_default();
        self.release(&piece, out)
    }
}
