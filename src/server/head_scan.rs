//! Looks at the raw head of a request for what the HTTP library takes out before anybody can see it.
//!
//! hyper answers a head with both `Content-Length` and `Transfer-Encoding` by the second, drops the first, and closes
//! afterwards. That is safe, but RFC 9112 §6.1 lets a server refuse, and a client that sends both is broken or means harm.
//! Guarantees: such a head is known as ambiguous before the request is answered. Does not: see a head that comes in the
//! same read as the end of the request before it (there, hyper's close is what holds). Answers `threats.md` §4.1.

/// Bytes of a head that are looked at; hyper refuses longer ones.
const MAX_HEAD: usize = 64 * 1024;

/// The head that is coming in.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    seen: Vec<u8>,
    /// Requests that had begun when the head was complete: until the next begins, there is nothing to look at.
    complete_at: Option<usize>,
}

/// What a head is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// Not all there, or looked at already.
    Pending,
    /// It has one reading.
    Plain,
    /// Its body's length is given twice.
    Ambiguous,
}

impl HeadScan {
    /// Takes bytes that came while no request was in flight, after `begun` requests.
    pub(super) fn take(&mut self, bytes: &[u8], begun: usize) -> Head {
        if self.complete_at == Some(begun) {
            return Head::Pending;
        }
        // Empty lines before a request are skipped by the parser, and so here.
        let fresh = if self.seen.is_empty() { bytes.trim_ascii_start() } else { bytes };
        let from = self.seen.len().saturating_sub(3);
        self.seen.extend_from_slice(fresh);
        let tail = self.seen.get(from..).unwrap_or_default();
        let Some(end) = end_of_head(tail).map(|end| from.saturating_add(end)) else {
            if self.seen.len() > MAX_HEAD {
                self.finish(begun);
            }
            return Head::Pending;
        };
        let verdict = judge(self.seen.get(..end).unwrap_or_default());
        self.finish(begun);
        verdict
    }

    fn finish(&mut self, begun: usize) {
        self.seen = Vec::new();
        self.complete_at = Some(begun);
    }
}

/// Where the empty line begins that ends a head.
fn end_of_head(bytes: &[u8]) -> Option<usize> {
    memchr::memchr_iter(b'\n', bytes).find(|at| {
        let next = bytes.get(at.saturating_add(1)..).unwrap_or_default();
        next.starts_with(b"\n") || next.starts_with(b"\r\n")
    })
}

fn judge(head: &[u8]) -> Head {
    let lines = memchr::memchr_iter(b'\n', head).map(|at| head.get(at.saturating_add(1)..).unwrap_or_default());
    let (mut length, mut encoding) = (false, false);
    for line in lines {
        length |= names(line, b"content-length");
        encoding |= names(line, b"transfer-encoding");
    }
    if length && encoding { Head::Ambiguous } else { Head::Plain }
}

/// Whether the line that begins here is a field of this name, spaces around it or not.
fn names(line: &[u8], name: &[u8]) -> bool {
    let Some((start, rest)) = line.trim_ascii_start().split_at_checked(name.len()) else { return false };
    let after = || rest.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_start();
    start.eq_ignore_ascii_case(name) && after().first().is_none_or(|byte| *byte == b':')
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &[u8] = b"POST / HTTP/1.1\r\nTRANSFER-encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\n";

    #[test]
    fn a_length_given_twice_is_seen_however_it_is_split() {
        for split in 0..=BOTH.len() {
            let mut scan = HeadScan::default();
            let (first, second) = BOTH.split_at(split);
            let verdicts = [scan.take(first, 0), scan.take(second, 0)];
            assert!(verdicts.contains(&Head::Ambiguous), "{split}: {verdicts:?}");
        }
    }

    #[test]
    fn empty_lines_before_and_bare_ends_of_lines_hide_nothing() {
        for head in [&b"\r\n\r\n"[..], b"\n"] {
            assert_eq!(HeadScan::default().take(&[head, BOTH].concat(), 0), Head::Ambiguous);
        }
        let bare = b"POST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 6\n\r\n";
        assert_eq!(HeadScan::default().take(bare, 0), Head::Ambiguous);
    }

    #[test]
    fn a_plain_head_is_plain_and_its_body_is_not_looked_at() {
        let mut scan = HeadScan::default();
        assert_eq!(scan.take(b"POST / HTTP/1.1\r\nContent-Length: 60\r\n\r\n", 0), Head::Plain);
        assert_eq!(scan.take(BOTH, 0), Head::Pending);
        assert_eq!(scan.take(BOTH, 1), Head::Ambiguous);
    }
}
