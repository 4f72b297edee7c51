//! What the programs of the benchmark share: their command-line arguments and their open-file limit.
//!
//! The programs themselves are in `src/bin`, one file each. They are the fixed parts of the
//! measurement, so they do as little as possible: no configuration, no logs, one thread.

pub mod http;
pub mod stream;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::cell::RefCell;
use std::io::{Error, ErrorKind, Result, Write};
use std::str::FromStr;
use std::time::{Duration, Instant};
use tokio::task::JoinError;

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

/// Whether `name` is on the command line.
pub fn flag(name: &str) -> bool {
    std::env::args().any(|given| given == name)
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

/// Waits for the end of the warm-up, says `start`, and `seconds` later
/// `end BYTES COUNT NANOSECONDS P99_MICROSECONDS`: `bytes()` as they grew, and how many times `took`
/// has got. Whoever started the program can read the proxy's CPU time at the same two moments.
///
/// # Errors
/// Those of the standard output.
pub async fn measured(
    warm: f64,
    seconds: f64,
    bytes: impl Fn() -> u64,
    took: &RefCell<Vec<u32>>,
) -> Result<()> {
    tokio::time::sleep(Duration::from_secs_f64(warm)).await;
    let (start, before) = (Instant::now(), bytes());
    took.borrow_mut().clear();
    say("start")?;
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    let grown = bytes() - before;
    let mut took = took.take();
    took.sort_unstable();
    let p99 = took.get(took.len() * 99 / 100).copied().unwrap_or(0);
    say(&format!("end {grown} {} {} {p99}", took.len(), start.elapsed().as_nanos()))
}

fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

/// Why a task that should run for ever has ended.
pub fn why(ended: std::result::Result<Result<()>, JoinError>) -> Error {
    match ended {
        Ok(Ok(())) => Error::new(ErrorKind::UnexpectedEof, "a connection ended early"),
        Ok(Err(error)) => error,
        Err(error) => Error::other(error),
    }
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
