//! The control thread: handles reloads, log rotation and stop, one at a time.
//!
//! Signals, changed files and the admin interface request actions; [`run`] performs them in one
//! loop, so that no two reloads overlap. It returns when the process was told to stop and all open
//! exchanges have finished, or the time for that is over. `proxy` applies a reload to the data plane.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use config::{AdminAddress, Effective, Loaded, Sources};
use tokio::sync::{mpsc, oneshot};

use crate::exit::Failure;
use crate::load::{self, Source};
use crate::terminal;
use proxy::{Server, StartError};

use super::admin::{Admin, Token};
use super::logging::Logging;
use super::report::Report;
use super::signals::{SignalAction, Signals};
use super::watch::{self, Watch};
use super::{banner, drain, empty_files, service};

/// The maximum number of waiting reloads; further ones are refused.
const RELOADS_WAITING_MAX: usize = 4;

/// A request for a reload.
pub(super) struct ReloadRequest {
    /// Whether a configuration may serve nothing.
    pub(super) allow_empty: bool,
    /// Receives the report.
    pub(super) reply: oneshot::Sender<Report>,
}

/// The state of the control thread; shared with the admin interface, which runs on the same thread.
pub(super) struct Control {
    pub(super) server: Server,
    pub(super) effective: RefCell<Effective>,
    pub(super) draining: Cell<bool>,
    /// Whether the last reload (or the start) succeeded.
    pub(super) last_reload_done: Cell<bool>,
    pub(super) reloads: mpsc::Sender<ReloadRequest>,
    /// The token for the admin interface over TCP.
    pub(super) token: Token,
    /// Held while changes are written back.
    pub(super) save_lock: SaveLock,
    /// The text of the active configuration, as it was read.
    sources: RefCell<Sources>,
    source: Source,
    logging: Logging,
    cores: Option<u16>,
}

/// Lets one save run at a time.
#[derive(Default)]
pub(super) struct SaveLock(Cell<bool>);

impl SaveLock {
    /// Acquires the lock until the guard is dropped; `None` if it is held.
    pub(super) fn acquire(&self) -> Option<SaveGuard<'_>> {
        (!self.0.replace(true)).then(|| SaveGuard(&self.0))
    }
}

/// Holds the lock.
pub(super) struct SaveGuard<'a>(&'a Cell<bool>);

impl Drop for SaveGuard<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// What [`run`] needs.
pub(super) struct Start {
    /// The data plane.
    pub(super) server: Server,
    /// Where the configuration comes from.
    pub(super) source: Source,
    /// The loaded configuration.
    pub(super) loaded: Loaded,
    /// The error log.
    pub(super) logging: Logging,
}

/// Serves until a signal stops the process and all open exchanges have finished. Watches the files
/// if `since` is set, the time when they were read.
pub(super) async fn run(
    start: Start,
    mut signals: Signals,
    since: Option<SystemTime>,
) -> Result<(), Failure> {
    let Start { server, source, loaded, logging } = start;
    let (reloads, mut requests) = mpsc::channel(RELOADS_WAITING_MAX);
    let mut watch = since.map(|since| start_watch(&loaded, since)).transpose()?;
    let cores = loaded.config.process.cores;
    let control = Rc::new(Control {
        server,
        effective: RefCell::new(loaded.effective),
        draining: Cell::new(false),
        last_reload_done: Cell::new(true),
        reloads,
        token: Token::default(),
        save_lock: SaveLock::default(),
        sources: RefCell::new(loaded.sources),
        source,
        logging,
        cores,
    });
    control.token.read(&loaded.config.process);
    let mut admin = Admin::default();
    let address = loaded.config.process.admin.as_ref();
    admin.start(&control, address).map_err(|error| {
        let hint = match address {
            Some(AdminAddress::Unix(_)) => super::WRITABLE,
            _ => "another program may listen there; `ss -ltnp` shows which",
        };
        Failure::other(error).hint(hint)
    })?;
    banner::ready(&loaded.config, &control.server, admin.address(), &control.source.name());
    service::ready(&status(&control.server));
    let reason = loop {
        tokio::select! {
            action = signals.next() => match action {
                SignalAction::Reload => {
                    control.reload(&mut admin, watch.as_mut(), false).await;
                }
                SignalAction::ReopenLogs => control.reopen_logs(),
                SignalAction::Stop(name) => break name,
            },
            Some(ReloadRequest { allow_empty, reply }) = requests.recv() => {
                let report = control.reload(&mut admin, watch.as_mut(), allow_empty).await;
                // Fails if the requester has disconnected.
                let _ = reply.send(report);
            }
            () = changed(&mut watch) => {
                control.reload(&mut admin, watch.as_mut(), false).await;
            }
        }
    };
    control.draining.set(true);
    // Waiting reloads fail.
    drop(requests);
    drain::drain(&control.server, reason, &mut signals).await;
    Ok(())
}

