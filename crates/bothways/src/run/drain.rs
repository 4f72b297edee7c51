//! Going down without losing anything: open exchanges finish, visibly, within a time.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use proxy::{Open, Server};

use super::report::open_words;
use super::service;
use super::signals::Signals;

/// How often it is looked whether everything has finished.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How often progress is shown in a log.
const LOG_EVERY: Duration = Duration::from_secs(5);
/// Connections on which nothing is asked, though their first request may be on its way, are not
/// waited for longer than this.
const IDLE_GRACE: Duration = Duration::from_secs(2);

/// Stops accepting and waits until everything open has finished, the time is over, or a second
/// signal comes.
pub(crate) async fn drain(server: &Server, reason: &'static str, signals: &mut Signals) {
    let within = server.config().process.drain;
    server.begin_drain();
    let progress = Progress::new(within);
    service::stopping(&progress.words(server.open_exchanges()), within);
    tracing::info!(
        reason,
        "stopping: no new connections are accepted; a second signal stops at once"
    );
    tokio::select! {
        finished = finish(server, progress) => {
            if finished {
                tracing::info!("everything open has finished");
            } else {
                drop_rest(server, "time is over");
            }
        }
        name = signals.stop() => drop_rest(server, name),
    }
}

fn drop_rest(server: &Server, reason: &str) {
    let Open { connections, exchanges, tunnels } = server.open_exchanges();
    tracing::warn!(reason, connections, exchanges, tunnels, "what is still open is dropped");
}

/// Whether everything has finished in time.
async fn finish(server: &Server, mut progress: Progress) -> bool {
    let mut idle_since = Instant::now();
    loop {
        let open = server.open_exchanges();
        if open.exchanges > 0 || open.tunnels > 0 {
            idle_since = Instant::now();
        }
        if open.connections == 0 || idle_since.elapsed() > IDLE_GRACE {
            return true;
        }
        if progress.left().is_zero() {
            return false;
        }
        progress.show(open);
        tokio::time::sleep(LOOK_EVERY.min(progress.left())).await;
    }
}

struct Progress {
    started: Instant,
    within: Duration,
    shown: Option<Instant>,
    every: Duration,
}

impl Progress {
    fn new(within: Duration) -> Self {
        // A person who has pressed Ctrl-C wants to see that something happens.
        let terminal = std::io::stderr().is_terminal();
        let every = if terminal { Duration::from_secs(1) } else { LOG_EVERY };
        Self { started: Instant::now(), within, shown: None, every }
    }

    fn left(&self) -> Duration {
        self.within.saturating_sub(self.started.elapsed())
    }

    /// `draining: 3 exchanges, 1 tunnel, 24 s left`
    fn words(&self, open: Open) -> String {
        let what = open_words(open.exchanges, open.tunnels, open.connections);
        format!("draining: {what}, {} s left", self.left().as_millis().div_ceil(1000))
    }

    fn show(&mut self, open: Open) {
        let is_due = self.shown.is_none_or(|at| at.elapsed() >= self.every);
        if is_due {
            let words = self.words(open);
            service::status(&words);
            tracing::info!("{words}");
            self.shown = Some(Instant::now());
        }
    }
}
