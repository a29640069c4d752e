//! Sizes, lengths of time, rates, and the nearest of several words.
//!
//! Guarantees: zero and what does not fit are refused, never wrapped; a unit is always written, and means one thing.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::Wrong;

/// Bytes, shown in the largest unit that divides them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, bytes): &&(&str, u64)| self.0 >= *bytes && self.0.is_multiple_of(*bytes);
        let (unit, bytes) = UNITS.iter().find(whole).copied().unwrap_or(("B", 1));
        write!(f, "{} {unit}", self.0 / bytes)
    }
}

/// A size such as `1 MiB`, within a range.
pub(super) fn size(text: &str, range: &RangeInclusive<u64>) -> Result<u64, Wrong> {
    let malformed = || Wrong::new(format!("{} is no size", quoted(text))).hint("for example \"512 KiB\" or \"1 MiB\"");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| malformed())?;
    let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(malformed)?;
    let size = number.checked_mul(*bytes).ok_or_else(malformed)?;
    if range.contains(&size) {
        return Ok(size);
    }
    Err(Wrong::new(format!("{} is not in \"{}\"..=\"{}\"", quoted(text), Size(*range.start()), Size(*range.end()))))
}

/// A length of time such as `10m` or `1h 30m`, of a millisecond at least.
pub(super) fn duration(text: &str, most: Duration) -> Result<Duration, Wrong> {
    let malformed =
        || Wrong::new(format!("{} is no length of time", quoted(text))).hint("for example \"30s\" or \"5m\"");
    let duration =
        if text == "0" { Duration::ZERO } else { humantime::parse_duration(text).map_err(|_| malformed())? };
    if (Duration::from_millis(1)..=most).contains(&duration) {
        return Ok(duration);
    }
    Err(Wrong::new(format!("{} is not in \"1ms\"..=\"{}\"", quoted(text), humantime::format_duration(most))))
}

/// A rate such as `100/minute`: how many, and in how long.
pub(super) fn rate(text: &str) -> Result<(NonZeroU32, Duration), Wrong> {
    let malformed =
        || Wrong::new(format!("{} is no rate", quoted(text))).hint("for example \"100/minute\" or \"10/s\"");
    let (count, period) = text.split_once('/').ok_or_else(malformed)?;
    let seconds = match period.trim() {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3_600,
        "d" | "day" => 86_400,
        _ => return Err(malformed()),
    };
    let count: u32 = count.trim().parse().map_err(|_| malformed())?;
    let nothing = || Wrong::new(format!("{} lets nothing through", quoted(text))).hint("a count of 1 is the least");
    let count = NonZeroU32::new(count).ok_or_else(nothing)?;
    if count.get() > MAX_RATE {
        return Err(Wrong::new(format!("{} is not in 1..={MAX_RATE}", count.get())));
    }
    Ok((count, Duration::from_secs(seconds)))
}

const MAX_RATE: u32 = 1_000_000;

/// A text of the file as a message shows it: escaped, and cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{:?}…", text.get(..at).unwrap_or(text)),
        None => format!("{text:?}"),
    }
}

/// What a hint says of a key that is none of these: the nearest one, or all.
pub(super) fn nearest(word: &str, known: &[&str]) -> String {
    match near(word, known.iter().copied()) {
        Some(other) => format!("did you mean `{other}`?"),
        None => format!("its keys are {}", known.join(", ")),
    }
}

/// The nearest word, if any is near.
pub(super) fn near<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (steps, other) = known.map(|other| (distance(word, other), other)).min()?;
    (steps <= 1 + other.len() / 4).then_some(other)
}

/// How many letters have to be put in, taken out or changed (Levenshtein).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((above, diagonal), to) in row.iter().skip(1).zip(&row).zip(b.chars()) {
            let left = next.last().copied().unwrap_or(0);
            next.push((above + 1).min(left + 1).min(diagonal + usize::from(from != to)));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_one_meaning() {
        let any = 1..=u64::MAX;
        for (text, bytes) in [("1 MiB", 1 << 20), ("1MB", 1_000_000), ("3 B", 3), ("2 GiB", 2 << 30), ("5 KB", 5_000)] {
            assert_eq!(size(text, &any), Ok(bytes), "{text}");
        }
        for text in ["", "1", "1 mib", "-1 B", "1.5 MiB", "MiB", "1 M", "99999999999 GiB", " 1 B"] {
            assert!(size(text, &any).is_err(), "{text}");
        }
        assert!(size("2 B", &(3..=4)).is_err() && size("5 B", &(3..=4)).is_err());
        assert_eq!(Size(1 << 20).to_string(), "1 MiB");
    }

    #[test]
    fn rates_name_their_period() {
        let rate_of = |text| rate(text).map(|(count, per)| (count.get(), per.as_secs()));
        assert_eq!(rate_of("100/minute"), Ok((100, 60)));
        assert_eq!(rate_of("10/s"), Ok((10, 1)));
        assert_eq!(rate_of("7 / day"), Ok((7, 86_400)));
        for text in
            ["", "100", "0/minute", "-1/minute", "1/week", "1/", "/minute", "1.5/s", "4294967296/s", "1000001/s"]
        {
            assert!(rate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_time_are_not_zero() {
        let most = Duration::from_secs(3_600);
        assert_eq!(duration("10m", most), Ok(Duration::from_secs(600)));
        for text in ["", "0", "0s", "5", "2h", "-1s", "1us"] {
            assert!(duration(text, most).is_err(), "{text}");
        }
    }

    #[test]
    fn the_nearest_word_is_named_only_where_it_is_near() {
        assert_eq!(nearest("brust", &["rate", "burst"]), "did you mean `burst`?");
        assert_eq!(nearest("wholly_other", &["rate", "burst"]), "its keys are rate, burst");
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
