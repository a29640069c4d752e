//! Records of the log from its end, for a page.
//!
//! Guarantees: reads 256 KiB at most, however large the file is; a line that is no record is left out. Does not: check the
//! chain.

use serde_json::Value;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

/// Bytes that are read for a page.
const WINDOW: u64 = 256 * 1024;

/// Some records, the newest first.
#[derive(Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Value>,
    /// Where the page before this one ends in the file; `None`: this is the first one.
    pub earlier: Option<u64>,
}

impl Page {
    /// The last `most` records that end at `before` or earlier; without it, at the end of the file.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read(path: &Path, before: Option<u64>, most: usize) -> io::Result<Self> {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let end = before.unwrap_or(length).min(length);
        let start = end.saturating_sub(WINDOW);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        file.take(end - start).read_to_end(&mut bytes)?;
        Ok(Self::of(&bytes, start, most))
    }

    /// From bytes of the file that begin at `start`.
    fn of(bytes: &[u8], start: u64, most: usize) -> Self {
        let (mut records, mut rest) = (Vec::new(), bytes);
        // What does not begin in the window is the next page's.
        while records.len() < most && !rest.is_empty() {
            let whole = rest.strip_suffix(b"\n").unwrap_or(rest);
            let begins = whole.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
            let Some(at) = begins.or((start == 0).then_some(0)) else { break };
            let line = whole.get(at..).unwrap_or_default();
            records.extend(serde_json::from_slice(line).ok());
            rest = rest.get(..at).unwrap_or_default();
        }
        let left = start.saturating_add(rest.len() as u64);
        // A line longer than the window would be met again and again.
        let stuck = records.is_empty() && rest.len() == bytes.len();
        Self { records, earlier: (left > 0 && !stuck).then_some(left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_and_miss_nothing() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("log");
        let lines: String = (0..120).map(|n| format!("{{\"seq\":{n}}}\n")).collect();
        std::fs::write(&path, format!("{lines}no record\n{{\"seq\":120}}\n{{\"torn")).unwrap();
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = Page::read(&path, before, 50).unwrap();
            seen.extend(page.records.iter().map(|record| record["seq"].as_i64().unwrap()));
            match page.earlier {
                Some(earlier) => before = Some(earlier),
                None => break,
            }
        }
        assert_eq!(seen, (0..=120).rev().collect::<Vec<_>>());
        assert!(Page::read(&path, Some(u64::MAX), 5).unwrap().records.len() == 5);
        let page = Page::of(b"half a line that is longer than the window", 1000, 5);
        assert!(page.records.is_empty() && page.earlier.is_none());
    }
}
