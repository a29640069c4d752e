//! The text that Prometheus reads (exposition format 0.0.4).
//!
//! Guarantees: every metric has one HELP and one TYPE, above its samples; label values are escaped.

use super::instrument::{Bounds, Counters, Distribution, Histograms};
use std::fmt::{Display, Write};

/// The `Content-Type` of the text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Every name begins with it, but those that Prometheus has fixed (`process_…`).
pub(super) const PREFIX: &str = "ollama_gateway_";

/// What a number means over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the process starts anew.
    Counter,
    /// It is what it is now.
    Gauge,
}

/// The text, while it is written.
#[derive(Debug, Default)]
pub struct Page(String);

impl Page {
    /// Empty.
    #[must_use]
    pub fn new() -> Self {
        Self(String::with_capacity(16 * 1024))
    }

    /// One number without labels.
    pub fn single(&mut self, name: &str, help: &str, (kind, value): (Kind, impl Display)) {
        self.head(name, help, type_name(kind));
        self.sample(name, "", &[], value);
    }

    /// One gauge with a value for each label of a set that the configuration closes.
    pub fn gauges(&mut self, (name, help): (&str, &str), label: &str, values: &[(String, f64)]) {
        self.head(name, help, "gauge");
        for (text, value) in values {
            self.sample(name, "", &[(label, text)], value);
        }
    }

    pub(super) fn counters<const LABELS: usize>(&mut self, counters: &Counters<LABELS>) {
        self.head(counters.name, counters.help, "counter");
        for (values, count) in counters.snapshot() {
            let labels: Vec<_> = counters.labels.into_iter().zip(values).collect();
            self.sample(counters.name, "", &labels, count);
        }
    }

    pub(super) fn histograms(&mut self, histograms: &Histograms) {
        self.head(histograms.name, histograms.help, "histogram");
        for (label, seen) in histograms.snapshot() {
            self.distribution(histograms.name, (histograms.label, label), (&seen, &histograms.bounds));
        }
    }

    fn distribution(&mut self, name: &str, label: (&str, &str), (seen, bounds): (&Distribution, &Bounds)) {
        for (bound, count) in bounds.iter().zip(seen.at_most) {
            self.sample(name, "_bucket", &[label, ("le", &bound.to_string())], count);
        }
        self.sample(name, "_bucket", &[label, ("le", "+Inf")], seen.count);
        self.sample(name, "_sum", &[label], seen.sum);
        self.sample(name, "_count", &[label], seen.count);
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        let prefix = prefix_of(name);
        self.write(format_args!("# HELP {prefix}{name} {help}\n# TYPE {prefix}{name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.write(format_args!("{}{name}{suffix}", prefix_of(name)));
        for (at, (label, text)) in labels.iter().enumerate() {
            let before = if at == 0 { '{' } else { ',' };
            self.write(format_args!("{before}{label}=\"{}\"", escaped(text)));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        self.write(format_args!("{after} {value}\n"));
    }

    fn write(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        self.0.write_fmt(text).unwrap_or_default();
    }

    /// The whole text.
    #[must_use]
    pub fn into_text(self) -> String {
        self.0
    }
}

fn prefix_of(name: &str) -> &'static str {
    if name.starts_with("process_") { "" } else { PREFIX }
}

const fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_text_is_as_prometheus_wants_it() {
        let counters = Counters::new("requests_total", "Requests.", ["endpoint", "status"]);
        counters.increment(["chat", "2xx"]);
        let histograms = Histograms::new("seconds", "Time.", "class", super::super::instrument::SECONDS);
        histograms.observe("inference", Duration::from_secs(1));
        let mut page = Page::new();
        page.counters(&counters);
        page.histograms(&histograms);
        page.single("process_open_fds", "Files.", (Kind::Gauge, 7));
        page.gauges(("expires", "Ends."), "name", &[("a\"b\\c\n".to_owned(), 1.5)]);
        let text = page.into_text();
        for line in [
            "# HELP ollama_gateway_requests_total Requests.",
            "# TYPE ollama_gateway_requests_total counter",
            "ollama_gateway_requests_total{endpoint=\"chat\",status=\"2xx\"} 1",
            "ollama_gateway_seconds_bucket{class=\"inference\",le=\"0.5\"} 0",
            "ollama_gateway_seconds_bucket{class=\"inference\",le=\"1\"} 1",
            "ollama_gateway_seconds_bucket{class=\"inference\",le=\"+Inf\"} 1",
            "ollama_gateway_seconds_sum{class=\"inference\"} 1",
            "ollama_gateway_seconds_count{class=\"inference\"} 1",
            "process_open_fds 7",
            "ollama_gateway_expires{name=\"a\\\"b\\\\c\\n\"} 1.5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nnot in\n{text}");
        }
    }
}
