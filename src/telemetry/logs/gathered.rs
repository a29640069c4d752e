//! The lines of a thread that carries connections, written together.
//!
//! Guarantees: a thread that has nothing to do has written all its lines, and so has one that ends; a warning or an error
//! is written at once, with all before it; the lines of a thread keep their order; what is written in one call is whole
//! lines, and no more than a pipe takes as one, so that nobody else's line cuts into one of ours.
//! Does not: keep a busy thread's last lines when the process is killed: that is what the audit log is for.

use super::super::metrics::metrics;
use std::cell::RefCell;
use std::io::{self, Write};
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// What a pipe takes in one piece whoever else writes to it (`PIPE_BUF`, pipe(7)).
const AT_ONCE: usize = 4096;

thread_local! {
    static LINES: RefCell<Lines> = const { RefCell::new(Lines { waiting: None }) };
}

/// The lines of a thread.
struct Lines {
    /// Those that are not written yet; `None`: each is written at once.
    waiting: Option<Vec<u8>>,
}

/// When a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    AtOnce,
    WithOthers,
}

/// From now on, this thread's lines wait for [`write_out`].
pub(crate) fn gather() {
    LINES.with_borrow_mut(|lines| lines.waiting.get_or_insert_with(|| Vec::with_capacity(AT_ONCE)).clear());
}

/// Writes the lines that wait on this thread: to be called before it sleeps.
pub(crate) fn write_out() {
    LINES.with_borrow_mut(|lines| lines.write_out(&mut io::stderr()));
}

impl Lines {
    fn take(&mut self, line: &[u8], written: Written, to: &mut impl Write) {
        let Some(waiting) = &self.waiting else { return write(line, to) };
        if waiting.len().saturating_add(line.len()) > AT_ONCE {
            self.write_out(to);
        }
        self.waiting.get_or_insert_default().extend_from_slice(line);
        if written == Written::AtOnce {
            self.write_out(to);
        }
    }

    fn write_out(&mut self, to: &mut impl Write) {
        if let Some(waiting) = &mut self.waiting
            && !waiting.is_empty()
        {
            write(waiting, to);
            waiting.clear();
            waiting.shrink_to(AT_ONCE);
        }
    }
}

/// One that cannot be written is counted: there is nobody else to be told.
fn write(lines: &[u8], to: &mut impl Write) {
    if to.write_all(lines).is_err() {
        metrics().lines_lost.add(memchr::memchr_iter(b'\n', lines).count() as u64);
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.write_out(&mut io::stderr());
    }
}

/// Standard error, by way of the thread's lines.
pub(super) struct Gathered;

/// One line on its way there.
pub(super) struct Line(Written);

impl MakeWriter<'_> for Gathered {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line(Written::AtOnce)
    }

    fn make_writer_for(&self, of: &Metadata<'_>) -> Line {
        Line(if *of.level() <= Level::WARN { Written::AtOnce } else { Written::WithOthers })
    }
}

impl Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let taken = LINES.try_with(|lines| lines.borrow_mut().take(line, self.0, &mut io::stderr()));
        if taken.is_err() {
            write(line, &mut io::stderr()); // the thread is about to end
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each call, apart.
    #[derive(Default)]
    struct Calls(Vec<Vec<u8>>);

    impl Write for Calls {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.to_vec());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_wait_in_order_and_are_written_whole() {
        let (mut lines, mut calls) = (Lines { waiting: Some(Vec::new()) }, Calls::default());
        let line = |n: usize| format!("{n} {}\n", "x".repeat(1000));
        (0..6).for_each(|n| lines.take(line(n).as_bytes(), Written::WithOthers, &mut calls));
        assert_eq!(calls.0.len(), 1, "four fit into one call");
        lines.write_out(&mut calls);
        lines.write_out(&mut calls);
        assert_eq!(calls.0.concat(), (0..6).map(line).collect::<String>().as_bytes());
        assert!(calls.0.iter().all(|call| call.len() <= AT_ONCE && call.ends_with(b"\n")));
        assert_eq!(calls.0.len(), 2);
    }

    #[test]
    fn a_warning_takes_all_before_it_along_and_a_line_that_is_too_long_goes_alone() {
        let (mut lines, mut calls) = (Lines { waiting: Some(Vec::new()) }, Calls::default());
        lines.take(b"first\n", Written::WithOthers, &mut calls);
        assert!(calls.0.is_empty());
        lines.take(b"warning\n", Written::AtOnce, &mut calls);
        assert_eq!(calls.0, [b"first\nwarning\n"]);
        lines.take(b"short\n", Written::WithOthers, &mut calls);
        let long = [[b'y'; 2 * AT_ONCE].as_slice(), b"\n"].concat();
        lines.take(&long, Written::WithOthers, &mut calls);
        lines.write_out(&mut calls);
        assert_eq!(calls.0[1..], [b"short\n".to_vec(), long]);
    }

    #[test]
    fn a_thread_that_does_not_gather_writes_each_line() {
        let (mut lines, mut calls) = (Lines { waiting: None }, Calls::default());
        lines.take(b"a\n", Written::WithOthers, &mut calls);
        assert_eq!(calls.0, [b"a\n"]);
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (mut lines, before) = (Lines { waiting: Some(Vec::new()) }, metrics().lines_lost.value());
        lines.take(b"a\n", Written::WithOthers, &mut Full);
        lines.take(b"b\n", Written::AtOnce, &mut Full);
        assert!(metrics().lines_lost.value() >= before + 2);
    }
}
