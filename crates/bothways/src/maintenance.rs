//! `bothways maintenance`: closes sites of the running process for maintenance, by its admin interface.

use crate::admin::Process;
use crate::cli::{Maintenance, MaintenanceTask};
use crate::exit::{Failure, OTHER};
use crate::terminal;
use crate::upstreams::encoded;

/// Asks the running process to close or open sites, or which are closed.
pub(crate) fn maintenance(options: &Maintenance) -> Result<(), Failure> {
    let process = Process::find(
        options.admin.as_deref(),
        options.config.as_deref(),
        options.token_file.as_deref(),
    )?;
    let (method, page, sites) = match &options.task {
        MaintenanceTask::On(named) => ("POST", "/maintenance/on", &named.sites),
        MaintenanceTask::Off(named) => ("POST", "/maintenance/off", &named.sites),
        MaintenanceTask::Status(named) => ("GET", "/maintenance", &named.sites),
    };
    let query: Vec<_> = sites.iter().map(|site| format!("site={}", encoded(site))).collect();
    let target = match query.is_empty() {
        true => page.to_owned(),
        false => format!("{page}?{}", query.join("&")),
    };
    let (status, body) = process.ask(method, &target, "text/plain", None)?;
    if status == 200 {
        return Ok(terminal::to_stdout(&body)?);
    }
    terminal::to_stderr(&body);
    Err(Failure::already_reported(OTHER))
}
