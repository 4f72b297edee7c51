//! Runs the proxy: start, control thread, stop.
//!
//! `serve` reads the configuration, takes inherited sockets and starts the data plane, whose threads
//! carry the traffic. A process that is to take the place of another ([`upgrade`]) gets its sockets first, and accepts
//! nothing before the other lets it. The main thread becomes the control thread: one runtime with signals
//! ([`control`]), the admin interface ([`admin`]), the file watcher ([`watch`]) and notifications to
//! systemd ([`service`]). Nothing here handles traffic of clients.

mod activation;
pub(crate) mod admin;
mod banner;
mod control;
pub(crate) mod drain;
mod empty_files;
mod fd_store;
mod logging;
mod memory;
mod pid_file;
mod report;
mod service;
pub(crate) mod signals;
pub(crate) mod upgrade;
mod watch;

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use config::{AdminAddress, Loaded};
use tokio::runtime::{Builder, LocalRuntime};

use crate::exit::{CONFIGURATION, Failure};
use crate::load::Source;
use crate::{cli, terminal};
use proxy::{Inherited, Server, StartError};

use admin::AdminSocket;
use control::Start;
use fd_store::FdStore;
use logging::Logging;
use pid_file::NewPidFile;
use signals::Signals;
use upgrade::{HandedOver, Predecessor};

/// The hint if a file cannot be created.
const WRITABLE: &str =
    "its directory must exist, and the user that runs bothways must have write permission there";

/// Serves the configuration of a file.
pub(crate) fn from_file(options: &cli::Run) -> Result<(), Failure> {
    let source = Source::find(options.config.as_deref())?;
    serve(RunOptions { source, watch: options.watch, pid_file: options.pid_file.clone() })
}

/// Serves the configuration of a source.
pub(crate) fn from_source(source: Source) -> Result<(), Failure> {
    serve(RunOptions { source, watch: false, pid_file: None })
}

struct RunOptions {
    source: Source,
    watch: bool,
    pid_file: Option<PathBuf>,
}

fn serve(options: RunOptions) -> Result<(), Failure> {
    // Before any thread starts, because this reads and clears the environment.
    let mut inherited = activation::take_sockets();
    let (predecessor, handed) = Predecessor::find()?.unzip();
    let HandedOver { listeners, admin } = handed.unwrap_or_default();
    inherited.passed_on = listeners;
    let own_binary = upgrade::own_binary().ok();
    let since = SystemTime::now();
    let loaded = options.source.load()?;
    if let Some(nothing) = crate::check::serves_nothing(&loaded) {
        terminal::to_stderr(&nothing.render(terminal::stderr_is_coloured()));
        return Err(Failure::already_reported(CONFIGURATION));
    }
    print_warnings(&loaded);
    let closed_logs = crate::check::log_diagnostics(&loaded.sources, &loaded.config);
    if !closed_logs.is_empty() {
        for diagnostic in closed_logs {
            terminal::to_stderr(&diagnostic.render(terminal::stderr_is_coloured()));
            terminal::to_stderr("\n");
        }
        return Err(Failure::already_reported(CONFIGURATION));
    }
    let logging = Logging::start(&loaded.config.process)
        .map_err(|error| Failure::other(error).hint(WRITABLE))?;
    let runtime = control_runtime()?;
    let fd_store = FdStore::new(&inherited.listeners);
    let before = Before { inherited, admin, predecessor, own_binary, fd_store };
    runtime.block_on(run(options, before, loaded, logging, since))
}

/// What was there before this process.
struct Before {
    inherited: Inherited,
    /// The socket of the admin interface of another process.
    admin: Option<(AdminAddress, OwnedFd)>,
    predecessor: Option<Predecessor>,
    own_binary: Option<PathBuf>,
    fd_store: FdStore,
}

async fn run(
    options: RunOptions,
    before: Before,
    loaded: Loaded,
    logging: Logging,
    since: SystemTime,
) -> Result<(), Failure> {
    let Before { inherited, admin, predecessor, own_binary, fd_store } = before;
    // Before the data plane starts, so that no signal is lost.
    let signals = Signals::catch()?;
    let config = Arc::clone(&loaded.config);
    let server =
        Server::prepare(config, inherited).map_err(|error| start_failure(&error, &loaded))?;
    server.discovered().await;
    if predecessor.is_some() {
        // The old process knows which endpoints are down: this one should not start knowing less.
        server.checked().await;
    }
    let admin = open_admin(&loaded.config.process, admin)?;
    let pid_file = options.pid_file.map(NewPidFile::write).transpose()?;
    let since = options.watch.then_some(since);
    let source = options.source;
    let start = Start {
        server: server.clone(),
        source,
        loaded,
        logging,
        admin,
        pid_file,
        predecessor,
        own_binary,
        fd_store,
    };
    let outcome = control::run(start, signals, since).await;
    // This joins the threads of the data plane, which blocks; nothing else is left to do here.
    server.stop();
    outcome
}

/// Listens for the admin interface.
fn open_admin(
    process: &config::Process,
    handed: Option<(AdminAddress, OwnedFd)>,
) -> Result<Option<AdminSocket>, Failure> {
    let Some(address) = &process.admin else { return Ok(None) };
    AdminSocket::open(address, handed).map(Some).map_err(|error| {
        let hint = match address {
            AdminAddress::Unix(_) => WRITABLE,
            AdminAddress::Tcp(_) => "another program may listen there; `ss -ltnp` shows which",
        };
        Failure::other(error).hint(hint)
    })
}

/// The failure of a start. Unusable certificates and keys are reported like mistakes in the text.
fn start_failure(error: &StartError, loaded: &Loaded) -> Failure {
    let StartError::Tls(problems) = error else { return Failure::other(error) };
    let problems: Vec<_> = problems.iter().map(|(_, problem)| problem.clone()).collect();
    for diagnostic in crate::check::tls_diagnostics(&loaded.sources, &problems) {
        terminal::to_stderr(&diagnostic.render(terminal::stderr_is_coloured()));
        terminal::to_stderr("\n");
    }
    Failure::already_reported(CONFIGURATION)
}

/// The runtime of the control thread. Its tasks are small and short.
pub(crate) fn control_runtime() -> Result<LocalRuntime, Failure> {
    Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(4)
        .build_local(Default::default())
        .map_err(|error| Failure::other(format!("cannot start the control thread: {error}")))
}

fn print_warnings(loaded: &Loaded) {
    for warning in crate::check::warnings(loaded) {
        terminal::to_stderr(&warning.render(terminal::stderr_is_coloured()));
        terminal::to_stderr("\n");
    }
}
