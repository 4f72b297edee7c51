//! Running: from a configuration to a process that serves, and back down again.
//!
//! `start` reads the configuration, takes inherited sockets and starts the data plane, whose
//! threads carry the traffic. The main thread then is the control thread: one runtime that owns
//! signals ([`control`]), the admin interface ([`admin`]), the watch over files ([`watch`]) and
//! the word to systemd ([`service`]).
//! Not here: anything that a client sends.

mod activation;
pub(crate) mod admin;
mod banner;
mod control;
pub(crate) mod drain;
mod emptied;
mod logging;
mod pid_file;
mod report;
mod service;
pub(crate) mod signals;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use config::Loaded;
use tokio::runtime::{Builder, LocalRuntime};

use crate::exit::{CONFIGURATION, Failure};
use crate::load::Source;
use crate::{cli, terminal};
use proxy::{Inherited, Server, StartError};

use control::Start;
use logging::Logging;
use pid_file::PidFile;
use signals::Signals;

/// What is to be done where a file cannot be made.
const WRITABLE: &str = "its directory must be there, and the user that bothways runs as must be allowed to write to it";

/// Serves what a file says.
pub(crate) fn from_file(options: &cli::Run) -> Result<(), Failure> {
    let source = Source::find(options.config.as_deref())?;
    serve(Plan { source, watch: options.watch, pid_file: options.pid_file.clone() })
}

/// Serves what a source says.
pub(crate) fn from_source(source: Source) -> Result<(), Failure> {
    serve(Plan { source, watch: false, pid_file: None })
}

struct Plan {
    source: Source,
    watch: bool,
    pid_file: Option<PathBuf>,
}

fn serve(plan: Plan) -> Result<(), Failure> {
    // Before any thread is there: it reads and clears the environment.
    let inherited = activation::take();
    let since = SystemTime::now();
    let loaded = plan.source.load()?;
    if let Some(nothing) = crate::check::serves_nothing(&loaded) {
        terminal::to_stderr(&nothing.render(terminal::stderr_is_coloured()));
        return Err(Failure::said(CONFIGURATION));
    }
    say_warnings(&loaded);
    let logging = Logging::start(&loaded.config.process)
        .map_err(|error| Failure::other(error).hint(WRITABLE))?;
    let runtime = control_runtime()?;
    runtime.block_on(run(plan, inherited, loaded, logging, since))
}

async fn run(
    plan: Plan,
    inherited: Inherited,
    loaded: Loaded,
    logging: Logging,
    since: SystemTime,
) -> Result<(), Failure> {
    // Before the data plane starts, so that a signal from now on finds somebody.
    let signals = Signals::catch()?;
    let config = Arc::new(loaded.config.clone());
    let server = Server::start(config, inherited).map_err(|error| refused(&error, &loaded))?;
    server.discovered().await;
    let _pid_file = plan.pid_file.map(PidFile::write).transpose()?;
    let since = plan.watch.then_some(since);
    let start = Start { server: server.clone(), source: plan.source, loaded, logging };
    let outcome = control::run(start, signals, since).await;
    // Joins the threads of the data plane, which blocks; nothing else is left to do here.
    server.stop();
    outcome
}

/// Certificates and keys that cannot be used are mistakes like those in the text.
fn refused(error: &StartError, loaded: &Loaded) -> Failure {
    let StartError::Tls(problems) = error else { return Failure::other(error) };
    let problems: Vec<_> = problems.iter().map(|(_, problem)| problem.clone()).collect();
    for diagnostic in crate::check::of_tls(&loaded.sources, &problems) {
        terminal::to_stderr(&diagnostic.render(terminal::stderr_is_coloured()));
        terminal::to_stderr("\n");
    }
    Failure::said(CONFIGURATION)
}

/// The runtime of the control thread. Everything on it is small and short.
pub(crate) fn control_runtime() -> Result<LocalRuntime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build_local(Default::default())
        .map_err(|error| Failure::other(format!("cannot start the control thread: {error}")))
}

fn say_warnings(loaded: &Loaded) {
    for warning in crate::check::warnings(loaded) {
        terminal::to_stderr(&warning.render(terminal::stderr_is_coloured()));
        terminal::to_stderr("\n");
    }
}
