//! `bothways reload`: asks the running process to read its file anew, and says what came of it.
//!
//! By the admin interface where there is one, since that answers; else by SIGHUP.

use std::path::Path;

use config::AdminAddress;
use rustix::process::{Pid, Signal, kill_process};

use crate::admin::{self, Process};
use crate::cli::Reload;
use crate::exit::{CONFIGURATION, Failure, OTHER};
use crate::load::Source;
use crate::terminal;

/// Has the running process reload.
pub(crate) fn reload(options: &Reload) -> Result<(), Failure> {
    if let Some(pid) = &options.pid {
        return by_signal(pid);
    }
    let address = match &options.admin {
        Some(written) => admin::parse_address(written)?,
        None => configured_admin(options.config.as_deref())?,
    };
    by_admin(address)
}

/// The admin address of the file. One that cannot be read is reported: reloading it would fail.
fn configured_admin(named: Option<&Path>) -> Result<AdminAddress, Failure> {
    let source = Source::find(named)?;
    let loaded = source.load()?;
    loaded.config.process.admin.ok_or_else(|| {
        let name = source.name();
        Failure::other(format!("{name} sets no admin address, so the process cannot be asked"))
            .hint(
                "set one: process { admin \"127.0.0.1:9900\" }; or name the process: \
                 bothways reload --pid N",
            )
    })
}

fn by_admin(address: AdminAddress) -> Result<(), Failure> {
    let answer = Process::at(address).ask("POST", "/reload", "text/plain", None);
    let (status, body) = answer.map_err(|failure| {
        failure
            .hint("is the process running, and with this admin address? --pid N reloads by signal")
    })?;
    if status == 200 {
        return Ok(terminal::to_stdout(&body)?);
    }
    terminal::to_stderr(&body);
    Err(Failure::said(if status == 422 { CONFIGURATION } else { OTHER }))
}

fn by_signal(pid: &str) -> Result<(), Failure> {
    let number = match pid.parse::<i32>() {
        Ok(number) => number,
        Err(_) => read_pid(Path::new(pid))?,
    };
    // Zero and negative numbers mean whole groups of processes.
    let process = Some(number)
        .filter(|number| *number > 0)
        .and_then(Pid::from_raw)
        .ok_or_else(|| Failure::usage(format!("`{number}` is not the number of a process")))?;
    kill_process(process, Signal::HUP)
        .map_err(|error| Failure::other(format!("cannot signal process {number}: {error}")))?;
    Ok(terminal::to_stdout(&format!(
        "process {number} has been asked to reload; the outcome is in its log\n"
    ))?)
}

fn read_pid(path: &Path) -> Result<i32, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::other(format!("cannot read {}: {error}", path.display())))?;
    text.trim().parse().map_err(|_| {
        Failure::other(format!("{} does not hold the number of a process", path.display()))
    })
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
