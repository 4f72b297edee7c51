//! Output for people: when to use colours, and writing without panics.

use std::io::{self, IsTerminal, Write};

/// Whether standard output shows colours: it is a terminal, and `NO_COLOR` (no-color.org) is not set.
pub(crate) fn stdout_is_coloured() -> bool {
    io::stdout().is_terminal() && colours_wanted()
}

/// Whether standard error shows colours.
pub(crate) fn stderr_is_coloured() -> bool {
    io::stderr().is_terminal() && colours_wanted()
}

fn colours_wanted() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    !refused && !dumb
}

/// Writes to standard error. Errors are ignored, as there is no way to report them; `eprint!` would
/// panic.
pub(crate) fn to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes a whole text to standard output.
pub(crate) fn to_stdout(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Colours text, or leaves it unchanged.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Paint {
    coloured: bool,
}

macro_rules! colours {
    ($($(#[$doc:meta])* $name:ident = $code:literal;)*) => {
        $($(#[$doc])*
        pub(crate) fn $name(self, text: &str) -> String {
            self.wrap($code, text)
        })*
    };
}

impl Paint {
    /// With colours or without.
    pub(crate) fn new(coloured: bool) -> Self {
        Self { coloured }
    }

    colours! {
        /// Important text.
        bold = "1";
        /// Less important text.
        dim = "2";
        /// Errors.
        red = "1;31";
        /// Success.
        green = "1;32";
        /// Warnings.
        yellow = "1;33";
        /// Hints.
        cyan = "36";
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// `1 exchange`, `2 exchanges`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
