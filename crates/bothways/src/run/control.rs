//! The control thread: handles reloads, log rotation, upgrades and stop, one at a time.
//!
//! Signals, changed files and the admin interface request actions; [`run`] performs them in one
//! loop, so that no two reloads overlap. It returns when the process was told to stop or another one has
//! taken over, and all open exchanges have finished, or the time for that is over. `proxy` applies a reload to the data plane.

use std::cell::{Cell, RefCell};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::SystemTime;

use config::{Diagnostic, Effective, Loaded, Sources};
use tokio::sync::{mpsc, oneshot};

use crate::exit::Failure;
use crate::load::{self, Source};
use crate::terminal;
use proxy::{Server, StartError};

use super::admin::{Admin, AdminSocket, Token};
use super::fd_store::FdStore;
use super::logging::Logging;
use super::pid_file::NewPidFile;
use super::report::Report;
use super::signals::{SignalAction, Signals};
use super::upgrade::{Finished, Predecessor, UnderWay, UpgradeOffer, UpgradeRequest};
use super::watch::{self, Watch};
use super::{banner, drain, empty_files, memory, service};

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
    pub(super) upgrades: mpsc::Sender<UpgradeRequest>,
    /// The token for the admin interface over TCP.
    pub(super) token: Token,
    /// Held while changes are written back.
    pub(super) save_lock: SaveLock,
    /// The text of the active configuration, as it was read.
    sources: RefCell<Sources>,
    source: Source,
    logging: Logging,
    cores: Option<u16>,
    /// What an upgrade starts, if nothing else is named.
    own_binary: Option<PathBuf>,
    fd_store: FdStore,
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
    /// The socket of the admin interface, if there is one.
    pub(super) admin: Option<AdminSocket>,
    /// The file with the process ID, if there is one.
    pub(super) pid_file: Option<NewPidFile>,
    /// The process whose place this one takes.
    pub(super) predecessor: Option<Predecessor>,
    /// What an upgrade starts, if nothing else is named.
    pub(super) own_binary: Option<PathBuf>,
    /// What the service manager keeps.
    pub(super) fd_store: FdStore,
}

/// Why the loop of the control thread ends.
enum End {
    /// A signal stops the process.
    Stopped(&'static str),
    /// Another process serves.
    Replaced,
}

/// Serves until a signal stops the process, or another one takes over, and all open exchanges have finished. Watches
/// the files if `since` is set, the time when they were read.
pub(super) async fn run(
    start: Start,
    mut signals: Signals,
    since: Option<SystemTime>,
) -> Result<(), Failure> {
    let Start { server, source, mut loaded, logging, admin: socket, .. } = start;
    let (reloads, reload_requests) = mpsc::channel(RELOADS_WAITING_MAX);
    let (upgrades, upgrade_requests) = mpsc::channel(1);
    let watch = since.map(|since| start_watch(&loaded, since)).transpose()?;
    let (effective, sources) =
        (std::mem::take(&mut loaded.effective), std::mem::take(&mut loaded.sources));
    let config = Arc::clone(&loaded.config);
    drop(loaded);
    let control = Rc::new(Control {
        server,
        effective: RefCell::new(effective),
        draining: Cell::new(false),
        last_reload_done: Cell::new(true),
        reloads,
        upgrades,
        token: Token::default(),
        save_lock: SaveLock::default(),
        sources: RefCell::new(sources),
        source,
        logging,
        cores: config.process.cores,
        own_binary: start.own_binary,
        fd_store: start.fd_store,
    });
    control.token.read(&config.process);
    let predecessor = match start.predecessor {
        Some(predecessor) => Some(control.wait_for_turn(predecessor).await?),
        None => None,
    };
    let _pid_file = start.pid_file.map(NewPidFile::place).transpose()?;
    control.server.accept();
    let mut admin = Admin::default();
    admin.start(&control, socket);
    banner::ready(&config, &control.server, admin.address(), &control.source.name());
    // The server holds its own, as long as it is in effect.
    drop(config);
    if let Some(predecessor) = predecessor {
        // The old process answers at once; nothing else is lost by waiting on this thread.
        predecessor.serving();
    }
    service::ready(&status(&control.server));
    control.fd_store.keep(&control.server.sockets());
    memory::give_back_soon();
    let mut serving =
        ControlLoop { control: &control, admin, watch, reload_requests, upgrade_requests };
    let end = serving.run(&mut signals).await;
    control.draining.set(true);
    let mut admin = serving.end();
    match end {
        End::Stopped(reason) => drain::drain(&control.server, reason, &mut signals).await,
        End::Replaced => {
            let requests = admin.leave();
            drain::drain_for_successor(&control.server, &mut signals).await;
            requests.finished().await;
        }
    }
    Ok(())
}

/// The loop of the control thread: one action at a time.
struct ControlLoop<'c> {
    control: &'c Rc<Control>,
    admin: Admin,
    watch: Option<Watch>,
    reload_requests: mpsc::Receiver<ReloadRequest>,
    upgrade_requests: mpsc::Receiver<UpgradeRequest>,
}

