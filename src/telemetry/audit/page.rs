//! Records of the log from its end, for a page.
//!
//! Guarantees: reads 256 KiB at most, however large the log is; a line that is no record is left out; a page that was
//! begun in a file goes on in it, even if it is closed meanwhile. Does not: check the chain.

use super::files::Files;
use serde_json::Value;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Bytes that are read for a page.
const WINDOW: u64 = 256 * 1024;

/// Some records, the newest first.
#[derive(Debug)]
pub struct Page {
    /// The records.
    pub records: Vec<Value>,
    /// Where the page before this one ends; `None`: this is the first one.
    pub earlier: Option<Place>,
}

/// A place in the log: so many bytes into the file that begins with this record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    first: u64,
    offset: u64,
}

impl Place {
    /// As [`Place`] is written.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let (first, offset) = text.split_once('-')?;
        Some(Self { first: first.parse().ok()?, offset: offset.parse().ok()? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.offset)
    }
}

impl Page {
    /// The last `most` records that end at `before` or earlier; without it, at the end of the log.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn read(state: &Path, before: Option<Place>, most: usize) -> io::Result<Self> {
        let Files { closed, current } = Files::of(state)?;
        let (mut page, mut left) = (Self { records: Vec::new(), earlier: None }, WINDOW);
        let place = |first, end: u64| match before {
            Some(place) if place.first < first => 0,
            Some(place) if place.first == first => place.offset.min(end),
            Some(_) | None => end,
        };
        let first = current.first.unwrap_or(0);
        let end = place(first, current.length());
        page.add(current.file(), Place { first, offset: end }, (&mut left, most))?;
        for file in closed.iter().rev() {
            if page.records.len() >= most || left == 0 || page.earlier.is_some_and(|earlier| earlier.offset > 0) {
                break;
            }
            let opened = File::open(&file.path)?;
            let end = place(file.first, opened.metadata()?.len());
            page.add(&opened, Place { first: file.first, offset: end }, (&mut left, most))?;
        }
        let is_oldest = closed.first().map_or(first, |oldest| oldest.first);
        page.earlier = page.earlier.filter(|earlier| earlier.offset > 0 || earlier.first > is_oldest);
        Ok(page)
    }

    /// What a file has before a place.
    fn add(&mut self, file: &File, end: Place, (left, most): (&mut u64, usize)) -> io::Result<()> {
        let start = end.offset.saturating_sub(*left);
        let length = end.offset.saturating_sub(start);
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, start)?;
        *left = left.saturating_sub(length);
        let rest = self.take(&bytes, start, most);
        // A line longer than the window would be met again and again.
        let stuck = rest == bytes.len() && length == WINDOW;
        let offset = if stuck { 0 } else { start.saturating_add(rest as u64) };
        self.earlier = Some(Place { first: end.first, offset });
        Ok(())
    }

    /// The records of these bytes, which begin at `start` in their file; how many bytes are left.
    fn take(&mut self, bytes: &[u8], start: u64, most: usize) -> usize {
        let mut rest = bytes;
        // What does not begin in the window is the next page's.
        while self.records.len() < most && !rest.is_empty() {
            let whole = rest.strip_suffix(b"\n").unwrap_or(rest);
            let begins = whole.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
            let Some(at) = begins.or((start == 0).then_some(0)) else { break };
            let line = whole.get(at..).unwrap_or_default();
            self.records.extend(serde_json::from_slice(line).ok());
            rest = rest.get(..at).unwrap_or_default();
        }
        rest.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64) -> String {
        format!("{{\"hash\":\"{}\",\"seq\":{seq}}}\n", "0".repeat(64))
    }

    #[test]
    fn pages_follow_each_other_over_the_files_and_miss_nothing() {
        let folder = tempfile::TempDir::new().unwrap();
        let lines = |numbers: std::ops::Range<u64>| numbers.map(line).collect::<String>();
        std::fs::write(folder.path().join("audit-000000000001.jsonl"), lines(1..31)).unwrap();
        std::fs::write(folder.path().join("audit-000000000031.jsonl"), lines(31..81)).unwrap();
        let current = folder.path().join("audit.jsonl");
        std::fs::write(&current, format!("{}no record\n{}{{\"torn", lines(81..150), line(150))).unwrap();
        let (mut seen, mut before) = (Vec::new(), None);
        loop {
            let page = Page::read(folder.path(), before, 50).unwrap();
            assert!(page.records.len() <= 50);
            seen.extend(page.records.iter().map(|record| record["seq"].as_u64().unwrap()));
            match page.earlier {
                Some(earlier) => before = Place::read(&earlier.to_string()),
                None => break,
            }
            // Closed between two pages: what was on the way goes on.
            if seen.len() == 50 {
                std::fs::rename(&current, folder.path().join("audit-000000000081.jsonl")).unwrap();
                std::fs::write(&current, line(151)).unwrap();
            }
        }
        assert_eq!(seen, (1..=150).rev().collect::<Vec<_>>());
        let far = Place { first: 31, offset: u64::MAX };
        assert_eq!(Page::read(folder.path(), Some(far), 5).unwrap().records[0]["seq"], 80);
        assert_eq!(Place::read("nonsense"), None);
    }

    #[test]
    fn a_line_longer_than_the_window_ends_its_file() {
        let folder = tempfile::TempDir::new().unwrap();
        std::fs::write(folder.path().join("audit-000000000001.jsonl"), line(1)).unwrap();
        let long = "x".repeat(300 * 1024);
        std::fs::write(folder.path().join("audit.jsonl"), format!("{}{long}", line(2))).unwrap();
        let page = Page::read(folder.path(), None, 50).unwrap();
        assert!(page.records.is_empty());
        let page = Page::read(folder.path(), page.earlier, 50).unwrap();
        assert_eq!((page.records[0]["seq"].as_u64(), page.earlier), (Some(1), None));
    }
}
