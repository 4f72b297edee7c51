//! Exit codes, and the failure that carries one.
//!
//! Codes follow sysexits.h: 64 is wrong usage, 78 a wrong configuration; 3 is what `import` refused;
//! 1 is any other failure.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::terminal::{self, Paint};

/// The command line was wrong.
pub(crate) const USAGE: u8 = 64;
/// The configuration was wrong, or an expectation in it does not hold.
pub(crate) const CONFIGURATION: u8 = 78;
/// Any other failure.
pub(crate) const OTHER: u8 = 1;
/// `import`: a line was refused, or a request differs.
pub(crate) const REFUSED: u8 = 3;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// The message to print; empty if everything was printed already.
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// The command line is wrong.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { code: USAGE, message: message.to_string(), hint: None }
    }

    /// The configuration is wrong.
    pub(crate) fn configuration(message: impl fmt::Display) -> Self {
        Self { code: CONFIGURATION, message: message.to_string(), hint: None }
    }

    /// Any other failure.
    pub(crate) fn other(message: impl fmt::Display) -> Self {
        Self { code: OTHER, message: message.to_string(), hint: None }
    }

    /// A failure whose messages were printed already: only the exit code matters.
    pub(crate) fn already_reported(code: u8) -> Self {
        Self { code, message: String::new(), hint: None }
    }

    /// Adds a line that says what to do.
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl From<io::Error> for Failure {
    /// For errors of writing to standard output: `?` on a plain I/O error is used for nothing else.
    fn from(error: io::Error) -> Self {
        // `bothways show | head` closes the pipe early: that needs no message.
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::already_reported(OTHER)
        } else {
            Self::other(error)
        }
    }
}

/// Prints the failure, if it was not printed already, and returns the exit code.
pub(crate) fn code(outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    if !failure.message.is_empty() {
        let paint = Paint::new(terminal::stderr_is_coloured());
        terminal::to_stderr(&format!("{} {}\n", paint.red("error:"), failure.message));
        if let Some(hint) = &failure.hint {
            terminal::to_stderr(&format!("{} {hint}\n", paint.cyan("hint:")));
        }
    }
    ExitCode::from(failure.code)
}
