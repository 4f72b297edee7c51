//! How the program ends: exit codes and the failure that carries one.
//!
//! Codes follow sysexits.h where it has one: 64 usage, 78 configuration; 1 is anything else.

use std::fmt;
use std::io;
use std::process::ExitCode;

use crate::terminal::{self, Paint};

/// The command line was wrong.
pub(crate) const USAGE: u8 = 64;
/// The configuration was wrong, or does not do what it promises.
pub(crate) const CONFIGURATION: u8 = 78;
/// Anything else.
pub(crate) const OTHER: u8 = 1;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    code: u8,
    /// What is still to be said; empty if everything has been.
    message: String,
    hint: Option<String>,
}

impl Failure {
    /// The command line asks for something that cannot be.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self { code: USAGE, message: message.to_string(), hint: None }
    }

    /// The configuration is at fault.
    pub(crate) fn configuration(message: impl fmt::Display) -> Self {
        Self { code: CONFIGURATION, message: message.to_string(), hint: None }
    }

    /// Something else is.
    pub(crate) fn other(message: impl fmt::Display) -> Self {
        Self { code: OTHER, message: message.to_string(), hint: None }
    }

    /// Everything has been said already; only the code is left.
    pub(crate) fn said(code: u8) -> Self {
        Self { code, message: String::new(), hint: None }
    }

    /// With a line that says what to do.
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl From<io::Error> for Failure {
    /// For writing to standard output, the only thing done with `?` on a bare I/O error.
    fn from(error: io::Error) -> Self {
        // `bothways show | head` closes the pipe early; that is not worth a word.
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::said(OTHER)
        } else {
            Self::other(error)
        }
    }
}

/// Says what is left to say and gives the exit code.
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
