//! What the programs of the benchmark share: their command-line arguments and their open-file limit.
//!
//! The programs themselves are in `src/bin`, one file each. They are the fixed parts of the
//! measurement, so they do as little as possible: no configuration, no logs, one thread.

pub mod http;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{Error, ErrorKind, Result};
use std::str::FromStr;

/// The value that follows `name` on the command line, if `name` is there.
///
/// # Errors
/// A name without a value, or a value that `T` cannot read.
pub fn argument<T: FromStr>(name: &str) -> Result<Option<T>> {
    argument_of(std::env::args().skip(1), name)
}

/// Like [`argument`], where the program cannot do without it.
///
/// # Errors
/// As [`argument`], and when `name` is missing.
pub fn required<T: FromStr>(name: &str) -> Result<T> {
    argument(name)?.ok_or_else(|| invalid(format!("{name} VALUE is missing")))
}

fn argument_of<T: FromStr>(
    mut arguments: impl Iterator<Item = String>,
    name: &str,
) -> Result<Option<T>> {
    if !arguments.any(|given| given == name) {
        return Ok(None);
    }
    let value = arguments.next().ok_or_else(|| invalid(format!("{name} wants a value")))?;
    value.parse().map(Some).map_err(|_| invalid(format!("{name} cannot be `{value}`")))
}

/// An error about what somebody gave us.
pub fn invalid(what: String) -> Error {
    Error::new(ErrorKind::InvalidInput, what)
}

/// Raises the soft limit of open files to the hard one.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it is refused the program goes on with what it has, and says so when it runs out.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(arguments: &[&str], name: &str) -> Result<Option<u16>> {
        argument_of(arguments.iter().map(ToString::to_string), name)
    }

    #[test]
    fn an_argument_is_the_word_after_its_name() {
        assert_eq!(given(&["--to", "7", "--listen", "80"], "--listen").ok(), Some(Some(80)));
        assert_eq!(given(&["--to", "7"], "--listen").ok(), Some(None));
        assert!(given(&["--listen"], "--listen").is_err());
        assert!(given(&["--listen", "high"], "--listen").is_err());
    }
}