impl ControlLoop<'_> {
    /// Runs until the process ends. While an upgrade is under way, reloads wait for its outcome.
    async fn run(&mut self, signals: &mut Signals) -> End {
        let mut upgrade = None;
        loop {
            tokio::select! {
                action = signals.next() => match action {
                    SignalAction::Reload => match &mut upgrade {
                        None => self.reload().await,
                        Some(upgrade) => UnderWay::reload_later(upgrade),
                    },
                    SignalAction::ReopenLogs => {
                        self.control.reopen_logs();
                        upgrade.iter_mut().for_each(UnderWay::reopen_logs_later);
                    }
                    SignalAction::Upgrade => self.upgrade(&mut upgrade, UpgradeRequest::by_signal()),
                    SignalAction::Stop(name) => return End::Stopped(name),
                },
                Some(request) = self.reload_requests.recv(), if upgrade.is_none() => {
                    let report = self.reload_with(request.allow_empty).await;
                    // Fails if the requester has disconnected.
                    let _ = request.reply.send(report);
                }
                Some(request) = self.upgrade_requests.recv() => self.upgrade(&mut upgrade, request),
                offer = ready(&mut upgrade) => {
                    let Some(upgrade) = upgrade.take() else { continue };
                    match upgrade.finish(offer, &self.control.server).await {
                        Finished::Replaced => return End::Replaced,
                        Finished::Failed { reload: true } => self.reload().await,
                        Finished::Failed { reload: false } => {}
                    }
                }
                () = changed(&mut self.watch), if upgrade.is_none() => self.reload().await,
            }
        }
    }

    /// Waiting requests fail.
    fn end(self) -> Admin {
        self.admin
    }

    async fn reload(&mut self) {
        self.reload_with(false).await;
    }

    async fn reload_with(&mut self, allow_empty: bool) -> Report {
        self.control.reload(&mut self.admin, self.watch.as_mut(), allow_empty).await
    }

    fn upgrade(&self, under_way: &mut Option<UnderWay>, request: UpgradeRequest) {
        if under_way.is_some() {
            return request.refuse("an upgrade is under way");
        }
        match self.admin.handle() {
            Ok(admin) => {
                let own_binary = self.control.own_binary.as_deref();
                *under_way = UnderWay::start(request, own_binary, &self.control.server, admin);
            }
            Err(error) => request.refuse(&format!("cannot pass the admin interface on: {error}")),
        }
    }
}

async fn ready(upgrade: &mut Option<UnderWay>) -> UpgradeOffer {
    match upgrade {
        Some(upgrade) => upgrade.ready().await,
        None => std::future::pending().await,
    }
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
    /// Tells the old process that this one is ready, and waits until it may serve.
    async fn wait_for_turn(&self, mut predecessor: Predecessor) -> Result<Predecessor, Failure> {
        let process = predecessor.process();
        let outcome = tokio::task::spawn_blocking(move || {
            let changes = predecessor.ready()?;
            Ok::<_, Failure>((predecessor, changes))
        });
        let outcome = outcome.await.map_err(|error| Failure::other(error.to_string()))?;
        let (predecessor, changes) = outcome?;
        // Standard error is another file now.
        if let Err(error) = self.logging.reconfigure(&self.server.config().process) {
            tracing::error!(%error, "cannot change the error log; it stays as it was");
        }
        if let Err(error) = self.server.take_changes(changes) {
            tracing::error!(%error, "what was changed at run time is lost");
        }
        tracing::info!(process, "taking over");
        Ok(predecessor)
    }

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
        self.fd_store.keep(&self.server.sockets());
        memory::give_back_soon();
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
        let closed_logs = crate::check::log_diagnostics(&loaded.sources, &loaded.config);
        if !closed_logs.is_empty() {
            self.server.reload_failed();
            return self.refused(&closed_logs);
        }
        let config = loaded.config;
        let (server, for_server) = (self.server.clone(), config.clone());
        // Opening sockets and waiting for all threads can take a moment, so use another thread and
        // keep the admin interface responsive.
        let outcome = tokio::task::spawn_blocking(move || server.reload(for_server)).await;
        let change = match outcome {
            Ok(Ok(change)) => change,
            Ok(Err(StartError::Tls(problems))) => {
                let problems: Vec<_> = problems.into_iter().map(|(_, problem)| problem).collect();
                return self.refused(&crate::check::tls_diagnostics(&loaded.sources, &problems));
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

    /// The report on a configuration with these mistakes.
    fn refused(&self, diagnostics: &[Diagnostic]) -> Report {
        let count = terminal::count(diagnostics.len() as u64, "error");
        let summary = format!("{count} in {}", self.source.name());
        let texts: Vec<_> = diagnostics.iter().map(|one| one.render(false)).collect();
        Report::Refused { summary, diagnostics: texts.join("\n") }
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
