//! Messages: their number, their roles, and what a turn of the user must be.
//!
//! Guarantees: roles are of a closed set, in lower case; a system message passes, is refused or is replaced as the role
//! says; a user's turn is trimmed (one of several texts keeps its ends, which are then counted), not empty and no longer
//! than allowed, counted over all its parts; parts are searched one by one and joined, since Ollama joins them. Answers `threats.md` §5 rows 2, 3 and 13.

use super::draft::{Draft, Ends};
use super::rows::{optional, required};
use super::table::{Field, Keys, Members, Shape, is_empty, rows};
use crate::config::types::SystemPrompt;
use crate::ollama::fault::BodyFault;
use crate::ollama::strict_json::{Text, Value};

type Done = Result<(), BodyFault>;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Speaker {
    System,
    #[default]
    User,
    Assistant,
    Tool,
}

impl Speaker {
    /// As Ollama reads it: in lower case. OpenAI's `developer` is the system.
    fn parse(text: &str) -> Option<Self> {
        match text.to_ascii_lowercase().as_str() {
            "system" | "developer" => Some(Self::System),
            "user" => Some(Self::User),
            "assistant" => Some(Self::Assistant),
            "tool" => Some(Self::Tool),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message while its parts are read.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) speaker: Speaker,
    chars: usize,
    /// Something that is no text: images, results of tools.
    pub(super) carries: Carries,
    parts: Parts,
    /// Texts that are more than white space.
    said: usize,
    /// The texts of several parts, where they must be searched together.
    joined: String,
}

/// How many texts a turn has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Parts {
    /// One at most.
    #[default]
    One,
    /// More than one.
    Several,
}

/// Whether a turn holds something besides text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Carries {
    /// Text alone.
    #[default]
    Text,
    /// An image or the result of a tool too.
    More,
}

impl Draft<'_> {
    /// Begins a turn.
    pub(super) fn open_turn(&mut self, speaker: Speaker) {
        self.turn = Turn { speaker, ..Turn::default() };
    }

    /// The turn comes in parts. Where several of them are text, Ollama joins them: their ends are not the turn's.
    pub(super) fn expect_parts(&mut self, parts: &[Value<'_>]) {
        let is_text = |part: &&Value<'_>| part.get("text").is_some_and(|text| !is_empty(text));
        self.turn.parts = if parts.iter().filter(is_text).count() > 1 { Parts::Several } else { Parts::One };
    }

    /// Reads the result of a tool, which stands within the user's turn but is not of it.
    pub(super) fn apart(&mut self, read: impl FnOnce(&mut Self) -> Done) -> Done {
        let inner = Turn { speaker: Speaker::Tool, ..Turn::default() };
        let outer = std::mem::replace(&mut self.turn, inner);
        read(self)?;
        self.close_turn()?;
        self.turn = outer;
        Ok(())
    }

    /// One text of the turn, as it is to be written.
    pub(super) fn say<'t>(&mut self, text: &'t Text<'_>) -> Result<Text<'t>, BodyFault> {
        let alone = self.turn.parts == Parts::One;
        let trim = self.turn.speaker == Speaker::User && self.ends == Ends::Trim && alone;
        let text = if trim { text.trimmed() } else { text.clone() };
        self.turn.chars += self.read(&text)?;
        self.turn.said += usize::from(!text.trimmed().is_empty());
        if !alone && !self.rules.content.is_empty() {
            self.turn.joined.push_str(text.as_str());
        }
        Ok(text)
    }

    /// Ends a turn: only now is all of it known.
    pub(super) fn close_turn(&mut self) -> Done {
        let joined = std::mem::take(&mut self.turn.joined);
        if !joined.is_empty() {
            self.search(&joined)?;
        }
        if self.turn.speaker != Speaker::User {
            return Ok(());
        }
        let (limit, length) = (self.rules.validation.max_message_chars, self.turn.chars);
        if length > limit {
            return Err(BodyFault::MessageTooLong { limit, length });
        }
        let empty = match self.turn.parts {
            Parts::One => self.turn.chars == 0,
            Parts::Several => self.turn.said == 0,
        };
        if empty && self.turn.carries == Carries::Text { Err(BodyFault::MessageEmpty) } else { Ok(()) }
    }
}

