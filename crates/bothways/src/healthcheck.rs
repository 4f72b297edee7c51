//! `bothways healthcheck`: asks the running process whether it serves, for containers and scripts.

use crate::admin::Process;
use crate::cli::Healthcheck;
use crate::exit::{Failure, OTHER};
use crate::terminal;

/// Succeeds if the process serves.
pub(crate) fn healthcheck(options: &Healthcheck) -> Result<(), Failure> {
    let process = Process::find(
        options.admin.as_deref(),
        options.config.as_deref(),
        options.token_file.as_deref(),
    )?;
    let (status, body) = process.ask("GET", "/readyz", "text/plain", None)?;
    if status == 200 {
        return Ok(terminal::to_stdout(&body)?);
    }
    terminal::to_stderr(&body);
    Err(Failure::already_reported(OTHER))
}
