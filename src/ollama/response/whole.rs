//! Answers that are one JSON value, or empty.
//!
//! Guarantees: an answer passes only if it is the object that its route answers, with no error in it; listings are cut down
//! to what the caller may see; an inference answer that needs no change passes byte for byte (embeddings are not reprinted).
//! Does not: bound the body (who reads it does), or look at headers. `HEAD` has no body: it does not come here.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::rules::{Channel, OutputRules, Ruling, hide_tokens};
use super::upstream_fault::UpstreamFault;
use super::usage::{Finish, Usage};
use super::{Context, catalogue, inference, private, texts};
use crate::ollama::endpoint::Endpoint;

/// For whom an answer is.
pub struct View<'a> {
    /// Whether the caller may see a model; the name is as Ollama says it.
    pub may_see: &'a dyn Fn(&str) -> bool,
    /// How much of a model's description the caller gets.
    pub full: Full,
    /// What `/api/version` says to those who get the reduced view.
    pub shown_version: &'a str,
    /// `/v1/models/X`: the canonical name of X; the answer comes from the list of `/v1/models`.
    pub wanted: Option<&'a str>,
    /// Whether the caller may have `/api/generate`'s `context`.
    pub context: Context,
}

/// How much of a description passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// Without file paths, digests, system prompts, templates, remote hosts, the version.
    Reduced,
    /// As Ollama says it.
    Management,
}

/// An answer that may go out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// Its bytes.
    pub body: Vec<u8>,
    /// What it cost.
    pub usage: Usage,
}

impl Whole {
    pub(super) fn json(value: &Value, usage: Usage) -> Self {
        Self { body: value.to_string().into_bytes(), usage }
    }

    fn plain(body: Vec<u8>) -> Self {
        Self { body, usage: Usage::default() }
    }
}

/// Reads the answer of a 2xx.
///
/// # Errors
/// [`UpstreamFault`] if it is not what the route answers.
pub fn whole(endpoint: Endpoint, body: &[u8], view: &View<'_>) -> Result<Whole, UpstreamFault> {
    let text = std::str::from_utf8(body).map_err(|_| UpstreamFault::Invalid)?;
    match endpoint {
        Endpoint::Version => catalogue::version(text, view).map(Whole::plain),
        Endpoint::Tags | Endpoint::Ps => catalogue::models(text, view).map(Whole::plain),
        Endpoint::Models => catalogue::v1_models(text, view).map(Whole::plain),
        Endpoint::Model => catalogue::v1_model(text, view).map(Whole::plain),
        Endpoint::Show => catalogue::show(text, view).map(Whole::plain),
        Endpoint::Chat
        | Endpoint::Generate
        | Endpoint::Embed
        | Endpoint::Embeddings
        | Endpoint::ChatCompletions
        | Endpoint::Completions
        | Endpoint::V1Embeddings
        | Endpoint::Responses
        | Endpoint::Messages
        | Endpoint::Transcriptions => inference::answer(endpoint, text, view.context),
        Endpoint::Pull | Endpoint::Push | Endpoint::Create => progress(text).map(Whole::plain),
        Endpoint::Status | Endpoint::Me | Endpoint::WebSearch | Endpoint::WebFetch | Endpoint::Recommendations => {
            without_error(text).map(|()| Whole::plain(body.to_vec()))
        }
        Endpoint::Delete
        | Endpoint::Copy
        | Endpoint::Signout
        | Endpoint::UserKeys
        | Endpoint::BlobUpload
        | Endpoint::BlobHead => nothing(text).map(Whole::plain),
        Endpoint::Root | Endpoint::Health => Err(UpstreamFault::Invalid),
    }
}

/// Sends the texts of an inference answer through rules.
///
/// # Errors
/// [`UpstreamFault::Invalid`] if it is no JSON.
pub fn apply_rules(mut whole: Whole, rules: &mut dyn OutputRules) -> Result<Whole, UpstreamFault> {
    let mut value: Value = serde_json::from_slice(&whole.body).map_err(|_| UpstreamFault::Invalid)?;
    hide_tokens(&mut value);
    let mut ruling = Ruling::Pass;
    texts::of_answer(&mut value, &mut |channel: Channel, text: &mut String| {
        let mut released = String::new();
        if ruling == Ruling::Pass && !text.is_empty() {
            ruling = rules.push(channel, text, &mut released);
            if ruling == Ruling::Pass {
                ruling = rules.flush(channel, &mut released);
            }
        }
        *text = released;
    });
    if ruling == Ruling::Cut {
        inference::say_filtered(&mut value);
        whole.usage.finish = Finish::Filtered;
    }
    Ok(Whole::json(&value, whole.usage))
}

/// `"stream": false` on a route that otherwise streams its progress.
fn progress(text: &str) -> Result<Vec<u8>, UpstreamFault> {
    without_error(text)?;
    let line: Value = serde_json::from_str(text).map_err(|_| UpstreamFault::Invalid)?;
    let rebuilt = line.as_object().map(private::progress).unwrap_or_default();
    if rebuilt.contains_key("status") {
        Ok(Value::Object(rebuilt).to_string().into_bytes())
    } else {
        Err(UpstreamFault::Invalid)
    }
}

/// Routes that say all with their status.
fn nothing(text: &str) -> Result<Vec<u8>, UpstreamFault> {
    if !text.trim_ascii().is_empty() && text.trim_ascii() != "null" {
        without_error(text)?;
    }
    Ok(Vec::new())
}

fn without_error(text: &str) -> Result<(), UpstreamFault> {
    #[derive(Deserialize)]
    struct Body {
        error: Option<IgnoredAny>,
        signin_url: Option<IgnoredAny>,
    }
    if !text.trim_ascii().starts_with('{') {
        return Err(UpstreamFault::Invalid);
    }
    match serde_json::from_str::<Body>(text) {
        Ok(Body { error: None, signin_url: None }) => Ok(()),
        Ok(Body { signin_url: Some(_), .. }) => Err(UpstreamFault::Refused(401)),
        Ok(Body { error: Some(_), .. }) => Err(UpstreamFault::Failed(500)),
        Err(_) => Err(UpstreamFault::Invalid),
    }
}