fn start_watch(loaded: &Loaded, since: SystemTime) -> Result<Watch, Failure> {
    Watch::start(watch::files_of(&loaded.config, &loaded.sources), since)
        .map_err(|error| Failure::other(format!("cannot watch the configuration: {error}")))
}

async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// The status line for systemd.
fn status(server: &Server) -> String {
    let listening: Vec<_> = server.listening().into_iter().map(|(written, _)| written).collect();
    format!("serving on {}", listening.join(", "))
}

impl Control {
    /// Reads the configuration again and applies it, or reports why not.
    async fn reload(
        &self,
        admin: &mut Admin,
        watch: Option<&mut Watch>,
        allow_empty: bool,
    ) -> Report {
        service::reloading();
        let since = SystemTime::now();
        let (report, followed) = match self.source.read() {
            Ok(loaded) => {
                let files = watch::files_of(&loaded.config, &loaded.sources);
                let refused = if allow_empty { None } else { self.refuse_empty(&loaded) };
                let report = match refused {
                    Some(report) => report,
                    None => self.apply(loaded, admin).await,
                };
                let followed = watch.map(|watch| match report.is_done() {
                    true => watch.follow(files, since),
                    false => watch.follow_also(files, since),
                });
                (report, followed)
            }
            Err(failure) => {
                let files = watch::files_read(&failure.sources);
                let summary = load::summary(&failure, &self.source.name());
                self.server.reload_failed();
                let report = Report::Refused { summary, diagnostics: failure.render(false) };
                (report, watch.map(|watch| watch.follow_also(files, since)))
            }
        };
        if let Some(Err(error)) = followed {
            tracing::warn!(%error, "cannot watch all files of the configuration");
        }
        self.last_reload_done.set(report.is_done());
        report.log();
        service::ready(&status(&self.server));
        report
    }

    /// Refuses a configuration in which files have become empty.
    fn refuse_empty(&self, loaded: &Loaded) -> Option<Report> {
        let why = empty_files::problem(&self.sources.borrow(), loaded)?;
        self.server.reload_failed();
        Some(Report::Refused { summary: why, diagnostics: empty_files::HINT.to_owned() })
    }

    /// Applies a valid configuration.
    async fn apply(&self, loaded: Loaded, admin: &mut Admin) -> Report {
        let warnings: Vec<_> =
            crate::check::warnings(&loaded).iter().map(|warning| warning.render(false)).collect();
        let config = Arc::new(loaded.config);
        let (server, for_server) = (self.server.clone(), config.clone());
        // Opening sockets and waiting for all threads can take a moment, so use another thread and
        // keep the admin interface responsive.
        let outcome = tokio::task::spawn_blocking(move || server.reload(for_server)).await;
        let change = match outcome {
            Ok(Ok(change)) => change,
            Ok(Err(StartError::Tls(problems))) => {
                let problems: Vec<_> = problems.into_iter().map(|(_, problem)| problem).collect();
                let summary = format!(
                    "{} in {}",
                    terminal::count(problems.len() as u64, "error"),
                    self.source.name()
                );
                let diagnostics = crate::check::tls_diagnostics(&loaded.sources, &problems);
                let texts: Vec<_> = diagnostics.iter().map(|one| one.render(false)).collect();
                return Report::Refused { summary, diagnostics: texts.join("\n") };
            }
            Ok(Err(error)) => return Report::Failed { error: error.to_string() },
            Err(error) => {
                return Report::Failed { error: format!("the reload task failed: {error}") };
            }
        };
        *self.effective.borrow_mut() = loaded.effective;
        *self.sources.borrow_mut() = loaded.sources;
        self.token.read(&config.process);
        if let Err(error) = self.logging.reconfigure(&config.process) {
            tracing::error!(%error, "cannot change the error log; it stays as it was");
        }
        // The new configuration is active already. If its admin address cannot be used, the old one
        // stays, and the error is only logged.
        if let Err(error) = admin.change(config.process.admin.as_ref()) {
            tracing::error!(error, "cannot move the admin interface; it keeps its address");
        }
        if config.process.cores != self.cores {
            tracing::warn!("`process cores` takes effect at the next start");
        }
        Report::Done {
            generation: change.generation,
            opened: change.listeners_opened,
            closed: change.listeners_closed,
            warnings: warnings.join("\n"),
        }
    }

    /// Whether the configuration comes from files.
    pub(super) fn has_file(&self) -> bool {
        matches!(self.source, Source::File(_))
    }

    /// Whether a file of the active configuration had this text when it was read.
    pub(super) fn is_as_read(&self, file: u16, text: &str) -> bool {
        self.sources.borrow().text(file) == text
    }

    fn reopen_logs(&self) {
        let error_log = self.logging.reopen().map_err(|error| error.to_string());
        let access_log = self.server.reopen_logs().map_err(|error| error.to_string());
        for (log, outcome) in [("error", error_log), ("access", access_log)] {
            match outcome {
                Ok(()) => tracing::info!(log, "log re-opened"),
                Err(error) => tracing::error!(log, error, "the old log file stays open"),
            }
        }
    }
}
