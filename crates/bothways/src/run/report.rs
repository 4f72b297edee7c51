//! The outcome of a reload: for the log, the admin interface, and `bothways reload`.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::terminal::count;

/// The outcome of a reload.
#[derive(Debug, Clone)]
pub(crate) enum Report {
    /// The new configuration is active.
    Done {
        /// The number of configurations that have been active, including this one.
        generation: u64,
        /// Listeners that were opened.
        opened: Vec<String>,
        /// Listeners that were closed.
        closed: Vec<String>,
        /// Warnings, as text.
        warnings: String,
    },
    /// The configuration is wrong; the old one stays active.
    Refused {
        /// `2 errors in bothways.kdl`.
        summary: String,
        /// Every mistake, as text.
        diagnostics: String,
    },
    /// The configuration is valid, but cannot be applied (such as an address in use); the old one stays
    /// active.
    Failed {
        /// Why.
        error: String,
    },
}

impl Report {
    /// Whether the new configuration is active.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done { .. })
    }

    /// The report as text.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Done { generation, opened, closed, warnings } => {
                let mut text = String::new();
                if !warnings.is_empty() {
                    let _ = writeln!(text, "{warnings}");
                }
                let _ = writeln!(text, "reloaded: configuration {generation} is active");
                for (word, listeners) in [("opened", opened), ("closed", closed)] {
                    if !listeners.is_empty() {
                        let _ = writeln!(text, "  {word} {}", listeners.join(", "));
                    }
                }
                text
            }
            Self::Refused { summary, diagnostics } => {
                format!(
                    "{diagnostics}\nnot reloaded: {summary}; the old configuration stays active\n"
                )
            }
            Self::Failed { error } => {
                format!("not reloaded: {error}; the old configuration stays active\n")
            }
        }
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> Value {
        match self {
            Self::Done { generation, opened, closed, warnings } => json!({
                "reloaded": true,
                "generation": generation,
                "opened": opened,
                "closed": closed,
                "warnings": warnings,
            }),
            Self::Refused { summary, diagnostics } => json!({
                "reloaded": false,
                "error": summary,
                "diagnostics": diagnostics,
            }),
            Self::Failed { error } => json!({ "reloaded": false, "error": error }),
        }
    }

    /// Writes the report to the log.
    pub(crate) fn log(&self) {
        match self {
            Self::Done { generation, opened, closed, warnings } => {
                if !warnings.is_empty() {
                    tracing::warn!(warnings, "the new configuration has warnings");
                }
                // Omitted if there are none.
                let words = |listeners: &[String]| {
                    Some(listeners.join(" ")).filter(|words| !words.is_empty())
                };
                tracing::info!(
                    generation,
                    opened = words(opened),
                    closed = words(closed),
                    "reloaded"
                );
            }
            Self::Refused { summary, diagnostics } => {
                tracing::error!(
                    error = summary,
                    diagnostics,
                    "not reloaded: the configuration is wrong; the old one stays active"
                );
            }
            Self::Failed { error } => {
                tracing::error!(error, "not reloaded: the old configuration stays active");
            }
        }
    }
}

/// `3 exchanges, 1 tunnel`
pub(crate) fn open_words(exchanges: u64, tunnels: u64, connections: u64) -> String {
    match (exchanges, tunnels) {
        (0, 0) => count(connections, "connection"),
        (_, 0) => count(exchanges, "exchange"),
        (0, _) => count(tunnels, "tunnel"),
        _ => format!("{}, {}", count(exchanges, "exchange"), count(tunnels, "tunnel")),
    }
}