/// A list of messages, with the pinned system prompt first where there is one.
pub(super) fn messages(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let items = list(draft, field.name, members)?;
    draft.out.key(field.name);
    draft.out.open_array();
    if let SystemPrompt::Pin(prompt) = &draft.rules.role.system_prompt {
        draft.out.open_object();
        draft.out.key("role");
        draft.out.string(Speaker::System.name());
        draft.pinned("content", prompt);
        draft.out.close_object();
    }
    each(draft, field, items)
}

/// A list of messages whose system prompt has a field of its own.
pub(super) fn turns(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let items = list(draft, field.name, members)?;
    draft.out.key(field.name);
    draft.out.open_array();
    each(draft, field, items)
}

fn each(draft: &mut Draft<'_>, field: &'static Field, items: &[Value<'_>]) -> Done {
    let mut written = 0;
    for item in items {
        written += usize::from(message(draft, field.inner(), item)? == Written::Yes);
    }
    draft.out.close_array();
    if written == 0 { Err(BodyFault::MessageEmpty) } else { Ok(()) }
}

/// Messages, no more than allowed. An empty list would load a model, or unload it.
pub(super) fn list<'v>(
    draft: &Draft<'_>,
    field: &'static str,
    members: &Members<'v>,
) -> Result<&'v [Value<'v>], BodyFault> {
    let value = members.get(field).ok_or(BodyFault::FieldMissing { field })?;
    let items = value.as_array().ok_or(BodyFault::FieldType { field })?;
    let (limit, length) = (draft.rules.validation.max_messages, items.len());
    if length > limit { Err(BodyFault::TooManyMessages { limit, length }) } else { Ok(items) }
}

/// Whether a message reaches Ollama.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// It does.
    Yes,
    /// It is a system prompt, and another one is pinned.
    No,
}

/// One message, by its table.
pub(super) fn message(draft: &mut Draft<'_>, shape: Shape, item: &Value<'_>) -> Result<Written, BodyFault> {
    let item = item.as_object().ok_or(BodyFault::FieldType { field: "messages" })?;
    let members = Members::read(draft, Keys::Fields, shape, item)?;
    let role = required("role", members.get("role"))?;
    let speaker = Speaker::parse(role.as_str()).ok_or(BodyFault::RoleUnknown)?;
    if speaker == Speaker::System {
        match draft.rules.role.system_prompt {
            SystemPrompt::Allow => {}
            SystemPrompt::Deny => return Err(BodyFault::SystemPromptDenied),
            SystemPrompt::Pin(_) => return Ok(Written::No),
        }
    }
    draft.open_turn(speaker);
    rows(draft, shape, &members)?;
    draft.close_turn()?;
    Ok(Written::Yes)
}

/// `role`, already read by [`message`].
pub(super) fn role(draft: &mut Draft<'_>, field: &'static Field, _: &Members<'_>) -> Done {
    draft.out.key(field.name);
    draft.out.string(draft.turn.speaker.name());
    Ok(())
}

/// `content` that is a string.
pub(super) fn content(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    let Some(text) = optional(field.name, members)? else { return Ok(()) };
    let text = draft.say(text)?;
    draft.out.key(field.name);
    draft.out.text(&text);
    Ok(())
}

/// A prompt that is a field of its own is a turn of the user. It comes after `raw` and `suffix`. Ollama takes an empty
/// one for a wish to load the model, even beside images.
pub(super) fn prompt(draft: &mut Draft<'_>, field: &'static Field, members: &Members<'_>) -> Done {
    draft.open_turn(Speaker::User);
    content(draft, field, members)?;
    draft.close_turn()
}
