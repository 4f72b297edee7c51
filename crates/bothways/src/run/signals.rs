//! Signals, and the actions that they request.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::Failure;

/// The action that a signal requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignalAction {
    /// SIGHUP.
    Reload,
    /// SIGUSR1.
    ReopenLogs,
    /// SIGUSR2.
    Upgrade,
    /// SIGTERM, SIGINT or SIGQUIT, with the name of the signal.
    Stop(&'static str),
}

/// The signals that the process handles.
#[derive(Debug)]
pub(crate) struct Signals {
    hangup: Signal,
    user1: Signal,
    user2: Signal,
    terminate: Signal,
    interrupt: Signal,
    quit: Signal,
}

impl Signals {
    /// Installs the handlers: from now on these signals no longer end the process.
    pub(crate) fn catch() -> Result<Self, Failure> {
        let catch = |kind| {
            signal(kind).map_err(|error| Failure::other(format!("cannot catch signals: {error}")))
        };
        Ok(Self {
            hangup: catch(SignalKind::hangup())?,
            user1: catch(SignalKind::user_defined1())?,
            user2: catch(SignalKind::user_defined2())?,
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
            quit: catch(SignalKind::quit())?,
        })
    }

    /// The next action.
    pub(super) async fn next(&mut self) -> SignalAction {
        tokio::select! {
            // If several signals are pending, this is the order: a stop comes before everything else.
            biased;
            _ = self.terminate.recv() => SignalAction::Stop("SIGTERM"),
            _ = self.interrupt.recv() => SignalAction::Stop("SIGINT"),
            _ = self.quit.recv() => SignalAction::Stop("SIGQUIT"),
            _ = self.user1.recv() => SignalAction::ReopenLogs,
            _ = self.user2.recv() => SignalAction::Upgrade,
            _ = self.hangup.recv() => SignalAction::Reload,
        }
    }

    /// Waits for the next signal that requests a stop, and ignores all others.
    pub(crate) async fn stop(&mut self) -> &'static str {
        loop {
            if let SignalAction::Stop(name) = self.next().await {
                return name;
            }
        }
    }
}
