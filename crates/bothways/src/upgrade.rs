//! `bothways upgrade`: has the running process replaced by one of a new binary, and prints the outcome.
//!
//! Uses the admin interface, which reports the outcome; with `--pid`, SIGUSR2. Then a PID file shows whether another process
//! has taken over.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;

use crate::admin::Process;
use crate::cli::Upgrade;
use crate::exit::{CONFIGURATION, Failure, OTHER};
use crate::reload::{read_pid, send_signal};
use crate::terminal;

/// How often to look at a PID file.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Has the running process replaced.
pub(crate) fn upgrade(options: &Upgrade) -> Result<(), Failure> {
    let within = Duration::from_secs(options.within);
    if let Some(pid) = &options.pid {
        return by_signal(pid, within);
    }
    let binary = options.binary.as_deref().map(std::path::absolute).transpose();
    let binary = binary.map_err(|error| Failure::usage(format!("`--binary`: {error}")))?;
    let process = Process::find(
        options.admin.as_deref(),
        options.config.as_deref(),
        options.token_file.as_deref(),
    )?;
    let body = json!({ "binary": binary, "within-seconds": options.within }).to_string();
    let answer = process.patient(within).ask("POST", "/upgrade", "text/plain", Some(&body));
    let (status, body) = answer.map_err(|failure| {
        failure.hint(
            "check that the process is running with this admin address; --pid N upgrades by signal",
        )
    })?;
    if status == 200 {
        return Ok(terminal::to_stdout(&body)?);
    }
    if status == 404 {
        return Err(Failure::other("the running process is of a version that cannot be upgraded")
            .hint("restart it"));
    }
    terminal::to_stderr(&body);
    Err(Failure::already_reported(if status == 422 { CONFIGURATION } else { OTHER }))
}

fn by_signal(pid: &str, within: Duration) -> Result<(), Failure> {
    let file = Path::new(pid);
    let is_file = pid.parse::<i32>().is_err();
    let before = send_signal(pid, Signal::USR2)?;
    if !is_file {
        return Ok(terminal::to_stdout(&format!(
            "sent SIGUSR2 to process {before}; the outcome of the upgrade is in its log\n"
        ))?);
    }
    let deadline = Instant::now() + within;
    while Instant::now() < deadline {
        if let Ok(now) = read_pid(file)
            && now != before
        {
            return Ok(terminal::to_stdout(&format!(
                "upgraded: process {now} serves; process {before} drains\n"
            ))?);
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Err(Failure::other(format!(
        "not upgraded: {} still names process {before} after {} s",
        file.display(),
        within.as_secs()
    ))
    .hint("the log of that process says why"))
}
