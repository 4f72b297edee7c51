//! The outcome of an upgrade: for the log, the admin interface, and `bothways upgrade`.

use std::time::Duration;

use serde_json::{Value, json};

/// The outcome of an upgrade.
#[derive(Debug, Clone)]
pub(crate) enum UpgradeReport {
    /// The new process serves.
    Done {
        /// Its ID.
        process: u32,
        /// The version of its binary.
        version: String,
        /// How long the old process lets its connections finish.
        drain: Duration,
    },
    /// The old process goes on as before.
    Failed {
        /// Whether the configuration is wrong.
        is_configuration: bool,
        /// Why.
        error: String,
        /// What the new process has written to its standard error.
        output: String,
    },
}

impl UpgradeReport {
    /// A failure without a new process.
    pub(super) fn refused(why: impl Into<String>) -> Self {
        Self::Failed { is_configuration: false, error: why.into(), output: String::new() }
    }

    /// The report as text.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Done { process, version, drain } => format!(
                "upgraded: process {process} (bothways {version}) serves; process {} drains, for at most {} s\n",
                std::process::id(),
                drain.as_millis().div_ceil(1000)
            ),
            Self::Failed { error, output, .. } => {
                let output = output.trim_end();
                let gap = if output.is_empty() { "" } else { "\n" };
                format!(
                    "{output}{gap}not upgraded: {error}; process {} goes on as before\n",
                    std::process::id()
                )
            }
        }
    }

    /// The report as JSON.
    pub(crate) fn json(&self) -> Value {
        let old = std::process::id();
        match self {
            Self::Done { process, version, drain } => json!({
                "upgraded": true,
                "process": process,
                "version": version,
                "old-process": old,
                "drain-seconds": drain.as_secs_f64(),
            }),
            Self::Failed { error, output, .. } => json!({
                "upgraded": false,
                "error": error,
                "output": output,
                "process": old,
            }),
        }
    }

    /// Writes the report to the log.
    pub(super) fn log(&self) {
        match self {
            Self::Done { process, version, .. } => {
                tracing::info!(
                    process,
                    version,
                    "upgraded: another process serves; this one drains"
                );
            }
            Self::Failed { error, output, .. } => {
                let output = Some(output.trim_end()).filter(|output| !output.is_empty());
                tracing::error!(error, output, "not upgraded: this process goes on as before");
            }
        }
    }
}
