//! Log lines: JSON for machines, text for a terminal, both to standard error.
//!
//! Guarantees: one event is one line, and never in two calls with another between; every byte passes `Escaping`, so a text that a client or
//! Ollama sent begins no line and commands no terminal; JSON lines have the same keys in the same order.
//! Does not: rotate or drop (journald and container runtimes do the first), or know what a secret is: those
//! who log must not log one.

pub(crate) mod gathered;
mod json;

use super::clock;
use super::printable::{is_plain, write_escaped};
use crate::config::types::{Log, LogFormat};
use std::fmt;
use std::io::{self, Write};
use tracing::{Dispatch, Metadata};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt as lines};

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `log.level` is no filter.
    #[error("log.level: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Logs were set up before.
    #[error("logs are already set up")]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Sends the events of this process to standard error.
///
/// # Errors
/// [`LogError`]
pub fn init(log: &Log) -> Result<(), LogError> {
    dispatch(log, gathered::Gathered)?.try_init()?;
    Ok(())
}

/// The same, to another writer, for whoever wants to set it as a default for a while.
///
/// # Errors
/// [`LogError::Filter`]
pub fn dispatch<W>(log: &Log, to: W) -> Result<Dispatch, LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = lines().with_env_filter(EnvFilter::try_new(&log.level)?).with_ansi(false).with_writer(Escaped(to));
    Ok(match log.format {
        LogFormat::Json => builder.fmt_fields(JsonFields::new()).event_format(json::JsonLine).into(),
        LogFormat::Text => builder.with_timer(WallClock).into(),
    })
}

struct WallClock;

impl FormatTime for WallClock {
    fn format_time(&self, out: &mut Writer<'_>) -> fmt::Result {
        write!(out, "{}", clock::rfc3339(clock::now()))
    }
}

struct Escaped<W>(W);

impl<'w, W: MakeWriter<'w>> MakeWriter<'w> for Escaped<W> {
    type Writer = Escaping<W::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Escaping(self.0.make_writer())
    }

    fn make_writer_for(&'w self, of: &Metadata<'_>) -> Self::Writer {
        Escaping(self.0.make_writer_for(of))
    }
}

/// Escapes everything but the line end that an event's line ends in.
struct Escaping<W>(W);

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        if let Some((b'\n', line)) = event.split_last()
            && is_plain(line)
        {
            self.0.write_all(event)?;
            return Ok(event.len());
        }
        let text = String::from_utf8_lossy(event);
        let mut line = String::with_capacity(text.len());
        write_escaped(&mut line, text.strip_suffix('\n').unwrap_or(&text)).map_err(io::Error::other)?;
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
