//! The ids of a trace, and their header (W3C Trace Context, `traceparent`).
//!
//! Guarantees: a header has its exact form, lower case, ids that are not zero, or it is none; ids drawn here are random.

use crate::config::types::SampleRatio;
use crate::telemetry::printable::hex;
use std::fmt;

/// Where a request stands in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Context {
    /// The trace.
    pub trace: [u8; 16],
    /// This request in it.
    pub span: [u8; 8],
    /// Whose part this is.
    pub parent: Option<[u8; 8]>,
    flags: u8,
}

const SAMPLED: u8 = 1;

impl Context {
    /// As the child of what a `traceparent` says, sampled as that says; or as the beginning of a trace, sampled by the
    /// ratio. `None`: there is no randomness.
    #[must_use]
    pub fn begin(parent: Option<&str>, ratio: SampleRatio) -> Option<Self> {
        let span = drawn()?;
        let Some((trace, parent, flags)) = parent.and_then(read) else {
            let trace = drawn()?;
            let flags = if ratio.takes(&trace) { SAMPLED } else { 0 };
            return Some(Self { trace, span, parent: None, flags });
        };
        Some(Self { trace, span, parent: Some(parent), flags })
    }

    /// Whether whoever began the trace wants its spans.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The trace's id as text.
    #[must_use]
    pub fn trace_id(&self) -> String {
        hex(&self.trace)
    }
}

/// As `traceparent` says it to the next one.
impl fmt::Display for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-{:02x}", hex(&self.trace), hex(&self.span), self.flags & SAMPLED)
    }
}

fn drawn<const LENGTH: usize>() -> Option<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    getrandom::fill(&mut bytes).ok()?;
    Some(bytes)
}

/// `00-TRACE-PARENT-FLAGS`; a later version may have more after it (§4.3 of the recommendation).
fn read(text: &str) -> Option<([u8; 16], [u8; 8], u8)> {
    let mut parts = text.split('-');
    let [version] = bytes::<1>(parts.next()?)?;
    let (trace, parent, [flags]) = (bytes(parts.next()?)?, bytes(parts.next()?)?, bytes::<1>(parts.next()?)?);
    let more = parts.next().is_some();
    let known = version != 0xff && !(version == 0 && more);
    (known && trace != [0; 16] && parent != [0; 8]).then_some((trace, parent, flags))
}

fn bytes<const LENGTH: usize>(text: &str) -> Option<[u8; LENGTH]> {
    let lower = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    if text.len() != LENGTH * 2 || !text.bytes().all(lower) {
        return None;
    }
    let mut bytes = [0; LENGTH];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn all() -> SampleRatio {
        SampleRatio::new(1.0).unwrap()
    }

    #[test]
    fn what_begins_here_is_sampled_by_the_ratio_and_a_child_as_its_parent() {
        let (none, half) = (SampleRatio::new(0.0).unwrap(), SampleRatio::new(0.5).unwrap());
        assert!(Context::begin(Some(GOOD), none).unwrap().is_sampled());
        assert!(!Context::begin(Some(&GOOD.replace("-01", "-00")), all()).unwrap().is_sampled());
        assert!(!Context::begin(None, none).unwrap().is_sampled());
        for _ in 0..100 {
            let context = Context::begin(None, half).unwrap();
            assert_eq!(context.is_sampled(), half.takes(&context.trace));
        }
    }

    #[test]
    fn a_parent_is_followed_in_its_exact_form_alone() {
        let context = Context::begin(Some(GOOD), all()).unwrap();
        assert_eq!((context.trace_id().as_str(), context.is_sampled()), ("0af7651916cd43dd8448eb211c80319c", true));
        assert_eq!(context.parent, Some([0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]));
        let next = context.to_string();
        assert!(next.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && next.ends_with("-01"), "{next}");
        assert!(!next.contains("b7ad6b7169203331"), "the next one is this request's child");
        assert!(!Context::begin(Some(&GOOD.replace("-01", "-00")), all()).unwrap().is_sampled());
        assert!(Context::begin(Some(&format!("cc{}-more", &GOOD[2..])), all()).unwrap().parent.is_some());
        for text in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &format!("{GOOD}-more"),
            &format!("ff{}", &GOOD[2..]),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            &format!(" {GOOD}"),
            &GOOD.replace("-01", "-1"),
            &GOOD.replace("b7ad6b7169203331", "b7ad6b716920333é"),
        ] {
            let context = Context::begin(Some(text), all()).unwrap();
            assert_eq!((context.parent, context.is_sampled()), (None, true), "{text}");
            assert_ne!(context.trace_id(), "0af7651916cd43dd8448eb211c80319c", "{text}");
        }
    }
}
