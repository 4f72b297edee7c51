//! The text that Prometheus reads: format 0.0.4, or OpenMetrics 1.0.
//!
//! Written by hand because it is small, and because the crate for it (`prometheus-client`) writes
//! OpenMetrics only and wants its own counters, or a value built per series and scrape; ours are
//! summed over cores while they are written. A strict reader in the tests holds it to the format.

use std::fmt::{Display, Write};

/// Which form of the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exposition {
    /// Prometheus' text format 0.0.4.
    #[default]
    Text,
    /// OpenMetrics 1.0.0.
    OpenMetrics,
}

impl Exposition {
    /// The form that a client with this `Accept` gets.
    pub fn negotiate(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// Its Content-Type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Labels of a series: names and values.
pub(crate) type Labels<'l> = &'l [(&'static str, &'l str)];

/// Writes families one after the other.
#[derive(Debug)]
pub(crate) struct Printer {
    out: String,
    form: Exposition,
    family: &'static str,
}

// Writing into a `String` cannot fail, so results of `write!` are dropped here.
impl Printer {
    pub(crate) fn new(form: Exposition) -> Self {
        Self { out: String::with_capacity(16 * 1024), form, family: "" }
    }

    /// Begins a family. The name of a counter ends in `_total`.
    pub(crate) fn family(&mut self, name: &'static str, kind: Kind, help: &str) {
        self.family = name;
        // OpenMetrics, section "Metric Family": a counter's family is called without `_total`.
        let described = match (self.form, kind) {
            (Exposition::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        let _ = writeln!(self.out, "# HELP {described} {help}");
        let _ = writeln!(self.out, "# TYPE {described} {}", kind.name());
    }

    /// One series of the family.
    pub(crate) fn sample(&mut self, labels: Labels<'_>, value: impl Display) {
        self.line("", labels, None, value);
    }

    /// The sum of a histogram's series: its buckets (bounds in seconds, counts of each alone), the
    /// last of which has no bound, and the sum.
    pub(crate) fn histogram(
        &mut self,
        labels: Labels<'_>,
        buckets: impl Iterator<Item = (Option<f64>, u64)>,
        sum: f64,
    ) {
        let mut count = 0_u64;
        for (bound, alone) in buckets {
            count = count.wrapping_add(alone);
            match bound {
                Some(bound) => self.line("_bucket", labels, Some(format_args!("{bound:?}")), count),
                None => self.line("_bucket", labels, Some(format_args!("+Inf")), count),
            }
        }
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, count);
    }

    /// The whole text.
    pub(crate) fn finish(mut self) -> String {
        if self.form == Exposition::OpenMetrics {
            self.out.push_str("# EOF\n");
        }
        self.out
    }

    fn line(
        &mut self,
        suffix: &str,
        labels: Labels<'_>,
        bound: Option<std::fmt::Arguments<'_>>,
        value: impl Display,
    ) {
        let out = &mut self.out;
        out.push_str(self.family);
        out.push_str(suffix);
        let mut separator = '{';
        for (name, value) in labels {
            out.push(separator);
            let _ = write!(out, "{name}=\"");
            push_label_value(out, value);
            out.push('"');
            separator = ',';
        }
        if let Some(bound) = bound {
            let _ = write!(out, "{separator}le=\"{bound}\"");
            separator = ',';
        }
        if separator == ',' {
            out.push('}');
        }
        let _ = writeln!(out, " {value}");
    }
}

/// A label's value, escaped as the format wants it.
fn push_label_value(out: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => out.push_str("\\\\"),
            '"' => out.push_str("\\\""),
            '\n' => out.push_str("\\n"),
            _ => out.push(character),
        }
    }
}
