//! The control thread: what is asked of the process, one thing after the other.
//!
//! Signals, changed files and the admin interface ask; `Control::run` does it, in one loop, so
//! that no two reloads overlap. It ends when the process is to stop and everything open has been
//! let finish, or the time for that is over.
//! Not here: what a reload does to the data plane (`proxy`).

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
use super::signals::{Asked, Signals};
use super::watch::{self, Watch};
use super::{banner, drain, emptied, service};

/// Reloads that may wait for their turn; more are told to come later.
const RELOADS_WAITING_MAX: usize = 4;

/// Asks for a reload.
pub(super) struct ReloadRequest {
    /// Whether a configuration may serve nothing.
    pub(super) allow_empty: bool,
    /// The report goes back there.
    pub(super) reply: oneshot::Sender<Report>,
}

/// What the control thread knows; shared with the admin interface, which runs on the same thread.
pub(super) struct Control {
    pub(super) server: Server,
    pub(super) effective: RefCell<Effective>,
    pub(super) draining: Cell<bool>,
    /// Whether the last reload went well; so did the start.
    pub(super) last_reload_done: Cell<bool>,
    pub(super) reloads: mpsc::Sender<ReloadRequest>,
    /// What changes over TCP are allowed by.
    pub(super) token: Token,
    /// Whether changes are being written back.
    pub(super) saving: Saving,
    /// The text that serves, as it was read.
    sources: RefCell<Sources>,
    source: Source,
    logging: Logging,
    cores: Option<u16>,
}

/// Whether changes are being written back.
#[derive(Default)]
pub(super) struct Saving(Cell<bool>);

impl Saving {
    /// Begins, unless it is under way; until what this answers is dropped.
    pub(super) fn begin(&self) -> Option<SavingNow<'_>> {
        (!self.0.replace(true)).then(|| SavingNow(&self.0))
    }
}

/// Changes are being written back.
pub(super) struct SavingNow<'a>(&'a Cell<bool>);

impl Drop for SavingNow<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

/// What has been started before.
pub(super) struct Start {
    /// The data plane.
    pub(super) server: Server,
    /// Where the configuration comes from.
    pub(super) source: Source,
    /// What it says.
    pub(super) loaded: Loaded,
    /// The error log.
    pub(super) logging: Logging,
}

/// Serves until it is to stop and everything open has finished.
/// The files are watched if `since` says when they have been read.
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
        saving: Saving::default(),
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
            asked = signals.next() => match asked {
                Asked::Reload => {
                    control.reload(&mut admin, watch.as_mut(), false).await;
                }
                Asked::ReopenLogs => control.reopen_logs(),
                Asked::Stop(name) => break name,
            },
            Some(ReloadRequest { allow_empty, reply }) = requests.recv() => {
                let report = control.reload(&mut admin, watch.as_mut(), allow_empty).await;
                // Whoever asked may have gone.
                let _ = reply.send(report);
            }
            () = changed(&mut watch) => {
                control.reload(&mut admin, watch.as_mut(), false).await;
            }
        }
    };
    control.draining.set(true);
    // Whoever still waits for a reload is told that there will be none.
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

/// What systemd shows.
fn status(server: &Server) -> String {
    let listening: Vec<_> = server.listening().into_iter().map(|(written, _)| written).collect();
    format!("serving on {}", listening.join(", "))
}

impl Control {
    /// Reads the configuration again and has it serve, or reports why not.
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
                let emptied = if allow_empty { None } else { self.emptied(&loaded) };
                let report = match emptied {
                    Some(report) => report,
                    None => self.take(loaded, admin).await,
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

    /// Why a configuration is not taken as it is, if files of it have been emptied.
    fn emptied(&self, loaded: &Loaded) -> Option<Report> {
        let why = emptied::why(&self.sources.borrow(), loaded)?;
        self.server.reload_failed();
        Some(Report::Refused { summary: why, diagnostics: emptied::HINT.to_owned() })
    }

    /// Has a configuration serve that holds.
    async fn take(&self, loaded: Loaded, admin: &mut Admin) -> Report {
        let warnings: Vec<_> =
            crate::check::warnings(&loaded).iter().map(|warning| warning.render(false)).collect();
        let config = Arc::new(loaded.config);
        let (server, for_server) = (self.server.clone(), config.clone());
        // Opening sockets and waiting for all threads may take a moment: not on this thread, so
        // that the admin interface goes on.
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
                let diagnostics = crate::check::of_tls(&loaded.sources, &problems);
                let texts: Vec<_> = diagnostics.iter().map(|one| one.render(false)).collect();
                return Report::Refused { summary, diagnostics: texts.join("\n") };
            }
            Ok(Err(error)) => return Report::Failed { error: error.to_string() },
            Err(error) => {
                return Report::Failed { error: format!("the reload broke off: {error}") };
            }
        };
        *self.effective.borrow_mut() = loaded.effective;
        *self.sources.borrow_mut() = loaded.sources;
        self.token.read(&config.process);
        if let Err(error) = self.logging.reconfigure(&config.process) {
            tracing::error!(%error, "the error log stays as it was");
        }
        // The traffic is served by the new configuration already; an admin address that cannot be
        // had leaves the old one in place and is worth an error, not more.
        if let Err(error) = admin.change(config.process.admin.as_ref()) {
            tracing::error!(error, "the admin interface stays where it was");
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

    /// Whether this is the text of a file of the configuration that serves.
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
