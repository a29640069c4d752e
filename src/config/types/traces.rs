//! `[traces]`

use crate::config::secret::Secret;
use ipnet::IpNet;
use std::path::PathBuf;

/// `[traces]`, where there are any.
#[derive(Debug, Clone)]
pub struct Traces {
    /// The collector's URL for traces.
    pub otlp: String,
    /// The CA that signed the collector's certificate, PEM file; `None`: the public roots.
    pub root: Option<PathBuf>,
    /// Which of the traces that begin here are kept.
    pub ratio: SampleRatio,
    /// The value of `Authorization` that it wants.
    pub authorization: Option<Secret>,
    /// Whose `traceparent` is believed.
    pub trusted: Vec<IpNet>,
    /// Whether Ollama is told.
    pub to_upstream: ToUpstream,
}

/// Whether Ollama gets a `traceparent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToUpstream {
    /// The one of this request.
    Send,
    /// None.
    Omit,
}

/// A part of all traces, chosen by their ids: whoever has the same ratio chooses the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SampleRatio {
    /// Of the ids of 56 bits, how many are taken.
    taken: u64,
}

impl SampleRatio {
    /// Values of the random part of an id (W3C Trace Context, level 2: the last seven bytes).
    const ALL: u64 = 1 << 56;

    /// `None`: it is not in 0..=1.
    #[must_use]
    pub fn new(part: f64) -> Option<Self> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a power of two times what was found to be in 0..=1"
        )]
        (0.0..=1.0).contains(&part).then_some(Self { taken: (part * Self::ALL as f64) as u64 })
    }

    /// Whether it takes none.
    #[must_use]
    pub const fn is_nothing(self) -> bool {
        self.taken == 0
    }

    /// Whether it takes the trace with this id.
    #[must_use]
    pub fn takes(self, trace: &[u8; 16]) -> bool {
        let random = trace.iter().skip(9).fold(0, |bits: u64, byte| bits << 8 | u64::from(*byte));
        random < self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_takes_its_part_by_the_random_bytes_of_the_id() {
        let all = SampleRatio::new(1.0).unwrap();
        let (half, none) = (SampleRatio::new(0.5).unwrap(), SampleRatio::new(0.0).unwrap());
        let id = |first: u8, ninth: u8| {
            let mut id = [first; 16];
            id[9] = ninth;
            id
        };
        for (id, by_half) in [(id(0xff, 0x7f), true), (id(0, 0x80), false), (id(0xff, 0xff), false)] {
            assert_eq!((all.takes(&id), half.takes(&id), none.takes(&id)), (true, by_half, false), "{id:?}");
        }
        assert!(none.is_nothing() && !half.is_nothing());
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(SampleRatio::new(wrong), None);
        }
    }
}
