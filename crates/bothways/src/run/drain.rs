//! Drains the data plane before the process stops: open exchanges may finish within a time limit,
//! and the progress is shown.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use proxy::{Open, Server};

use super::report::open_words;
use super::service;
use super::signals::Signals;

/// How often to check whether everything has finished.
const POLL_INTERVAL: Duration = Duration::from_millis(50);
/// How often progress is logged.
const LOG_INTERVAL: Duration = Duration::from_secs(5);
/// How long to wait for idle connections, whose first request may be on its way.
const IDLE_GRACE: Duration = Duration::from_secs(2);

/// Stops accepting, and waits until all exchanges have finished, the time is over, or a second signal
/// arrives.
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
                tracing::info!("all open exchanges have finished");
            } else {
                drop_rest(server, "the drain time is over");
            }
        }
        name = signals.stop() => drop_rest(server, name),
    }
}

fn drop_rest(server: &Server, reason: &str) {
    let Open { connections, exchanges, tunnels } = server.open_exchanges();
    tracing::warn!(
        reason,
        connections,
        exchanges,
        tunnels,
        "closing connections that are still open"
    );
}

/// Waits; returns whether everything has finished in time.
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
        tokio::time::sleep(POLL_INTERVAL.min(progress.left())).await;
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
        // A person who pressed Ctrl-C wants to see progress.
        let terminal = std::io::stderr().is_terminal();
        let every = if terminal { Duration::from_secs(1) } else { LOG_INTERVAL };
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
