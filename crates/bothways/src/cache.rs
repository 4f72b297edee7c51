//! `bothways cache`: shows, purges and fills the store of the running process, by its admin interface; [`warm`] fills it.

mod warm;

use crate::admin::Process;
use crate::cli::{Cache, CacheTask, Purge};
use crate::exit::{Failure, OTHER};
use crate::terminal;
use crate::upstreams::encoded;

/// Shows the store, or runs a task.
pub(crate) fn cache(options: &Cache) -> Result<(), Failure> {
    if let Some(CacheTask::Warm(warm)) = &options.task {
        return warm::warm(warm, options.config.as_deref());
    }
    let (method, target) = match &options.task {
        None | Some(CacheTask::Stats) => ("GET", "/cache".to_owned()),
        Some(CacheTask::Show(of)) => ("GET", format!("/cache/stored?url={}", encoded(&of.url))),
        Some(CacheTask::Purge(purge)) => ("POST", purge_page(purge)?),
        Some(CacheTask::Warm(_)) => return Ok(()),
    };
    let process = Process::find(
        options.admin.as_deref(),
        options.config.as_deref(),
        options.token_file.as_deref(),
    )?;
    let accept = if options.json { "application/json" } else { "text/plain" };
    let (status, body) = process.ask(method, &target, accept, None)?;
    if status == 200 {
        return Ok(terminal::to_stdout(&body)?);
    }
    terminal::to_stderr(&body);
    Err(Failure::already_reported(OTHER))
}

fn purge_page(purge: &Purge) -> Result<String, Failure> {
    let mut query = Vec::new();
    for (name, values) in [
        ("url", &purge.urls),
        ("prefix", &purge.prefix),
        ("host", &purge.host),
        ("tag", &purge.tag),
    ] {
        query.extend(values.iter().map(|value| format!("{name}={}", encoded(value))));
    }
    if purge.all {
        query.push("all".to_owned());
    }
    if query.is_empty() {
        return Err(Failure::usage("nothing is named that is to be purged")
            .hint("write a URL, --prefix URL, --host HOST, --tag TAG, or --all"));
    }
    if purge.soft {
        query.push("soft".to_owned());
    }
    Ok(format!("/cache/purge?{}", query.join("&")))
}
