//! `[validation]`: how large a request may be, and which words it may not hold.

use crate::config::error::Wrong;
use crate::config::quantity::quoted;
use crate::config::raw::Section;
use crate::config::types::{OnMatch, OnOutputMatch, UnknownFields, Validation};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Bytes that one compiled pattern may take.
const PATTERN_MEMORY: usize = 1 << 20;

pub(super) fn validation(mut section: Section<'_>) -> Validation {
    let fields = [("drop", UnknownFields::Drop), ("refuse", UnknownFields::Refuse)];
    let on_match = [("refuse", OnMatch::Refuse), ("log", OnMatch::Log)];
    let on_output_match = [
        ("replace", OnOutputMatch::Replace),
        ("cut", OnOutputMatch::Cut),
        ("log", OnOutputMatch::Log),
        ("ignore", OnOutputMatch::Ignore),
    ];
    let max_body_bytes = section.size("max_body", MIB, KIB..=GIB);
    let max_body = usize::try_from(max_body_bytes).unwrap_or(usize::MAX);
    let max_image_side = section.number("max_image_side", 8_192, 1..=65_535);
    let checked = Validation {
        max_message_chars: section.number("max_message_chars", 4_000.min(max_body), 1..=100_000_000),
        max_messages: section.number("max_messages", 256, 1..=100_000),
        max_body,
        max_images_bytes: section.bytes("max_images_bytes", 20 * MIB, 0..=GIB),
        max_images: section.number("max_images", 8, 0..=1_000),
        max_image_pixels: section.number("max_image_pixels", 16_000_000.min(square(max_image_side)), 1..=1 << 32),
        max_image_side,
        max_audio_bytes: section.bytes("max_audio_bytes", 25 * MIB, KIB..=GIB),
        max_depth: section.number("max_depth", 64, 4..=128),
        max_tools: section.number("max_tools", 64, 0..=10_000),
        max_schema_bytes: section.bytes("max_schema_bytes", 16 * KIB, 0..=MIB),
        max_embed_inputs: section.number("max_embed_inputs", 256, 1..=100_000),
        max_embed_bytes: section.bytes("max_embed_bytes", (256 * KIB).min(max_body_bytes), 1..=GIB),
        unknown_fields: section.choice("unknown_fields", &fields, UnknownFields::Drop),
        blocked: section.list("blocked", |item| blocked(item.text()?)).unwrap_or_default(),
        patterns: section.list("patterns", |item| pattern(item.text()?)).unwrap_or_default(),
        on_match: section.choice("on_match", &on_match, OnMatch::Refuse),
        on_output_match: section.choice("on_output_match", &on_output_match, OnOutputMatch::Replace),
    };
    can_fire(&section, &checked);
    checked
}

/// A bound that another one always hides is no bound.
fn can_fire(section: &Section<'_>, checked: &Validation) {
    let hidden = |key: &str, value: usize, by: &str| {
        if value > checked.max_body {
            let text = format!("{value} can never be reached: {by} is {} bytes", checked.max_body);
            section.fault_of(key, Wrong::new(text).hint(format!("lower it, or raise {by}")));
        }
    };
    hidden("max_message_chars", checked.max_message_chars, "max_body");
    hidden("max_embed_bytes", checked.max_embed_bytes, "max_body");
    let most = square(checked.max_image_side);
    if checked.max_image_pixels > most {
        let text = format!("{} can never be reached: max_image_side allows {most}", checked.max_image_pixels);
        section.fault_of("max_image_pixels", Wrong::new(text).hint("lower it, or raise max_image_side"));
    }
}

fn square(side: u32) -> u64 {
    u64::from(side).pow(2)
}

/// A literal word; shorter ones would match everywhere.
fn blocked(text: &str) -> Result<String, Wrong> {
    if text.trim().chars().count() < 2 {
        return Err(
            Wrong::new(format!("{} would match nearly everything", quoted(text))).hint("two characters at least")
        );
    }
    Ok(text.to_owned())
}

/// A pattern of the regex crate: linear time, no look-around, no back-references.
fn pattern(text: &str) -> Result<String, Wrong> {
    let built = regex::RegexBuilder::new(text).case_insensitive(true).size_limit(PATTERN_MEMORY).build();
    match built {
        Ok(pattern) if pattern.is_match("") => {
            Err(Wrong::new(format!("{} matches everything", quoted(text))).hint("it may match nothing at all"))
        }
        Ok(_) => Ok(text.to_owned()),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err(Wrong::new(format!("{} is too large", quoted(text))).hint("smaller repetitions, or several patterns"))
        }
        Err(_) => Err(Wrong::new(format!("{} is no regular expression", quoted(text)))
            .hint("the syntax of https://docs.rs/regex: no look-around, no back-references")),
    }
}
