//! How large a request may be, and which words it may not hold.
//!
//! Guarantees: each pattern compiles, in linear time and bounded memory. Does not: hold the compiled ones.

/// `[validation]`
#[derive(Debug, Clone)]
pub struct Validation {
    /// Characters of one user message, after trimming.
    pub max_message_chars: usize,
    /// Messages of one request.
    pub max_messages: usize,
    /// Bytes of a body, images and audio not counted.
    pub max_body: usize,
    /// Bytes of all images of one request, decoded.
    pub max_images_bytes: usize,
    /// Images of one request.
    pub max_images: usize,
    /// Pixels of one image.
    pub max_image_pixels: u64,
    /// Width or height of one image.
    pub max_image_side: u32,
    /// Bytes of one audio file to be transcribed.
    pub max_audio_bytes: usize,
    /// Nesting of arrays and objects.
    pub max_depth: usize,
    /// Tools of one request.
    pub max_tools: usize,
    /// Bytes of one JSON schema.
    pub max_schema_bytes: usize,
    /// Inputs of one embedding request.
    pub max_embed_inputs: usize,
    /// Bytes of all inputs of one embedding request.
    pub max_embed_bytes: usize,
    /// Fields that no rule knows.
    pub unknown_fields: UnknownFields,
    /// Words that are looked for, case-insensitively, in requests and answers.
    pub blocked: Vec<String>,
    /// Regular expressions, linear-time.
    pub patterns: Vec<String>,
    /// What a match does.
    pub on_match: OnMatch,
    /// What a match in an answer does.
    pub on_output_match: OnOutputMatch,
}

/// Fields that no rule knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFields {
    /// Do not reach Ollama.
    Drop,
    /// Refuse the request.
    Refuse,
}

/// A blocked word or pattern in a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMatch {
    /// Refuses it.
    Refuse,
    /// Is logged.
    Log,
}

/// A blocked word or pattern in an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnOutputMatch {
    /// Is replaced by `[removed]`.
    Replace,
    /// Ends the answer.
    Cut,
    /// Is logged.
    Log,
    /// Is not looked for.
    Ignore,
}
