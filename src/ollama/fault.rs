//! Why a request body is refused: one variant a reason, and one table of what a client is told.
//!
//! Guarantees: everything in a fault is a number or a `&'static str`, so no byte of a client's can come back in a
//! refusal or reach a log through one. A missing model, one that is not allowed, a cloud model and one of a foreign
//! registry are told in the same words with the same status. Answers `threats.md` §2 and §5 (row 15: enumeration).
//! Does not: know how a dialect says it (see [`crate::ollama::dialect`]).

use crate::ollama::content::RuleId;

/// The code and the sentence for a model that is missing, and for one that is not the caller's: the same, so that nobody
/// learns which.
pub const MODEL_NOT_FOUND: (&str, &str) = ("model_not_found", "model not found");

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "`facts` says each in words; the fields are its limit, its length or its field")]
pub enum BodyFault {
    Empty,
    NotUtf8,
    ByteOrderMark,
    Syntax,
    TrailingData,
    NotAnObject,
    DuplicateKey,
    KeyVariant,
    KeyNotAscii,
    LoneSurrogate,
    ControlCharacter,
    TooDeep { limit: usize },
    TooManyValues { limit: usize },
    NumberOutOfRange,
    TooLarge { limit: usize, length: usize },
    FieldMissing { field: &'static str },
    FieldType { field: &'static str },
    FieldRange { field: &'static str, min: i64, max: i64 },
    FieldValue { field: &'static str },
    FieldTooLong { field: &'static str, limit: usize, length: usize },
    FieldRefused { field: &'static str },
    FieldConflict { field: &'static str },
    UnknownField,
    ModelName,
    ModelNotFound,
    CloudModel,
    ForeignModel,
    RegistryRefused,
    MessageEmpty,
    MessageTooLong { limit: usize, length: usize },
    TooManyMessages { limit: usize, length: usize },
    RoleUnknown,
    PartRefused,
    SystemPromptDenied,
    SystemPromptPinned,
    ContentBlocked { rule: RuleId },
    ImageEncoding,
    ImageFormat,
    ImageUrl,
    ImageDimensions { side: u32, pixels: u64 },
    ImagesTooLarge { limit: usize, length: usize },
    TooManyImages { limit: usize },
    Form,
    FormTooManyParts { limit: usize },
    AudioFormat,
    AudioRate,
    AudioTooLarge { limit: usize, length: usize },
    SchemaTooLarge { limit: usize, length: usize },
    SchemaTooDeep { limit: usize },
    SchemaTooManyNodes { limit: usize },
    SchemaEnum { limit: usize },
    SchemaBound { limit: usize },
    SchemaPattern,
    SchemaReference,
    TooManyTools { limit: usize, length: usize },
    ToolsTooLarge { limit: usize, length: usize },
    WebSearch,
    Arguments,
    TooManyInputs { limit: usize, length: usize },
    InputsTooLarge { limit: usize, length: usize },
}

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultFacts {
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: &'static str,
    /// The sentence.
    pub text: &'static str,
}

const fn facts(status: u16, code: &'static str, text: &'static str) -> FaultFacts {
    FaultFacts { status, code, text }
}

impl BodyFault {
    /// The row of this fault.
    #[must_use]
    #[rustfmt::skip]
    pub const fn facts(&self) -> FaultFacts {
        match self {
            Self::Empty => facts(400, "body_empty", "Invalid request format: the request has no body"),
            Self::NotUtf8 => facts(400, "body_not_utf8", "Invalid request format: the body is not valid UTF-8"),
            Self::ByteOrderMark => facts(400, "body_byte_order_mark", "Invalid request format: the body begins with a byte order mark"),
            Self::Syntax => facts(400, "invalid_json", "Invalid request format: the body is not valid JSON"),
            Self::TrailingData => facts(400, "trailing_data", "Invalid request format: something follows the JSON value"),
            Self::NotAnObject => facts(400, "not_an_object", "Invalid request format: the body must be one JSON object"),
            Self::DuplicateKey => facts(400, "duplicate_key", "Invalid request format: a key occurs twice in one object"),
            Self::KeyVariant => facts(400, "key_variant", "Invalid request format: a field's name is spelled in another case than documented"),
            Self::KeyNotAscii => facts(400, "key_not_ascii", "Invalid request format: a field's name holds characters that are not ASCII"),
            Self::LoneSurrogate => facts(400, "lone_surrogate", "Invalid request format: a string holds half of a surrogate pair"),
            Self::ControlCharacter => facts(400, "control_character", "Invalid request format: a string holds a control character that must not be there"),
            Self::TooDeep { .. } => facts(400, "too_deep", "Invalid request format: arrays and objects are nested too deeply"),
            Self::TooManyValues { .. } => facts(400, "too_many_values", "Invalid request format: the body holds too many values"),
            Self::NumberOutOfRange => facts(400, "number_out_of_range", "Invalid request format: a number is too large"),
            Self::TooLarge { .. } => facts(413, "body_too_large", "the body is too large"),
            Self::FieldMissing { .. } => facts(400, "field_missing", "a required field is missing"),
            Self::FieldType { .. } => facts(400, "field_type", "a field has a value of the wrong type"),
            Self::FieldRange { .. } => facts(400, "field_range", "a field's value is out of its range"),
            Self::FieldValue { .. } => facts(400, "field_value", "a field's value is none of those it may have"),
            Self::FieldTooLong { .. } => facts(400, "field_too_long", "a field's value is too long"),
            Self::FieldRefused { .. } => facts(400, "field_refused", "a field is not allowed here"),
            Self::FieldConflict { .. } => facts(400, "field_conflict", "two fields contradict each other"),
            Self::UnknownField => facts(400, "unknown_field", "the body holds a field that is not known"),
            Self::ModelName => facts(400, "invalid_model_name", "this is not the name of a model"),
            Self::ModelNotFound | Self::CloudModel | Self::ForeignModel => facts(404, MODEL_NOT_FOUND.0, MODEL_NOT_FOUND.1),
            Self::RegistryRefused => facts(403, "registry_refused", "this registry is not allowed"),
            Self::MessageEmpty => facts(422, "message_empty", "the message is empty"),
            Self::MessageTooLong { .. } => facts(422, "message_too_long", "the message is too long"),
            Self::TooManyMessages { .. } => facts(422, "too_many_messages", "the conversation has too many messages"),
            Self::RoleUnknown => facts(400, "role_unknown", "a message has a role that is not known"),
            Self::PartRefused => facts(400, "part_refused", "a message holds a part of a type that is not supported"),
            Self::SystemPromptDenied => facts(422, "system_prompt_denied", "system prompts are not allowed"),
            Self::SystemPromptPinned => facts(422, "system_prompt_pinned", "the system prompt is fixed, and this cannot carry it"),
            Self::ContentBlocked { .. } => facts(422, "content_blocked", "the content is not allowed"),
            Self::ImageEncoding => facts(400, "image_encoding", "an image is not valid base64"),
            Self::ImageFormat => facts(400, "image_format", "an image is neither PNG nor JPEG"),
            Self::ImageUrl => facts(400, "image_url", "images must be sent as data, not as an address"),
            Self::ImageDimensions { .. } => facts(422, "image_dimensions", "an image is too wide, too high or has too many pixels"),
            Self::ImagesTooLarge { .. } => facts(413, "images_too_large", "the images are too large"),
            Self::TooManyImages { .. } => facts(422, "too_many_images", "the request has too many images"),
            Self::Form => facts(400, "form_invalid", "Invalid request format: the body is not a plain multipart/form-data form"),
            Self::FormTooManyParts { .. } => facts(400, "form_too_many_parts", "Invalid request format: the form has too many parts"),
            Self::AudioFormat => facts(400, "audio_format", "the file is neither WAV nor MP3"),
            Self::AudioRate => facts(422, "audio_rate", "the audio has too many channels or an unusual sampling rate"),
            Self::AudioTooLarge { .. } => facts(413, "audio_too_large", "the audio file is too large"),
            Self::SchemaTooLarge { .. } => facts(422, "schema_too_large", "a JSON schema is too large"),
            Self::SchemaTooDeep { .. } => facts(422, "schema_too_deep", "a JSON schema is nested too deeply"),
            Self::SchemaTooManyNodes { .. } => facts(422, "schema_too_many_nodes", "a JSON schema has too many parts"),
            Self::SchemaEnum { .. } => facts(422, "schema_enum", "an enum of a JSON schema has too many values"),
            Self::SchemaBound { .. } => facts(422, "schema_bound", "a repetition bound of a JSON schema is too large"),
            Self::SchemaPattern => facts(422, "schema_pattern", "patterns are not allowed in a JSON schema"),
            Self::SchemaReference => facts(422, "schema_reference", "a JSON schema refers to another document"),
            Self::TooManyTools { .. } => facts(422, "too_many_tools", "the request has too many tools"),
            Self::ToolsTooLarge { .. } => facts(422, "tools_too_large", "the tools are too large"),
            Self::WebSearch => facts(400, "web_search_refused", "web search by the server is not allowed"),
            Self::Arguments => facts(400, "tool_arguments", "the arguments of a tool call are not one JSON object"),
            Self::TooManyInputs { .. } => facts(422, "too_many_inputs", "the request has too many inputs"),
            Self::InputsTooLarge { .. } => facts(422, "inputs_too_large", "the inputs are too large"),
        }
    }

    /// The numbers or the field that go with it: `limit 4000, length 5123`.
    #[must_use]
    #[rustfmt::skip]
    pub fn detail(&self) -> Option<String> {
        match *self {
            Self::TooLarge { limit, length }
            | Self::MessageTooLong { limit, length }
            | Self::TooManyMessages { limit, length }
            | Self::ImagesTooLarge { limit, length }
            | Self::AudioTooLarge { limit, length }
            | Self::SchemaTooLarge { limit, length }
            | Self::TooManyTools { limit, length }
            | Self::ToolsTooLarge { limit, length }
            | Self::TooManyInputs { limit, length }
            | Self::InputsTooLarge { limit, length } => Some(format!("limit {limit}, length {length}")),
            Self::TooDeep { limit }
            | Self::TooManyValues { limit }
            | Self::TooManyImages { limit }
            | Self::FormTooManyParts { limit }
            | Self::SchemaTooDeep { limit }
            | Self::SchemaTooManyNodes { limit }
            | Self::SchemaEnum { limit }
            | Self::SchemaBound { limit } => Some(format!("limit {limit}")),
            Self::FieldMissing { field }
            | Self::FieldType { field }
            | Self::FieldValue { field }
            | Self::FieldRefused { field }
            | Self::FieldConflict { field } => Some(format!("field {field}")),
            Self::FieldRange { field, min, max } => Some(format!("field {field}, from {min} to {max}")),
            Self::FieldTooLong { field, limit, length } => {
                Some(format!("field {field}, limit {limit}, length {length}"))
            }
            Self::ImageDimensions { side, pixels } => Some(format!("limit {side} a side, {pixels} pixels")),
            Self::ContentBlocked { .. } | Self::Empty | Self::NotUtf8 | Self::ByteOrderMark | Self::Syntax
            | Self::TrailingData | Self::NotAnObject | Self::DuplicateKey | Self::KeyVariant | Self::KeyNotAscii | Self::LoneSurrogate | Self::ControlCharacter
            | Self::NumberOutOfRange | Self::UnknownField | Self::ModelName | Self::ModelNotFound | Self::CloudModel
            | Self::ForeignModel | Self::RegistryRefused | Self::MessageEmpty | Self::RoleUnknown | Self::PartRefused
            | Self::SystemPromptDenied | Self::SystemPromptPinned | Self::ImageEncoding | Self::ImageFormat
            | Self::ImageUrl | Self::Form | Self::AudioFormat | Self::AudioRate | Self::SchemaPattern | Self::SchemaReference | Self::WebSearch | Self::Arguments => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_forbidden_and_cloud_models_are_told_alike() {
        let told = BodyFault::ModelNotFound.facts();
        assert_eq!(told, BodyFault::CloudModel.facts());
        assert_eq!(told, BodyFault::ForeignModel.facts());
        assert_eq!((told.status, told.text), (404, "model not found"));
    }

    #[test]
    fn a_detail_gives_limit_and_length() {
        let fault = BodyFault::MessageTooLong { limit: 4000, length: 5123 };
        assert_eq!(fault.detail().as_deref(), Some("limit 4000, length 5123"));
        assert_eq!(fault.facts().status, 422);
    }
}
