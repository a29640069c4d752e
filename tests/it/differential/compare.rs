//! What must hold between a body that was let through and what Go reads in it.

use super::decoder::{NameParts, Said, View};
use super::judges::Judge;
use super::trees;
use ollama_gateway::config::types::SystemPrompt;
use ollama_gateway::ollama::call::{self, AnswerShape, Call, Fate};
use ollama_gateway::ollama::endpoint::Endpoint;
use serde_json::Value;

/// A body that was let through.
pub(crate) struct Forwarded<'a> {
    pub(crate) endpoint: Endpoint,
    pub(crate) judge: &'a Judge,
    pub(crate) call: &'a Call,
    /// What Go reads in what is sent.
    pub(crate) sent: &'a View,
    /// What Go reads in what the client sent.
    pub(crate) given: &'a View,
}

impl Forwarded<'_> {
    /// All differences between what the gateway decided and what Go reads.
    pub(crate) fn differences(&self) -> Vec<String> {
        let body: Value = match serde_json::from_slice(&self.call.body()) {
            Ok(body) => body,
            Err(error) => return vec![format!("what is sent is no JSON: {error}")],
        };
        if !self.sent.error.is_empty() {
            return vec![format!("Go does not read it: {}", self.sent.error)];
        }
        let mut found = Vec::new();
        self.model(&mut found);
        self.bounds(&mut found);
        self.fields(&body, &mut found);
        self.conversation(&mut found);
        found
    }

    /// The model that runs is the one that was allowed, and the one that the client's own bytes name.
    fn model(&self, found: &mut Vec<String>) {
        let decided = self.call.model().map_or("", |model| model.canonical());
        if self.sent.model != decided {
            found.push(format!("model: {decided:?} was allowed, {:?} runs", self.sent.model));
        }
        if !self.given.error.is_empty() || decided.is_empty() {
            return;
        }
        let (given, sent) = (self.given.name.as_ref(), self.sent.name.as_ref());
        let same = given.zip(sent).is_some_and(|(given, sent)| is_same_model(given, sent));
        if !same {
            found.push(format!("model: the client's bytes name {given:?}, what is sent names {sent:?}"));
        }
    }

    /// The length of the answer, its shape, and how long the model stays.
    fn bounds(&self, found: &mut Vec<String>) {
        let decided = self.call.max_tokens().map(i64::from);
        // The parameters of a new model bound its answers, not this one.
        if self.sent.limit != decided && self.endpoint != Endpoint::Create {
            found.push(format!("limit: {decided:?} was decided, {:?} holds", self.sent.limit));
        }
        let most = i64::from(self.judge.options().num_predict_max);
        if generates(self.endpoint) && !decided.is_some_and(|limit| (1..=most).contains(&limit)) {
            found.push(format!("limit: {decided:?} is not within 1 to {most}"));
        }
        let streams = self.call.shape() == AnswerShape::Stream;
        if self.sent.stream != streams {
            found.push(format!("stream: {streams} was decided, {} holds", self.sent.stream));
        }
        let stays = self.sent.read.get("keep_alive").and_then(Value::as_i64);
        let wanted = self.judge.options().keep_alive.as_deref().map(nanoseconds);
        if self.sent.read.get("keep_alive").is_some() && stays != wanted {
            found.push(format!("keep_alive: {wanted:?} was decided, {stays:?} holds"));
        }
    }

    /// Go reads in each field what is written there, in no other field anything, and no dropped field is there.
    fn fields(&self, body: &Value, found: &mut Vec<String>) {
        trees::differences(&self.sent.read, body, found);
        let fates = call::fates(self.endpoint);
        for (path, fate) in &fates {
            let (head, tail) = path.split_once('.').map_or((path.as_str(), None), |(head, tail)| (head, Some(tail)));
            let at = match tail {
                None => body.get(head),
                Some(tail) if head == "options" || head == "parameters" => body.get(head).and_then(|o| o.get(tail)),
                Some(_) => None,
            };
            match fate {
                Fate::Drop if at.is_some() => found.push(format!("{path} is to be dropped")),
                Fate::Pass if tail.is_none() && self.given.error.is_empty() => {
                    let (given, sent) = (self.given.read.get(head), self.sent.read.get(head));
                    trees::Passed { fates: &fates, found }.field(head, given, sent);
                }
                Fate::Drop | Fate::Pass | Fate::Set | Fate::Clamp | Fate::Refuse => {}
            }
        }
    }

    /// Every turn is the client's, in its order, but for what the policy changes.
    fn conversation(&self, found: &mut Vec<String>) {
        let sent = turns(self.sent);
        let systems: Vec<&Said> = sent.iter().filter(|turn| turn.role == "system").collect();
        match self.judge.system_prompt() {
            SystemPrompt::Deny if !systems.is_empty() => found.push("a system prompt, which is denied".to_owned()),
            SystemPrompt::Pin(prompt) if has_place_for_system(self.endpoint) => {
                let pinned =
                    sent.first().is_some_and(|turn| turn.parts.as_deref() == Some(std::slice::from_ref(prompt)));
                if !pinned || systems.len() != 1 {
                    found.push(format!("the pinned prompt is not the only one, or not the first: {systems:?}"));
                }
            }
            SystemPrompt::Deny | SystemPrompt::Pin(_) | SystemPrompt::Allow => {}
        }
        if !self.given.error.is_empty() {
            return;
        }
        let keeps_ends = ["raw", "suffix"].iter().any(|field| is_set(self.sent.read.get(*field)));
        let trims = !keeps_ends && generates(self.endpoint) && self.endpoint != Endpoint::Create;
        let pins = matches!(self.judge.system_prompt(), SystemPrompt::Pin(_));
        let pinned = |turn: &Said| pins && has_place_for_system(self.endpoint) && turn.role == "system";
        let given = turns(self.given).into_iter().filter(|turn| !pinned(turn));
        let given: Vec<Said> = given.map(|turn| as_read(turn, trims)).collect();
        let sent: Vec<Said> = sent.into_iter().filter(|turn| !pinned(turn)).map(|turn| as_read(turn, false)).collect();
        if given != sent {
            found.push(format!("said: the client's bytes say\n    {given:?}\n  what is sent says\n    {sent:?}"));
        }
    }
}

