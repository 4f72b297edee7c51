//! `bothways reload`: asks the running process to reload, and prints the outcome.
//!
//! Uses the admin interface, which reports the outcome; with `--pid`, SIGHUP.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::admin::Process;
use crate::cli::Reload;
use crate::exit::{CONFIGURATION, Failure, OTHER};
use crate::terminal;

/// Asks the running process to reload.
pub(crate) fn reload(options: &Reload) -> Result<(), Failure> {
    if let Some(pid) = &options.pid {
        return by_signal(pid);
    }
    let process = Process::find(
        options.admin.as_deref(),
        options.config.as_deref(),
        options.token_file.as_deref(),
    )?;
    by_admin(&process, options.allow_empty)
}

fn by_admin(process: &Process, allow_empty: bool) -> Result<(), Failure> {
    let target = if allow_empty { "/reload?allow-empty" } else { "/reload" };
    let (status, body) = process.ask("POST", target, "text/plain", None).map_err(|failure| {
        failure.hint(
            "check that the process is running with this admin address; --pid N reloads by signal",
        )
    })?;
    if status == 200 {
        return Ok(terminal::to_stdout(&body)?);
    }
    terminal::to_stderr(&body);
    Err(Failure::already_reported(if status == 422 { CONFIGURATION } else { OTHER }))
}

fn by_signal(pid: &str) -> Result<(), Failure> {
    let number = send_signal(pid, Signal::HUP)?;
    Ok(terminal::to_stdout(&format!(
        "sent SIGHUP to process {number}; the outcome of the reload is in its log\n"
    ))?)
}

/// Signals a process, named by its ID or by a file with the ID; returns the ID.
pub(crate) fn send_signal(pid: &str, signal: Signal) -> Result<i32, Failure> {
    let number = match pid.parse::<i32>() {
        Ok(number) => number,
        Err(_) => read_pid(Path::new(pid))?,
    };
    // Zero and negative numbers mean groups of processes.
    let process = Some(number)
        .filter(|number| *number > 0)
        .and_then(Pid::from_raw)
        .ok_or_else(|| Failure::usage(format!("`{number}` is not a process ID")))?;
    kill_process(process, signal)
        .map_err(|error| Failure::other(format!("cannot signal process {number}: {error}")))?;
    Ok(number)
}

/// The process ID in a file.
pub(crate) fn read_pid(path: &Path) -> Result<i32, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::other(format!("cannot read {}: {error}", path.display())))?;
    text.trim()
        .parse()
        .map_err(|_| Failure::other(format!("{} does not contain a process ID", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_process_is_signalled() {
        for bad in ["0", "-1"] {
            assert!(by_signal(bad).is_err(), "{bad}");
        }
    }
}
