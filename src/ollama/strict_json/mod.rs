//! JSON that can be read in one way only.
//!
//! Guarantees: what [`parse()`] accepts is one RFC 8259 value in valid UTF-8, with no duplicate key at any level, no half
//! of a surrogate pair, no number beyond a double, nested no deeper and holding no more values than told; and what
//! [`Writer`] writes is read by Go's `encoding/json` as exactly the tree that was read here. Strings are borrowed from the
//! body with the escapes that they came with, each of which is checked, and copied back verbatim, or sent from where they
//! stand.
//! Does not: know field names; that case variants and Unicode-folding twins are refused in objects with fixed fields is
//! the work of [`crate::ollama::call`]. Answers `threats.md` §0.3 and §2.

mod escape;
mod parse;
mod pieces;
mod scan;
mod text;
mod write;

pub use escape::Escapes;
pub use parse::{MAX_VALUES, parse};
pub(in crate::ollama) use scan::are_letters;
pub use text::Text;
pub use write::Writer;

/// One JSON value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A number, in the body's own spelling.
    Number(Number<'a>),
    /// A string.
    Text(Text<'a>),
    /// An array.
    Array(Vec<Value<'a>>),
    /// An object; its members keep their order.
    Object(Vec<(Text<'a>, Value<'a>)>),
}

impl<'a> Value<'a> {
    /// The string, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&Text<'a>> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The elements, if it is an array.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value<'a>]> {
        if let Self::Array(items) = self { Some(items) } else { None }
    }

    /// The members, if it is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&[(Text<'a>, Value<'a>)]> {
        if let Self::Object(members) = self { Some(members) } else { None }
    }

    /// The number, if it is one.
    #[must_use]
    pub fn as_number(&self) -> Option<Number<'a>> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }

    /// The truth value, if it is one.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// The value under a key, if it is an object that has it.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value<'a>> {
        self.as_object()?.iter().find(|(name, _)| name.as_str() == key).map(|(_, value)| value)
    }
}

/// A number in its own spelling; never beyond a double.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number<'a>(&'a str);

impl Number<'_> {
    /// As it was spelled.
    #[must_use]
    pub const fn as_str(&self) -> &str {
        self.0
    }

    /// As Go reads it into `float64`.
    #[must_use]
    pub fn as_f64(&self) -> f64 {
        self.0.parse().unwrap_or(f64::NAN)
    }

    /// As a whole number: `3`, `3.0` and `3e0` are, `3.5` is not. Beyond ±2⁵³ a double does not know it exactly, so it
    /// ends there, at the bound.
    #[must_use]
    pub fn as_whole(&self) -> Option<i64> {
        const EXACT: f64 = 9_007_199_254_740_992.0;
        if let Ok(whole) = self.0.parse::<i64>() {
            return Some(whole.clamp(-9_007_199_254_740_992, 9_007_199_254_740_992));
        }
        let value = self.as_f64();
        #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2⁵³")]
        (value.fract() == 0.0).then(|| value.clamp(-EXACT, EXACT) as i64)
    }
}

#[cfg(test)]
mod tests;
