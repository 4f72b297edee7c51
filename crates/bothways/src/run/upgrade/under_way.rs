//! An upgrade under way, as the control thread sees it.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use config::AdminAddress;
use discovery::changes_to_json;
use proxy::Server;
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::oneshot;
use tokio::task::{JoinError, JoinHandle, spawn_blocking};

use super::message::PassedChanges;
use super::report::UpgradeReport;
use super::successor::{Offer, Successor, UpgradeError};
use super::{READY_TIME, UpgradeRequest};
use crate::run::service;

/// An upgrade that waits for the new process. Until it has finished, reloads wait.
pub(in super::super) struct UnderWay {
    task: JoinHandle<Result<Successor, UpgradeError>>,
    cancelled: Arc<AtomicBool>,
    drain: Duration,
    reply: Option<oneshot::Sender<UpgradeReport>>,
    reload: bool,
    reopen_logs: bool,
}

/// How an upgrade has ended.
pub(in super::super) enum Finished {
    /// The new process serves.
    Replaced,
    /// This one goes on.
    Failed {
        /// Whether a reload was asked for meanwhile.
        reload: bool,
    },
}

impl UpgradeRequest {
    /// By SIGUSR2.
    pub(in super::super) fn by_signal() -> Self {
        Self { binary: None, within: READY_TIME, reply: None }
    }

    /// Refuses it.
    pub(in super::super) fn refuse(self, why: &str) {
        let report = UpgradeReport::refused(why);
        report.log();
        // Fails if the requester has disconnected.
        self.reply.map(|reply| reply.send(report));
    }
}

impl UnderWay {
    /// Starts the new process, unless that makes no sense here.
    pub(in super::super) fn start(
        request: UpgradeRequest,
        own_binary: Option<&Path>,
        server: &Server,
        admin: Option<(AdminAddress, OwnedFd)>,
    ) -> Option<Self> {
        if std::process::id() == 1 {
            request.refuse(
                "this is process 1 of a container, which ends with it: start a container of the new image instead",
            );
            return None;
        }
        let Some(binary) = request.binary.clone().or(own_binary.map(Path::to_owned)) else {
            request.refuse("the path of this binary is not known; name one with --binary");
            return None;
        };
        Some(Self::spawn(request, binary, server.sockets(), admin, server.config().process.drain))
    }

    fn spawn(
        request: UpgradeRequest,
        binary: PathBuf,
        sockets: Vec<(SocketAddr, Arc<[TcpListener]>)>,
        admin: Option<(AdminAddress, OwnedFd)>,
        drain: Duration,
    ) -> Self {
        let UpgradeRequest { within, reply, .. } = request;
        tracing::info!(binary = %binary.display(), "upgrade: starting the new process");
        let offer = Offer { binary, within, sockets, admin };
        let cancelled = Arc::<AtomicBool>::default();
        let for_task = Arc::clone(&cancelled);
        let task = spawn_blocking(move || offer.make(&for_task));
        Self { task, cancelled, drain, reply, reload: false, reopen_logs: false }
    }

    /// Remembers a reload for whichever process serves at the end.
    pub(in super::super) fn reload_later(&mut self) {
        self.reload = true;
    }

    /// The new process may have opened its logs already.
    pub(in super::super) fn reopen_logs_later(&mut self) {
        self.reopen_logs = true;
    }

    /// Waits until the new process is ready or has failed. Cancel safe.
    pub(in super::super) async fn ready(&mut self) -> UpgradeOffer {
        UpgradeOffer((&mut self.task).await)
    }

    /// Gives the new process its turn.
    pub(in super::super) async fn finish(
        mut self,
        offer: UpgradeOffer,
        server: &Server,
    ) -> Finished {
        let outcome = match offer.0 {
            Ok(Ok(successor)) => take_over(successor, passed_changes(server)).await,
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(failed(&error)),
        };
        let (report, finished) = match outcome {
            Ok(successor) => {
                // Before the new one says that it is ready: only the main process may.
                service::main_process(successor.process());
                self.forward_signals(successor.process());
                let process = successor.process();
                let version = successor.version().to_owned();
                successor.release();
                let report = UpgradeReport::Done { process, version, drain: self.drain };
                (report, Finished::Replaced)
            }
            Err(report) => (report, Finished::Failed { reload: self.reload }),
        };
        report.log();
        // Fails if the requester has disconnected.
        self.reply.take().map(|reply| reply.send(report));
        finished
    }

    fn forward_signals(&self, process: u32) {
        let Some(process) = i32::try_from(process).ok().and_then(Pid::from_raw) else { return };
        for (wanted, signal) in [(self.reopen_logs, Signal::USR1), (self.reload, Signal::HUP)] {
            if wanted && let Err(error) = kill_process(process, signal) {
                tracing::error!(%error, ?signal, "cannot signal the new process");
            }
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }
}

/// A new process that is ready, or why there is none.
pub(in super::super) struct UpgradeOffer(Result<Result<Successor, UpgradeError>, JoinError>);

async fn take_over(
    mut successor: Successor,
    changes: PassedChanges,
) -> Result<Successor, UpgradeReport> {
    let outcome = spawn_blocking(move || {
        successor.take_over(&changes)?;
        Ok::<_, UpgradeError>(successor)
    });
    match outcome.await {
        Ok(outcome) => outcome.map_err(UpgradeReport::from),
        Err(error) => Err(failed(&error)),
    }
}

fn passed_changes(server: &Server) -> PassedChanges {
    let all = server.all_changes();
    all.iter().map(|(name, changes)| (name.to_string(), changes_to_json(changes))).collect()
}

fn failed(error: &JoinError) -> UpgradeReport {
    UpgradeReport::refused(format!("the upgrade failed by a bug of this program: {error}"))
}

impl From<UpgradeError> for UpgradeReport {
    fn from(error: UpgradeError) -> Self {
        Self::Failed {
            is_configuration: error.is_configuration(),
            error: error.to_string(),
            output: error.into_output(),
        }
    }
}