/// The turns, with OpenAI's word for the system in Ollama's.
fn turns(view: &View) -> Vec<Said> {
    let mut turns = view.said.clone().unwrap_or_default();
    for turn in &mut turns {
        if turn.role == "developer" {
            turn.role = "system".to_owned();
        }
    }
    turns
}

/// A turn as the policy lets it through: the ends of the user's text cut off (if it is not one of several), empty parts
/// left out.
fn as_read(mut turn: Said, trims: bool) -> Said {
    let parts = turn.parts.take().unwrap_or_default();
    let alone = parts.iter().filter(|part| !part.is_empty()).count() < 2;
    let trims = trims && alone && turn.role == "user";
    let trim = |part: String| if trims { part.trim().to_owned() } else { part };
    let parts = parts.into_iter().map(trim).filter(|part| !part.is_empty());
    let parts = parts.collect();
    let (images, calls) = (turn.images.take().unwrap_or_default(), turn.calls.take().unwrap_or_default());
    Said { parts: Some(parts), images: Some(images), calls: Some(calls), ..turn }
}

pub(crate) fn is_same_model(given: &NameParts, sent: &NameParts) -> bool {
    let is_cloud = |name: &NameParts| name.source == "cloud";
    given.valid && sent.valid && given.full == sent.full && is_cloud(given) == is_cloud(sent)
}

fn is_set(value: Option<&Value>) -> bool {
    value.is_some_and(|value| !trees::is_zero(value))
}

fn generates(endpoint: Endpoint) -> bool {
    let chats =
        matches!(endpoint, Endpoint::Chat | Endpoint::ChatCompletions | Endpoint::Responses | Endpoint::Messages);
    chats || matches!(endpoint, Endpoint::Generate | Endpoint::Completions)
}

fn has_place_for_system(endpoint: Endpoint) -> bool {
    generates(endpoint) && endpoint != Endpoint::Completions
}

fn nanoseconds(duration: &str) -> i64 {
    let minutes: i64 = duration.strip_suffix('m').unwrap().parse().unwrap();
    minutes * 60_000_000_000
}
